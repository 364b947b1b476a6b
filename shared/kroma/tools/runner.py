"""The tools: one picture in, one picture or report out; no project, no store."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from kroma.config import Settings
from kroma.cpu import CpuPool, remote
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.errors import InvalidRequestError
from kroma.imaging.color_check import READ_FAILED, GuardReport, GuardSettings
from kroma.imaging.errors import PictureError
from kroma.imaging.header import EXTENSIONS
from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.request import CheckRequest, FactsRequest
from kroma.imaging.measures.settings import QualitySettings, Verdict
from kroma.imaging.provenance import ParentRecord, PictureRecord, sealed
from kroma.ledger.admission import OPERATION
from kroma.ledger.outcomes import CUTOUT_OPERATION
from kroma.ledger.tool_calls import ToolCalls
from kroma.pipeline.planning.manifest import DEFAULT_PROMPTS
from kroma.pipeline.planning.model_choice import ModelChoice, resolve_model
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.postprocess.errors import ToolError, ToolMissingError
from kroma.postprocess.specs import BUILTIN_PROFILES, ColorSpec, CutoutSpec, Made, UpscaleSpec
from kroma.postprocess.toolbox import CUTOUT_BACKENDS, Toolbox, service_request
from kroma.provider_accounts.access import environment_key
from kroma.providers import open_provider
from kroma.providers.base import (
    AnswerUnusableError,
    EditRequest,
    EditResult,
    Provider,
    ProviderAccess,
    ProviderPicture,
    ProviderRefusedError,
)
from kroma.runs.models import Stage
from kroma.tools.errors import LedgerMissingError, SpendNotConfirmedError, WrongOptionError
from kroma.tools.options import (
    BgremoveOptions,
    ColorOptions,
    GenerateOptions,
    QaOptions,
    UpscaleOptions,
)

if TYPE_CHECKING:
    from kroma.imaging import codec
    from kroma.imaging.measures import remote as measures
else:
    codec = remote("kroma.imaging.codec")
    measures = remote("kroma.imaging.measures.remote")


class Source(NamedTuple):
    """An input picture."""

    name: str
    data: bytes

    @property
    def path(self) -> str:
        """The name without folders."""
        return self.name.replace("\\", "/").rpartition("/")[2]

    def parent(self, role: str = "source") -> ParentRecord:
        """Its entry in a result's record; hashes the whole picture, so call it off the event loop."""
        return ParentRecord(role=role, path=self.path, sha256=hashlib.sha256(self.data).hexdigest())


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """An output picture; it contains its record if the format can carry one."""

    data: bytes
    mime_type: str
    width: int
    height: int
    details: dict[str, Any] = {}

    @property
    def extension(self) -> str:
        """File extension without a dot."""
        return EXTENSIONS[self.mime_type]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The checks' findings about a picture (pipeline.md 6.2, docs/quality.md)."""

    has_hard_failures: bool
    hard_fail_reasons: list[str]
    soft_warnings: list[str]
    guard: GuardReport
    quality: QualityReport


class Price(NamedTuple):
    """The estimated price of a request."""

    provider: str
    calls: int
    usd: Decimal | None
    """None if unknown."""
    is_free: bool

    @property
    def may_cost(self) -> bool:
        return self.calls > 0 and not self.is_free


@dataclass(frozen=True)
class ToolRunner:
    """Runs the tools."""

    settings: Settings
    cpu: CpuPool
    toolbox: Toolbox
    db: Database | None = None
    """Holds the ledger; without it, no paid call is made."""
    providers: Mapping[str, Provider] | None = None
    """Open providers by code; others are opened when needed."""
    actor: UUID | None = None

    # generate

    def resolve_model(self, options: GenerateOptions, *, styles: int) -> ModelChoice:
        """The provider, model, size and quality to use.

        Raises:
            InvalidRequestError: The provider does not offer them.
        """
        spec = RunSpec(
            provider=options.provider,
            model=options.model,
            size=options.size,
            quality=options.quality,
            stage=Stage(options.stage),
        )
        choice = resolve_model(spec, self.settings)
        if choice.max_inputs is not None and 1 + styles > choice.max_inputs:
            raise WrongOptionError(
                f"Provider '{choice.provider}' takes at most {choice.max_inputs} pictures per call:"
                f" the scene and {choice.max_inputs - 1} style references, not {styles}"
            )
        return choice

    def provider(self, code: str) -> Provider:
        opened = (self.providers or {}).get(code)
        return open_provider(code, self.cpu, self.settings) if opened is None else opened

    def price(
        self, provider: Provider, options: GenerateOptions, choice: ModelChoice, *, styles: int, scenes: int
    ) -> Price:
        """The price of all candidates of all scenes."""
        calls = scenes * options.candidates
        if provider.capabilities.free:
            return Price(provider.code, calls, Decimal(0), is_free=True)
        unread = ProviderPicture(name="", data=b"", mime_type="image/png")
        request = _request(options, choice, unread, (unread,) * styles, index=1)
        each = provider.estimate(request)
        return Price(provider.code, calls, None if each is None else each * calls, is_free=False)

    def check_spend(self, price: Price, *, is_confirmed: bool) -> None:
        """Allow paid calls only if the spend is confirmed and there is a ledger.

        Raises:
            SpendNotConfirmedError: The spend is not confirmed; the message has the estimate.
            LedgerMissingError: There is no ledger.
        """
        if not price.may_cost:
            return
        if not is_confirmed:
            raise SpendNotConfirmedError(price.provider, calls=price.calls, usd=price.usd)
        if self.db is None:
            raise LedgerMissingError(price.provider)

    async def generate(
        self,
        scene: Source,
        styles: Sequence[Source],
        options: GenerateOptions,
        *,
        provider: Provider,
        choice: ModelChoice,
        index: int,
    ) -> Result:
        """One candidate of a scene; call ``check_spend`` first.

        Raises:
            PictureError: The scene or a style does not decode.
            ProviderError: The provider refused, failed, or returned no picture.
        """
        pictures = [await self._picture(source) for source in (scene, *styles)]
        request = _request(options, choice, pictures[0], tuple(pictures[1:]), index=index)
        if provider.capabilities.free:
            result, call_id = await provider.edit(request), None
        else:
            result, call_id = await self._buy(provider, request, OPERATION, [scene, *styles])
        try:
            header = await self.cpu.run(codec.verify, result.data, name="answer")
        except PictureError as exc:
            reason = f"its response is not a usable picture ({exc.code})"
            raise AnswerUnusableError(provider.code, reason) from exc
        parents = [await asyncio.to_thread(scene.parent, "scene")]
        parents += [await asyncio.to_thread(style.parent, "style") for style in styles]
        record = PictureRecord(
            step="generate",
            made_at=_now(),
            candidate_index=index,
            stage=options.stage,
            time_of_day=options.time,
            weather=options.weather,
            prompt=request.prompt,
            provider=result.provider_code,
            model=result.model,
            seed=options.seed,
            size=choice.size or "",
            quality=choice.quality or "",
            parameters=result.parameters,
            provider_request_id=result.request_id or "",
            provider_call_id=call_id,
            parents=tuple(parents),
        )
        details: dict[str, Any] = {
            "provider": result.provider_code,
            "model": result.model,
            "seed": options.seed,
            "candidate_index": index,
            "cost_usd": None if result.cost_usd is None else float(result.cost_usd),
            "provider_call_id": None if call_id is None else str(call_id),
            "parameters": result.parameters,
        }
        return Result(
            data=(await asyncio.to_thread(sealed, result.data, record)).data,
            mime_type=header.mime_type,
            width=header.width,
            height=header.height,
            details=details,
        )

    async def _picture(self, source: Source) -> ProviderPicture:
        header = await self.cpu.run(codec.verify, source.data, name=source.name)
        return ProviderPicture(name=source.name, data=source.data, mime_type=header.mime_type)

    async def _buy(
        self, provider: Provider, request: EditRequest, operation: str, inputs: Sequence[Source]
    ) -> tuple[EditResult, UUID]:
        if self.db is None:
            raise LedgerMissingError(provider.code)
        request = msgspec.structs.replace(request, access=self._access(provider))
        calls = ToolCalls(self.db, provider, limits=self.settings.provider_limits, actor=self.actor)
        call_key = await asyncio.to_thread(_call_key, request, operation, inputs)
        return await calls.edit(request, call_key=call_key, operation=operation)

    def _access(self, provider: Provider) -> ProviderAccess:
        """The environment's key and the provider's own URL; only projects configure others."""
        if not provider.capabilities.takes_key:
            return ProviderAccess()
        key = environment_key(self.settings, provider.code)
        if key is None:
            raise ProviderRefusedError(provider.code, "the environment has no API key for it")
        return ProviderAccess(api_key=key.strip())

    # upscale, color, bgremove

    async def upscale(self, source: Source, options: UpscaleOptions) -> Result:
        """The enlarged picture.

        Raises:
            ToolError: The backend is unknown, missing, or failed.
            PictureError: The picture does not decode, or would be too large.
        """
        spec = UpscaleSpec(
            backend=options.backend,
            scale=options.scale,
            format=options.format,
            quality=options.output_quality,
        )
        made = await self.toolbox.upscale(source.data, spec, name=source.name)
        parameters = {"backend": options.backend, "scale": options.scale}
        return await asyncio.to_thread(_finished, made, source, "upscale", options.backend, parameters)

    async def color(self, source: Source, options: ColorOptions, lut: Source | None = None) -> Result:
        """The graded picture.

        Raises:
            PictureError: The picture does not decode.
            CubeError: The look-up table cannot be read.
        """
        values = BUILTIN_PROFILES[options.profile]
        if options.temperature is not None:
            values = msgspec.structs.replace(values, temperature=options.temperature)
        spec = ColorSpec(profile=options.profile, values=values)
        table = None if lut is None else (lut.name, lut.data)
        made = await self.toolbox.grade(source.data, spec, name=source.name, lut=table)
        parameters: dict[str, Any] = {"profile": options.profile, "temperature": values.temperature}
        if lut is not None:
            parameters["lut"] = lut.path
        return await asyncio.to_thread(_finished, made, source, "color", options.profile, parameters)

    def cutout_price(self, options: BgremoveOptions, *, pictures: int) -> Price:
        """Free, or an unknown amount if a paid service may be called.

        Raises:
            WrongOptionError: A backend is unknown.
        """
        for code in options.backends:
            if code not in CUTOUT_BACKENDS:
                raise WrongOptionError(f"Field 'backends' takes any of: {', '.join(CUTOUT_BACKENDS)}")
        paid = [code for code in options.backends if code in self.toolbox.services]
        if not paid:
            return Price("local", 0, Decimal(0), is_free=True)
        return Price(", ".join(paid), pictures * len(paid), None, is_free=False)

    async def bgremove(self, source: Source, options: BgremoveOptions) -> Result:
        """Cut out the subject with the first backend that succeeds; call ``check_spend`` first.

        Raises:
            PictureError: The picture does not decode.
            ToolError: Every backend failed; the message lists each reason.
        """
        spec = CutoutSpec(backends=options.backends, format=options.format, quality=options.output_quality)
        failures: list[str] = []
        for code in options.backends:
            try:
                made, call_id = await self._cut_out(code, source, spec)
            except (ToolError, ProviderRefusedError) as exc:
                failures.append(f"{code}: {exc.message}")
                continue
            parameters = {"backend": code, "provider_call_id": None if call_id is None else str(call_id)}
            return await asyncio.to_thread(
                _finished, made, source, "bg_remove", code, parameters, call_id=call_id
            )
        raise ToolError("bgremove", " | ".join(failures))

    async def _cut_out(self, code: str, source: Source, spec: CutoutSpec) -> tuple[Made, UUID | None]:
        if code not in self.toolbox.services:
            return await self.toolbox.remover(code).remove(source.data, spec, name=source.name), None
        service = self.toolbox.services[code].of_spec(spec)
        try:
            access = self._access(service)
        except ProviderRefusedError as exc:
            raise ToolMissingError(code, exc.message) from exc
        request = service_request(
            await self.toolbox.service_picture(source.data, name=source.name), access=access
        )
        result, call_id = await self._buy(service, request, CUTOUT_OPERATION, [source])
        return await self.toolbox.finish_service(source.data, result.data, spec, code), call_id

    # qa

    async def facts(self, options: QaOptions, *, scene: Source | None, styles: Sequence[Source]) -> bytes:
        """Measure scene and styles once, for ``check``."""
        spec = FactsRequest(settings=_checks(options), scene=scene, styles=tuple(styles))
        return await self.cpu.run(measures.gather_facts, spec)

    async def check(self, source: Source, options: QaOptions, facts: bytes) -> Report:
        """Check a picture; an unreadable one is a hard failure, not an error."""
        spec = CheckRequest(
            name=source.name,
            data=source.data,
            guard=GuardSettings(
                enforce_grayscale=options.enforce_grayscale,
                max_chroma_delta=options.max_chroma_delta,
                fail_on_chroma_exceed=options.fail_on_chroma_exceed,
            ),
            settings=_checks(options),
        )
        found = await self.cpu.run(measures.check_candidate, spec, facts)
        hard = list(found.guard.hard_fail_reasons)
        soft = list(found.guard.soft_warnings)
        for check in found.report.checks:
            if check.name != "color" and check.outcome in {"failed", "warning"}:
                reason = f"{check.name}: {check.reason}" if check.reason else check.name
                (hard if check.outcome == "failed" else soft).append(reason)
        score = found.report.score
        if options.min_score is not None and score is not None and score < options.min_score:
            hard.append(f"score: {score:g} is below {options.min_score:g}")
        return Report(
            has_hard_failures=bool(hard),
            hard_fail_reasons=hard,
            soft_warnings=soft,
            guard=found.guard,
            quality=found.report,
        )


def unreadable(name: str, error: InvalidRequestError) -> Report:
    """The report on a file that could not be read."""
    guard = GuardReport(file=name, hard_fail_reasons=(READ_FAILED,), error=error.message)
    return Report(
        has_hard_failures=True,
        hard_fail_reasons=[READ_FAILED],
        soft_warnings=[],
        guard=guard,
        quality=QualityReport(),
    )


def _checks(options: QaOptions) -> QualitySettings:
    settings = QualitySettings()
    hard = {
        name: msgspec.structs.replace(getattr(settings, name), verdict=Verdict.HARD) for name in options.hard
    }
    return msgspec.structs.replace(settings, **hard)


def _request(
    options: GenerateOptions,
    choice: ModelChoice,
    scene: ProviderPicture,
    styles: tuple[ProviderPicture, ...],
    *,
    index: int,
) -> EditRequest:
    return EditRequest(
        prompt=(options.prompt or "").strip() or DEFAULT_PROMPTS["style_base"],
        scene=scene,
        styles=styles,
        stage=options.stage,
        time_of_day=options.time,
        weather=options.weather,
        candidate_index=index,
        seed=options.seed,
        model=choice.model or None,
        size=choice.size,
        quality=choice.quality,
    )


def _call_key(request: EditRequest, operation: str, inputs: Sequence[Source]) -> str:
    """The same key for the same request, to find a call with a lost response again."""
    parts = (
        operation,
        request.prompt,
        request.stage,
        request.time_of_day,
        request.weather,
        request.candidate_index,
        request.seed,
        request.model,
        request.size,
        request.quality,
        [source.parent().sha256 for source in inputs],
    )
    return f"tool_{hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]}"


def _finished(
    made: Made,
    source: Source,
    step: str,
    provider: str,
    parameters: dict[str, Any],
    *,
    call_id: UUID | None = None,
) -> Result:
    parameters = parameters | made.details
    record = PictureRecord(
        step=step,
        made_at=_now(),
        provider=provider,
        parameters=parameters,
        provider_call_id=call_id,
        parents=(source.parent(),),
    )
    return Result(
        data=sealed(made.data, record).data,
        mime_type=made.mime_type,
        width=made.width,
        height=made.height,
        details=parameters,
    )


def _now() -> str:
    return utc_now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
