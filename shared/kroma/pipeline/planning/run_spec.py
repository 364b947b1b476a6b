"""The trigger's rules (contract 3.8): raw texts in, types out; the first rule that fails decides."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Protocol, Self, TypeVar

import msgspec

from kroma.pipeline.planning.errors import (
    InvalidModeError,
    InvalidRunRequestError,
    SpendConfirmationRequiredError,
)
from kroma.pipeline.planning.postprocess_config import PostprocessSwitches
from kroma.runs.models import RunMode, Stage, TimeOfDay, Weather

MIN_CANDIDATES: Final = 1
MAX_CANDIDATES: Final = 6
SEEDS: Final = 2**63

EnumT = TypeVar("EnumT", bound=StrEnum)


class RawRunSpec(Protocol):
    """A trigger's body; only its JSON types are checked."""

    @property
    def mode(self) -> str | None: ...
    @property
    def confirm_spend(self) -> bool | None: ...
    @property
    def project_root(self) -> str | None: ...
    @property
    def input(self) -> str | None: ...
    @property
    def scene_refs(self) -> Sequence[str] | None: ...
    @property
    def style_refs(self) -> Sequence[str] | None: ...
    @property
    def stage(self) -> str | None: ...
    @property
    def time(self) -> str | None: ...
    @property
    def weather(self) -> str | None: ...
    @property
    def candidates(self) -> int | None: ...
    @property
    def storage_sync_s3(self) -> bool | None: ...
    @property
    def provider(self) -> str | None: ...
    @property
    def model(self) -> str | None: ...
    @property
    def size(self) -> str | None: ...
    @property
    def quality(self) -> str | None: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def style_guide_id(self) -> str | None: ...
    @property
    def prompt_template_id(self) -> str | None: ...
    @property
    def reference_set_ids(self) -> Sequence[str] | None: ...
    @property
    def character_ids(self) -> Sequence[str] | None: ...
    @property
    def baseline_run_id(self) -> str | None: ...
    @property
    def postprocess(self) -> PostprocessSwitches | None: ...


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a run shall make; every rule of contract 3.8 is met."""

    mode: RunMode = RunMode.DRY
    input: str | None = None
    """A file or folder; None if ``scene_refs`` or ``baseline_run_id`` gives the scenes."""
    scene_refs: tuple[str, ...] | None = None
    """Pictures; with ``baseline_run_id``, keys of that run's jobs."""
    style_refs: tuple[str, ...] | None = None
    """None takes the manifest's."""
    stage: Stage = Stage.STYLE
    time_of_day: TimeOfDay = TimeOfDay.DAY
    weather: Weather = Weather.CLEAR
    candidates: int | None = None
    """Images generated per job before ranking, 1 to 6; None takes the manifest's."""
    storage_sync_s3: bool = False
    provider: str | None = None
    """Its code; None takes the installation's."""
    model: str | None = None
    size: str | None = None
    """``<width>x<height>`` in pixels."""
    quality: str | None = None
    seed: int | None = None
    """0 to 2**63 - 1; None draws a random one."""
    style_guide_id: str | None = None
    prompt_template_id: str | None = None
    reference_set_ids: tuple[str, ...] = ()
    character_ids: tuple[str, ...] | None = None
    """None takes all characters of the project in stage ``character``, and none in the others."""
    baseline_run_id: str | None = None
    """The run that provides the scenes: its locked pictures, otherwise its winners."""
    postprocess: PostprocessSwitches | None = None

    @classmethod
    def checked(cls, raw: RawRunSpec) -> Self:
        """Check in the contract's order.

        Raises:
            InvalidModeError: ``mode`` is neither ``dry`` nor ``run``.
            InvalidRunRequestError: The first other rule that fails, naming its field.
            SpendConfirmationRequiredError: Mode ``run`` without ``confirm_spend``.
        """
        mode = _mode(raw.mode)
        _refuse_project_root(raw.project_root)
        source, scene_refs = _scene_source(raw)
        style_refs = _filled_texts("style_refs", raw.style_refs)
        stage = _choice("stage", raw.stage, Stage)
        time_of_day = _choice("time", raw.time, TimeOfDay)
        weather = _choice("weather", raw.weather, Weather)
        _check_candidates(raw.candidates)
        _check_stage_fits(stage, time_of_day, weather)
        if mode is RunMode.RUN and raw.confirm_spend is not True:
            raise SpendConfirmationRequiredError
        # Kroma's own fields come after the contract's rules. Planning checks what the provider offers.
        provider, size, quality = (
            _name(field, text, lower=True)
            for field, text in (("provider", raw.provider), ("size", raw.size), ("quality", raw.quality))
        )
        model = _name("model", raw.model)
        _check_seed(raw.seed)
        baseline_run_id = _name("baseline_run_id", raw.baseline_run_id)
        if baseline_run_id is not None and source is not None:
            raise InvalidRunRequestError("Provide only one of: input, baseline_run_id")
        return cls(
            mode=mode,
            input=source,
            scene_refs=scene_refs,
            style_refs=style_refs,
            stage=stage or Stage.STYLE,
            time_of_day=time_of_day or TimeOfDay.DAY,
            weather=weather or Weather.CLEAR,
            candidates=raw.candidates,
            storage_sync_s3=raw.storage_sync_s3 is True,
            provider=provider,
            model=model,
            size=size,
            quality=quality,
            seed=raw.seed,
            style_guide_id=_name("style_guide_id", raw.style_guide_id),
            prompt_template_id=_name("prompt_template_id", raw.prompt_template_id),
            reference_set_ids=_ids("reference_set_ids", raw.reference_set_ids) or (),
            character_ids=_ids("character_ids", raw.character_ids),
            baseline_run_id=baseline_run_id,
            postprocess=raw.postprocess,
        )


def _mode(text: str | None) -> RunMode:
    name = (text or "").strip().lower() or RunMode.DRY
    try:
        return RunMode(name)
    except ValueError:
        raise InvalidModeError from None


def _refuse_project_root(text: str | None) -> None:
    if text is not None and text.strip():
        message = "Field 'project_root' is managed by project storage and cannot be overridden"
        raise InvalidRunRequestError(message)


def _scene_source(raw: RawRunSpec) -> tuple[str | None, tuple[str, ...] | None]:
    scene_refs = _filled_texts("scene_refs", raw.scene_refs)
    source = (raw.input or "").strip() or None
    if source is not None and scene_refs is not None:
        raise InvalidRunRequestError("Provide only one of: input, scene_refs")
    if source is None and scene_refs is None and not (raw.baseline_run_id or "").strip():
        raise InvalidRunRequestError("Provide one of: input, scene_refs")
    return source, scene_refs


def _filled_texts(field: str, texts: Sequence[str] | None) -> tuple[str, ...] | None:
    if texts is None:
        return None
    if not texts:
        raise InvalidRunRequestError(f"Field '{field}' must not be empty")
    trimmed = tuple(text.strip() for text in texts)
    if not all(trimmed):
        raise InvalidRunRequestError(f"Field '{field}' must not contain empty values")
    return trimmed


def _ids(field: str, texts: Sequence[str] | None) -> tuple[str, ...] | None:
    """Each id once, in the given order; an empty list stays empty and is not the same as None."""
    if not texts:
        return None if texts is None else ()
    return tuple(dict.fromkeys(_filled_texts(field, texts) or ()))


def _choice(field: str, text: str | None, choices: type[EnumT]) -> EnumT | None:
    """The member of an enum; a blank text is an error, because only ``mode`` may be blank (contract 1.4)."""
    if text is None:
        return None
    try:
        return choices(text.strip().lower())
    except ValueError:
        allowed = ", ".join(choices)
        raise InvalidRunRequestError(f"Field '{field}' must be one of: {allowed}") from None


def _check_candidates(count: int | None) -> None:
    if count is not None and not MIN_CANDIDATES <= count <= MAX_CANDIDATES:
        raise InvalidRunRequestError(
            f"Field 'candidates' must be between {MIN_CANDIDATES} and {MAX_CANDIDATES}"
        )


def _name(field: str, text: str | None, *, lower: bool = False) -> str | None:
    if text is None:
        return None
    trimmed = text.strip()
    if not trimmed:
        raise InvalidRunRequestError(f"Field '{field}' must not be empty")
    return trimmed.lower() if lower else trimmed


def _check_seed(seed: int | None) -> None:
    if seed is not None and not 0 <= seed < SEEDS:
        raise InvalidRunRequestError(f"Field 'seed' must be between 0 and {SEEDS - 1}")


def _check_stage_fits(stage: Stage | None, time_of_day: TimeOfDay | None, weather: Weather | None) -> None:
    if time_of_day is not None and stage not in {Stage.TIME, Stage.WEATHER}:
        raise InvalidRunRequestError("Field 'time' requires stage 'time' or 'weather'")
    if weather is not None and stage is not Stage.WEATHER:
        raise InvalidRunRequestError("Field 'weather' requires stage 'weather'")
