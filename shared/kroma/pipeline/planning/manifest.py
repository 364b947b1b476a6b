"""The manifest (pipeline.md 3): pictures, counts, checks and prompts."""

from types import MappingProxyType
from typing import Final

import msgspec

from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.settings import CHECKS, CheckSettings, QualitySettings, Verdict
from kroma.old_names import current_name
from kroma.pipeline.planning.config_files import ConfigFiles, ConfigObject
from kroma.runs.models import Stage

DEFAULT_BATCH_LIMIT: Final = 20
DEFAULT_CANDIDATES: Final = 1
DEFAULT_MAX_CANDIDATES: Final = 6

GATED_STAGES: Final = (Stage.TIME, Stage.WEATHER, Stage.CHARACTER)
"""Stages that a manifest can require a locked baseline for."""

MAX_WEIGHT: Final = 1000.0

DEFAULT_PROMPTS: Final = MappingProxyType(
    {
        "style_base": (
            "Redraw the source picture without moving anything in it: keep its layout, framing and point"
            " of view exactly as they are. Ink the whole picture in one consistent noir hand, with firm"
            " contours, deep blacks and restrained grays. Leave out lettering, logos, signatures and"
            " watermarks of any kind."
        ),
        "time_day": (
            "Light the scene as daytime: even light in which everything reads at a glance,"
            " with the same range of contrast from picture to picture."
        ),
        "time_night": (
            "Light the scene as night: dark shadows that stay under control and keep their detail,"
            " over a scene whose structure is unchanged."
        ),
        "weather_clear": (
            "Show fair, dry weather: no rain, no snow, and no slanting strokes across the sky."
        ),
        "weather_rain": (
            "Show rain by what it leaves behind, in soaked surfaces, standing water and shine,"
            " without changing the manner of the drawing."
        ),
        "character": (
            "Draw every character who is named here as the same person in each picture: face, hair, build"
            " and clothing as described and as their reference pictures show them, in the places and at"
            " the sizes at which the source picture has its figures."
        ),
    }
)


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A project's manifest, merged over the defaults key by key."""

    scene_refs: tuple[str, ...] = ()
    style_refs: tuple[str, ...] = ()
    safe_batch_limit: int = DEFAULT_BATCH_LIMIT
    """The most scenes of one run, also of a dry run."""
    candidates: int = DEFAULT_CANDIDATES
    max_candidates: int = DEFAULT_MAX_CANDIDATES
    guard: GuardSettings = msgspec.field(default_factory=GuardSettings)
    checks: QualitySettings = msgspec.field(default_factory=QualitySettings)
    default_no_invention: bool = True
    allowed_style_roots: tuple[str, ...] | None = None
    """Folders that style references must be in; None is the whole project."""
    require_baseline: tuple[Stage, ...] = ()
    """Stages that are refused until every scene has a locked baseline."""
    prompts: dict[str, str] = msgspec.field(default_factory=lambda: dict(DEFAULT_PROMPTS))


async def load_manifest(files: ConfigFiles, path: str | None) -> Manifest:
    """The manifest at a path relative to the data directory; the defaults if the path is None.

    Raises:
        ConfigFileError: The file is missing or not a JSON object, or a field has a wrong type.
    """
    if path is None:
        return Manifest()
    return _manifest(ConfigObject.of_json(await files.at_data_dir(path)))


def _manifest(root: ConfigObject) -> Manifest:
    generation, policy = root.section("generation"), root.section("policy")
    no_invention = policy.flag("default_no_invention")
    return Manifest(
        scene_refs=root.texts("scene_refs") or (),
        style_refs=root.texts("style_refs") or (),
        safe_batch_limit=root.whole("safe_batch_limit") or DEFAULT_BATCH_LIMIT,
        candidates=generation.whole("candidates") or DEFAULT_CANDIDATES,
        max_candidates=generation.whole("max_candidates") or DEFAULT_MAX_CANDIDATES,
        guard=_guard(root.section("output_guard")),
        checks=_checks(root.section("quality")),
        default_no_invention=True if no_invention is None else no_invention,
        allowed_style_roots=policy.texts("allowed_style_roots"),
        require_baseline=_gated_stages(policy),
        prompts={**DEFAULT_PROMPTS, **_prompts(root.section("prompts"))},
    )


def _guard(section: ConfigObject) -> GuardSettings:
    defaults = GuardSettings()
    threshold = section.number("max_chroma_delta")
    return GuardSettings(
        enforce_grayscale=section.flag("enforce_grayscale") or False,
        max_chroma_delta=defaults.max_chroma_delta if threshold is None else threshold,
        fail_on_chroma_exceed=section.flag("fail_on_chroma_exceed") or False,
    )


def _gated_stages(policy: ConfigObject) -> tuple[Stage, ...]:
    names = [name.lower() for name in policy.texts("require_baseline") or ()]
    if not set(names) <= set(GATED_STAGES):
        raise policy.wrong("require_baseline", f"an array of any of: {', '.join(GATED_STAGES)}")
    return tuple(Stage(name) for name in names)


def _checks(section: ConfigObject) -> QualitySettings:
    """``quality``: an optional threshold, verdict and weight per check (docs/quality.md)."""
    defaults = QualitySettings()
    # The old name comes first, because an absent section reads as empty.
    old = [name for name in section.fields() if current_name(name) == "color"]
    color = section.section(old[0] if old else "color")
    weight = color.number("weight", maximum=MAX_WEIGHT)
    return QualitySettings(
        ignore_transparent=color.flag("ignore_transparent") or False,
        color_weight=defaults.color_weight if weight is None else weight,
        **{name: _check(section.section(name), getattr(defaults, name)) for name in CHECKS},
    )


def _check(section: ConfigObject, default: CheckSettings) -> CheckSettings:
    threshold, weight = section.number("threshold", maximum=1), section.number("weight", maximum=MAX_WEIGHT)
    verdict = section.choice("verdict", tuple(Verdict))
    return CheckSettings(
        threshold=default.threshold if threshold is None else threshold,
        verdict=default.verdict if verdict is None else Verdict(verdict),
        weight=default.weight if weight is None else weight,
    )


def _prompts(section: ConfigObject) -> dict[str, str]:
    """Every text of the section; a blank one removes the default, which is an error only if it is needed."""
    return {name: section.text(name, may_be_blank=True) or "" for name in section.fields()}
