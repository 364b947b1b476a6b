"""Post-process what passed: background, refine, upscale, color, in that order (pipeline.md 7).

Each tool on each candidate is a recorded step of its own, so that a worker that takes over continues
after the last finished one and pays for nothing twice.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from kroma.cpu import remote
from kroma.db.base import utc_now
from kroma.errors import KromaError
from kroma.leases.claim import ClaimLostError
from kroma.ledger.errors import CallLaterError, ClaimGoneError
from kroma.ledger.outcomes import CUTOUT_OPERATION, REFINE_OPERATION
from kroma.pipeline.execution.derived_pictures import (
    DerivedPictures,
    Finish,
    StepName,
    Work,
    bought,
    keep,
    read_source,
)
from kroma.pipeline.execution.image_job import Candidate, ImageJob
from kroma.pipeline.execution.step_tools import StepTools
from kroma.postprocess.errors import ToolError, ToolMissingError
from kroma.postprocess.specs import (
    MAX_CUBE_BYTES,
    ColorSpec,
    CutoutSpec,
    Format,
    Made,
    PlannedTools,
    RefineSpec,
    Size,
    UpscaleSpec,
)
from kroma.postprocess.toolbox import Toolbox, all_failed, service_request
from kroma.providers.base import (
    Capabilities,
    EditRequest,
    Provider,
    ProviderFailedError,
    ProviderPicture,
)
from kroma.runs.errors import RunCanceledError
from kroma.runs.models import CandidateStatus
from kroma.storage.errors import ObjectNotFoundError, ObjectTooLargeError

if TYPE_CHECKING:
    from kroma.postprocess.work import finish_refined, framed
else:
    finish_refined = remote("kroma.postprocess.work").finish_refined
    framed = remote("kroma.postprocess.work").framed

REFINE: Final = "refine"
"""What a provider is told instead of a stage."""


class _Part(NamedTuple):
    """One tool of the chain."""

    name: StepName
    make: Callable[[Candidate], Awaitable[Candidate]]


async def postprocess(job: ImageJob, tools: StepTools) -> ImageJob:
    """Carry the winner, or every candidate that passed, through the planned chain.

    Raises:
        ToolError: A tool failed; what the others made is recorded.
        CallLaterError: A paid tool's turn has not come.
        RunCanceledError: The run was canceled before the next tool.
    """
    if job.tools is None:
        return job
    chosen = {candidate.id for candidate in _chosen(job, job.tools)}
    # One after the other: each is heavy, and other jobs' tools run beside it.
    done = [
        await postprocess_candidate(job, candidate, tools) if candidate.id in chosen else candidate
        for candidate in job.candidates
    ]
    return msgspec.structs.replace(job, candidates=tuple(done))


def _chosen(job: ImageJob, planned: PlannedTools) -> list[Candidate]:
    if planned.scope == "all":
        return [one for one in job.candidates if one.status is CandidateStatus.DONE]
    return [job.winner] if job.winner else []


async def postprocess_candidate(job: ImageJob, candidate: Candidate, tools: StepTools) -> Candidate:
    """One candidate through the chain of its job's plan; it needs no more than a stored picture.

    Returns:
        The candidate with every picture that was made of it in ``derived``.

    Raises:
        ToolError: A tool failed.
        CallLaterError: A paid tool's turn has not come.
        RunCanceledError: The run is being canceled.
    """
    for part in _parts(job, tools):
        name = f"postprocess/{candidate.index}/{part.name}"
        recorded = await tools.recorder.find(name, Candidate)
        if recorded is not None:
            candidate = recorded
            continue
        if await tools.is_canceled():
            raise RunCanceledError
        started_at = utc_now()
        candidate = await part.make(candidate)
        await tools.recorder.record(name, candidate, started_at=started_at, candidates=(candidate,))
    return candidate


def _parts(job: ImageJob, tools: StepTools) -> list[_Part]:
    planned = job.tools or PlannedTools()
    toolbox = tools.toolbox or Toolbox(tools.cpu)
    parts: list[_Part] = []
    if planned.cutout is not None:
        parts.append(_Part("bg_remove", partial(_cut_out, job, planned.cutout, toolbox, tools)))
    if planned.refine is not None:
        kind = planned.cutout.format if planned.cutout else "png"
        quality = planned.cutout.quality if planned.cutout else 95
        refine = partial(_refine, job, planned.refine, tools, kind=kind, quality=quality)
        parts.append(_Part("bg_refine_openai", refine))
    if planned.upscale is not None:
        parts.append(_Part("upscale", partial(_upscale, job, planned.upscale, toolbox, tools)))
    if planned.color is not None:
        parts.append(_Part("color", partial(_grade, job, planned.color, toolbox, tools)))
    return parts


async def _work(
    job: ImageJob, candidate: Candidate, tools: StepTools, *, step: StepName, suffix: str, backend: str
) -> Work:
    source = await read_source(candidate, tools)
    return Work(job=job, candidate=candidate, source=source, step=step, suffix=suffix, backend=backend)


async def _upscale(
    job: ImageJob, spec: UpscaleSpec, toolbox: Toolbox, tools: StepTools, candidate: Candidate
) -> Candidate:
    work = await _work(job, candidate, tools, step="upscale", suffix=f"x{spec.scale}", backend=spec.backend)
    made = await toolbox.upscale(work.source.data, spec, name=work.source.name)
    used = toolbox.upscaler(spec.backend).code
    model = str(made.details.pop("model", used))
    return await keep(work, made, tools, model=model, scale=spec.scale, used=used)


async def _grade(
    job: ImageJob, spec: ColorSpec, toolbox: Toolbox, tools: StepTools, candidate: Candidate
) -> Candidate:
    work = await _work(job, candidate, tools, step="color", suffix=spec.profile, backend="builtin")
    lut = await _lut(spec, tools)
    made = await toolbox.grade(work.source.data, spec, name=work.source.name, lut=lut)
    return await keep(work, made, tools, profile=spec.profile, settings=spec.settings)


async def _lut(spec: ColorSpec, tools: StepTools) -> tuple[str, bytes] | None:
    if spec.lut is None:
        return None
    key = spec.lut.key
    try:
        data = await tools.store.get(key, limit_bytes=MAX_CUBE_BYTES)
    except (ObjectNotFoundError, ObjectTooLargeError) as exc:
        raise ToolError("color", exc.message) from exc
    digest = await asyncio.to_thread(hashlib.sha256, data)
    if digest.hexdigest() != spec.lut.sha256:
        raise ToolError("color", f"the look-up table '{key}' is another one than when the run was planned")
    return key, data


async def _cut_out(
    job: ImageJob, spec: CutoutSpec, toolbox: Toolbox, tools: StepTools, candidate: Candidate
) -> Candidate:
    """Try the backends in turn; the first that succeeds wins."""
    failures: dict[str, KromaError] = {}
    for backend in spec.backends:
        work = await _work(job, candidate, tools, step="bg_remove", suffix="nobg", backend=backend)
        try:
            if backend in toolbox.services:
                made = await _use_service(work, spec, toolbox, tools, is_last=backend == spec.backends[-1])
            else:
                removed = await toolbox.remover(backend).remove(work.source.data, spec, name=work.source.name)
                model = str(removed.details.pop("model", ""))
                made = await keep(work, removed, tools, model=model)
        except (ToolError, ProviderFailedError) as exc:
            if isinstance(exc, CallLaterError):
                raise
            failures[backend] = exc
        else:
            made.derived[-1].details["backends_tried"] = list(spec.backends)
            if failures:
                made.derived[-1].details["failures"] = {name: exc.message for name, exc in failures.items()}
            return made
    raise next(iter(failures.values())) if len(failures) == 1 else all_failed(failures)


async def _use_service(
    work: Work, spec: CutoutSpec, toolbox: Toolbox, tools: StepTools, *, is_last: bool
) -> Candidate:
    service = toolbox.services[work.backend].of_spec(spec)
    if not is_last:
        await _check_access(service, tools)  # else the job would stand still although another can be tried
    picture = await toolbox.service_picture(work.source.data, name=work.source.name)

    async def finish(answer: bytes) -> Made:
        return await toolbox.finish_service(work.source.data, answer, spec, work.backend)

    request = service_request(picture, candidate_index=work.candidate.index)
    return await _pay(work, service, request, tools, operation=CUTOUT_OPERATION, finish=finish)


async def _check_access(provider: Provider, tools: StepTools) -> None:
    if tools.find_access is not None:
        await tools.find_access(provider)


async def _pay(
    work: Work,
    provider: Provider,
    request: EditRequest,
    tools: StepTools,
    *,
    operation: str,
    finish: Finish,
) -> Candidate:
    if tools.paid is None:
        raise ToolMissingError(work.backend, "its calls cost money, and there is no ledger here")
    answers = DerivedPictures(work, tools, finish)
    try:
        return bought(work, await tools.paid(provider, operation).edit(request, answers))
    except ClaimGoneError as exc:
        raise ClaimLostError from exc


async def _refine(
    job: ImageJob, spec: RefineSpec, tools: StepTools, candidate: Candidate, *, kind: Format, quality: int
) -> Candidate:
    """Have a provider clean the cut-out; where it need not be, a failure leaves the cut-out as it is."""
    work = await _work(
        job, candidate, tools, step="bg_refine_openai", suffix="refined", backend=spec.provider
    )
    provider = tools.providers.get(spec.provider)
    try:
        if provider is None:
            raise ToolMissingError("bg_refine_openai", f"there is no provider '{spec.provider}'")
        if not spec.is_required:
            await _check_access(provider, tools)
        return await _refine_candidate(work, spec, provider, tools, kind=kind, quality=quality)
    except (ToolError, ProviderFailedError) as exc:
        # A refused key stops the provider for the whole project: then this waits for a person, too.
        if isinstance(exc, CallLaterError) or spec.is_required:
            raise
        return msgspec.structs.replace(candidate, refine_error=exc.message)


async def _refine_candidate(
    work: Work, spec: RefineSpec, provider: Provider, tools: StepTools, *, kind: Format, quality: int
) -> Candidate:
    source = work.source
    size = refine_size(provider.capabilities, spec, (source.file.width, source.file.height))
    sent = await tools.cpu.run(framed, source.data, size, name=source.name)

    async def finish(answer: bytes) -> Made:
        return await tools.cpu.run(
            finish_refined, source.data, answer, size, kind, quality, tool=work.backend
        )

    picture = ProviderPicture(name=f"{source.name.rpartition('.')[0]}.png", data=sent, mime_type="image/png")
    request = refine_request(spec, picture, seed=work.job.seed, size=size, index=work.candidate.index)
    return await _pay(work, provider, request, tools, operation=REFINE_OPERATION, finish=finish)


def refine_request(
    spec: RefineSpec, picture: ProviderPicture, *, seed: int, size: Size, index: int
) -> EditRequest:
    """One cut-out to clean, as a provider's request."""
    return EditRequest(
        prompt=spec.prompt,
        scene=picture,
        styles=(),
        stage=REFINE,
        time_of_day="",
        weather="",
        candidate_index=index,
        seed=seed,
        model=spec.model or None,
        size=f"{size.width}x{size.height}",
        quality=spec.quality,
        background="transparent",
    )


def refine_size(capabilities: Capabilities, spec: RefineSpec, picture: tuple[int, int]) -> Size:
    """Of the sizes that the model offers the one of the nearest proportions; any size keeps the picture's."""
    offer = next((one for one in capabilities.models if one.name == spec.model), capabilities.models[0])
    wanted = picture[0] / picture[1]
    sizes = [tuple(int(side) for side in size.split("x")) for size in offer.sizes if "x" in size] or [picture]
    width, height = min(sizes, key=lambda size: abs(size[0] / size[1] / wanted - 1))
    return Size(width, height)
