"""A provider that does what a script says, for tests and for trying a pipeline without drawing.

``KROMA_PROVIDER=fake`` chooses it in a worker; ``KROMA_FAKE_SCRIPT`` may name a JSON file::

    {
      "cost_usd": "0.04",
      "record": "calls.jsonl",
      "outcomes": [
        {"scene": "a.png", "candidate": 1, "rgb": [200, 40, 40]},
        {"scene": "a.png", "candidate": 2, "times": 1, "error": "busy", "retryable": true},
        {"scene": "b", "file": "picture.png", "delay_s": 0.5, "cost_usd": "1.25"},
        {"candidate": 3, "garbage": true},
        {"candidate": 4, "times": 2, "error": "slow down", "retryable": true, "retry_after_s": 1},
        {"candidate": 5, "lost": true}
      ]
    }

The first outcome that fits a call decides. ``scene`` is the scene's file name, with or without its
folder and extension, ``candidate`` its index; an outcome without one fits all. With ``times`` it is
used up after so many calls. An outcome is one of ``rgb`` (a flat picture), ``file`` (a picture's
path, relative to the script), ``garbage`` (bytes that are no picture), ``error`` (a clean refusal;
``is_down`` if it looks dead), ``key_refused``, ``unusable`` (charged, without a picture) or ``lost``
(charged, and no answer; with ``error`` not charged); none of them, and a call that nothing fits, is
a flat gray picture of the scene's size, another gray for every candidate.

With ``"finds_calls": true`` it can be asked what became of a call. ``record`` names a file (relative
to the script) that gets one JSON line per call, before its outcome, so that a test can count the
calls of a worker in another process.
"""

import asyncio
import os
import struct
import zlib
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Self
from uuid import UUID

import msgspec

from kroma.config import Environment, Settings, SettingsError
from kroma.cpu import CpuPool
from kroma.imaging.header import inspect
from kroma.imaging.png_text import SIGNATURE, chunk
from kroma.providers.base import (
    AnswerLostError,
    AnswerUnusableError,
    Capabilities,
    EditRequest,
    EditResult,
    FoundCall,
    ModelOffer,
    ProviderAccess,
    ProviderHealth,
    ProviderKeyRefusedError,
    ProviderRefusedError,
)

GARBAGE: Final = b"this is no picture"
_MODEL: Final = "fake-1"

Channel = Annotated[int, msgspec.Meta(ge=0, le=255)]


class FakeOutcome(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to the calls it fits."""

    scene: str | None = None
    candidate: int | None = None
    times: int | None = None
    rgb: tuple[Channel, Channel, Channel] | None = None
    file: str | None = None
    data: bytes | None = None
    """A picture's bytes, for scripts made in Python; base64 in JSON."""
    garbage: bool = False
    error: str | None = None
    retryable: bool = False
    retry_after_s: float | None = None
    is_down: bool = False
    key_refused: bool = False
    unusable: bool = False
    lost: bool = False
    delay_s: float = 0.0
    cost_usd: Decimal | None = None
    reported_usd: Decimal | None = None
    """What it claims to have charged, where that is not the price."""

    def fits(self, request: EditRequest) -> bool:
        path = PurePosixPath(request.scene.name)
        scene_fits = self.scene is None or self.scene in {request.scene.name, path.name, path.stem}
        return scene_fits and self.candidate in {None, request.candidate_index}


class FakeScript(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole script; the module says what its parts mean."""

    outcomes: tuple[FakeOutcome, ...] = ()
    cost_usd: Decimal = Decimal(0)
    record: str | None = None
    finds_calls: bool = False


class FakeCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call as it came."""

    scene: str
    candidate_index: int
    seed: int
    prompt: str
    styles: tuple[str, ...]
    references: tuple[str, ...] = ()
    call_id: UUID | None = None
    api_key: str | None = None


class FakeProvider:
    """Answers by its script, remembers its calls."""

    def __init__(self, script: FakeScript | None = None, *, folder: Path | None = None) -> None:
        self.calls: list[FakeCall] = []
        self.charged: list[UUID | None] = []
        """Ids of the calls that it charged, as they ended."""
        self.in_flight = 0
        self.most_in_flight = 0
        self._script = script or FakeScript()
        self._folder = folder or Path()
        self._used = [0] * len(self._script.outcomes)

    @classmethod
    def opened(cls, cpu: CpuPool, settings: Settings) -> Self:  # noqa: ARG003 - its script is all it needs
        return cls.from_environment()

    @staticmethod
    def models() -> tuple[ModelOffer, ...]:
        return (ModelOffer(name=_MODEL),)

    @classmethod
    def from_environment(cls, variables: Mapping[str, str] | None = None) -> Self:
        """The provider with the script that ``KROMA_FAKE_SCRIPT`` names, else with none.

        Raises:
            SettingsError: The file cannot be read or is no script.
        """
        path = Environment(os.environ if variables is None else variables).text("FAKE_SCRIPT")
        return cls() if path is None else cls.from_file(Path(path))

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The provider with a script of JSON.

        Raises:
            SettingsError: The file cannot be read or is no script.
        """
        try:
            script = msgspec.json.decode(path.read_bytes(), type=FakeScript)
        except (OSError, msgspec.DecodeError) as exc:
            raise SettingsError(f"KROMA_FAKE_SCRIPT must name a script that can be read: {exc}") from exc
        return cls(script, folder=path.parent)

    @property
    def code(self) -> str:
        return "fake"

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            models=self.models(),
            mime_types=("image/png", "image/jpeg", "image/webp", "image/bmp", "image/tiff"),
            deterministic=True,
            free=not self._script.cost_usd,
            finds_calls=self._script.finds_calls,
        )

    def estimate(self, request: EditRequest) -> Decimal:
        outcome = next(
            (outcome for index, outcome in enumerate(self._script.outcomes) if self._is_open(index, request)),
            FakeOutcome(),
        )
        return self._script.cost_usd if outcome.cost_usd is None else outcome.cost_usd

    async def edit(self, request: EditRequest) -> EditResult:
        """Do what the script says.

        Raises:
            ProviderRefusedError: The script says so.
        """
        # Decided before the first await: concurrent calls must not share one use of an outcome.
        number = len(self.calls) + 1
        cost_usd = self.estimate(request)
        outcome = self._take(request)
        call = FakeCall(
            scene=request.scene.name,
            candidate_index=request.candidate_index,
            seed=request.seed,
            prompt=request.prompt,
            styles=tuple(style.name for style in request.styles),
            references=tuple(reference.name for reference in request.references),
            call_id=request.call_id,
            api_key=request.access.api_key,
        )
        self.calls.append(call)
        if self._script.record is not None:
            await asyncio.to_thread(_append, self._folder / self._script.record, msgspec.json.encode(call))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(outcome.delay_s)
        except asyncio.CancelledError:
            # Who hangs up does not keep it from finishing the picture.
            self._charge(outcome, request)
            raise
        finally:
            self.in_flight -= 1
        self._charge(outcome, request)
        if outcome.reported_usd is not None:
            cost_usd = outcome.reported_usd
        self._raise_scripted(outcome, f"fake-{number}", cost_usd)
        return EditResult(
            data=await asyncio.to_thread(self._picture, outcome, request),
            mime_type="image/png",
            provider_code=self.code,
            model=_MODEL,
            cost_usd=cost_usd,
            request_id=f"fake-{number}",
            parameters={"variation": f"fake {request.candidate_index}"},
        )

    def _charge(self, outcome: FakeOutcome, request: EditRequest) -> None:
        if outcome.error is None and not outcome.key_refused:
            self.charged.append(request.call_id)

    def _raise_scripted(self, outcome: FakeOutcome, request_id: str, cost_usd: Decimal) -> None:
        if outcome.lost:
            raise AnswerLostError(self.code, "the connection was lost")
        if outcome.key_refused:
            raise ProviderKeyRefusedError(self.code, "the key was refused")
        if outcome.error is not None:
            wait = None if outcome.retry_after_s is None else timedelta(seconds=outcome.retry_after_s)
            raise ProviderRefusedError(
                self.code,
                outcome.error,
                retryable=outcome.retryable,
                retry_after=wait,
                is_down=outcome.is_down,
            )
        if outcome.unusable:
            raise AnswerUnusableError(
                self.code, "no picture", model=_MODEL, request_id=request_id, cost_usd=cost_usd
            )

    async def find_call(self, call_id: UUID, access: ProviderAccess) -> FoundCall | None:  # noqa: ARG002 - needs none
        if not self._script.finds_calls:
            return None
        claim = next((outcome.reported_usd for outcome in self._script.outcomes if outcome.lost), None)
        return FoundCall(was_charged=call_id in self.charged, cost_usd=claim, request_id=f"found-{call_id}")

    async def health(self, access: ProviderAccess) -> ProviderHealth:  # noqa: ARG002 - needs none
        return ProviderHealth(ok=True, message="Answers by its script")

    async def close(self) -> None:
        """Nothing to give back."""

    def _is_open(self, index: int, request: EditRequest) -> bool:
        outcome = self._script.outcomes[index]
        return outcome.fits(request) and (outcome.times is None or self._used[index] < outcome.times)

    def _take(self, request: EditRequest) -> FakeOutcome:
        for index, outcome in enumerate(self._script.outcomes):
            if self._is_open(index, request):
                self._used[index] += 1
                return outcome
        return FakeOutcome()

    def _picture(self, outcome: FakeOutcome, request: EditRequest) -> bytes:
        if outcome.garbage:
            return GARBAGE
        if outcome.data is not None:
            return outcome.data
        if outcome.file is not None:
            return (self._folder / outcome.file).read_bytes()
        gray = 40 + 30 * request.candidate_index % 180
        header = inspect(request.scene.data, name=request.scene.name)
        return flat_png(header.width, header.height, outcome.rgb or (gray, gray, gray))


def flat_png(width: int, height: int, rgb: tuple[int, int, int]) -> bytes:
    """An RGB picture of one color, made without any picture library."""
    row = b"\0" + bytes(rgb) * width  # filter byte, then pixels
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _append(path: Path, line: bytes) -> None:
    # One write to a file opened for appending: lines of several workers do not mix.
    with path.open("ab", buffering=0) as file:
        file.write(line + b"\n")
