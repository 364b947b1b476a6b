"""Plans a run, without storing or paying anything."""

import re
import secrets
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from kroma.aside import aside
from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.pipeline.planning.config_files import ConfigFiles
from kroma.pipeline.planning.content_hashes import with_baselines
from kroma.pipeline.planning.errors import PlanningPreflightError, as_preflight_errors
from kroma.pipeline.planning.job_keys import job_key, scene_name
from kroma.pipeline.planning.manifest import Manifest, load_manifest
from kroma.pipeline.planning.model_choice import ModelChoice, resolve_model
from kroma.pipeline.planning.picture_inspection import Located, inspect_pictures, located, scenes_of_input
from kroma.pipeline.planning.plan import FULLER_PLAN_VERSION, PLAN_VERSION, PlannedJob, RunPlan
from kroma.pipeline.planning.postprocess_config import (
    load_postprocess_config,
    plan_tools,
    planned_postprocess,
)
from kroma.pipeline.planning.project_inputs import NOTHING, ProjectInputs, item_name
from kroma.pipeline.planning.prompt import Setting, compose_prompt
from kroma.pipeline.planning.run_spec import SEEDS, RunSpec
from kroma.pipeline.planning.settings_layers import load_layers
from kroma.pipeline.planning.tool_files import with_tool_files
from kroma.postprocess.specs import PlannedTools
from kroma.projects.storage import refuse_unregistered
from kroma.runlog.schema import ReferenceLog
from kroma.runs.models import RunMode, Stage
from kroma.storage.base import ObjectStore, ProjectStores
from kroma.storage.errors import OutsideProjectError

CANDIDATE_CEILING: Final = 255
"""The most candidates of a job, whatever the manifest allows (pipeline.md 3.4)."""
_ADDRESS: Final = re.compile(r"\A(?:[A-Za-z][A-Za-z0-9+.-]*:|//)")
"""The beginning of a URL: a scheme or a host."""


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A scene to plan a job for."""

    located: Located
    name: str
    """For the job key: a file's path, or the name that an earlier job gave the scene."""


async def plan_run(
    stores: ProjectStores,
    settings: Settings,
    *,
    project_slug: str,
    location: str,
    real_root: str | None,
    is_confined: bool,
    spec: RunSpec,
    cpu: CpuPool,
    inputs: ProjectInputs = NOTHING,
) -> RunPlan:
    """Check everything that a run needs, in the order of pipeline.md 4.4, and freeze it.

    ``location`` and ``real_root`` are the root of the project's files and its registered root on disk;
    ``is_confined`` as in `ConfigFiles`.

    Raises:
        PlanningPreflightError: The first problem; the message names the file or field.
    """
    with as_preflight_errors():
        store = stores.open(location, real_root=real_root)
        await refuse_unregistered(stores, store, real_root)
        files = ConfigFiles(
            settings.data_dir, store, allow_any_root=settings.allow_any_root, is_confined=is_confined
        )
        plan = await _plan(
            store, files, settings, project_slug=project_slug, spec=spec, cpu=cpu, inputs=inputs
        )
        return msgspec.structs.replace(plan, real_root=real_root)


async def _plan(
    store: ObjectStore,
    files: ConfigFiles,
    settings: Settings,
    *,
    project_slug: str,
    spec: RunSpec,
    cpu: CpuPool,
    inputs: ProjectInputs,
) -> RunPlan:
    layers = await load_layers(files)
    layer = layers.merged
    manifest = await load_manifest(layers.files(files, "manifest_path"), layer.manifest_path)
    scenes = await _scenes(store, manifest, spec, inputs)
    setting = Setting(
        stage=spec.stage, time_of_day=spec.time_of_day, weather=spec.weather, project=project_slug
    )
    prompts = await aside(len(scenes), _prompts, manifest, setting, scenes, inputs)
    config_files = layers.files(files, "postprocess_config_path")
    config = await load_postprocess_config(config_files, layer.postprocess_config_path)
    postprocess = planned_postprocess(layer, config, spec.postprocess)
    tools, problems = await plan_tools(config_files, postprocess, config)
    tools = await with_tool_files(store, cpu, _with_refiner(tools, settings))
    candidates = _candidates(manifest, spec)
    choice = resolve_model(spec, settings)
    styles = _styles(store, manifest, spec, inputs)
    references = _references(store, inputs)
    check_inputs(choice, len(styles), len(references))
    await store.check_writable()
    pictures = await inspect_pictures(store, [*(scene.located for scene in scenes), *styles, *references])
    others = pictures[len(scenes) :]
    jobs = await with_baselines(
        store,
        [
            PlannedJob(job_key=job_key(spec.stage, n, scene.name), prompt=prompt, scene=picture)
            for n, (scene, prompt, picture) in enumerate(
                zip(scenes, prompts, pictures[: len(scenes)], strict=True), start=1
            )
        ],
        inputs.baselines,
    )
    check_gate(manifest.require_baseline, spec.stage, jobs)
    plan = RunPlan(
        version=FULLER_PLAN_VERSION
        if references or tools is not None or spec.stage is Stage.CHARACTER
        else PLAN_VERSION,
        mode=spec.mode,
        stage=spec.stage,
        time_of_day=spec.time_of_day,
        weather=spec.weather,
        jobs=jobs,
        styles=tuple(others[: len(styles)]),
        references=tuple(others[len(styles) :]),
        words=inputs.words,
        baseline_run_id=inputs.baseline_run_id,
        candidates=candidates,
        max_candidates=manifest.max_candidates,
        guard=manifest.guard,
        checks=manifest.checks,
        postprocess=postprocess,
        tools=tools,
        warnings=problems,
        provider=choice.provider,
        model=choice.model,
        size=choice.size,
        quality=choice.quality,
        seed=secrets.randbelow(SEEDS) if spec.seed is None else spec.seed,
        project_slug=project_slug,
        project_root=store.location,
        storage_sync_s3=spec.storage_sync_s3,
    )
    paths = {"manifest_path": layer.manifest_path, "postprocess_config_path": layer.postprocess_config_path}
    return msgspec.structs.replace(plan, settings_snapshot=_snapshot(plan, manifest) | paths)


def _prompts(manifest: Manifest, setting: Setting, scenes: list[Scene], inputs: ProjectInputs) -> list[str]:
    return [
        compose_prompt(
            manifest,
            msgspec.structs.replace(setting, scene=PurePosixPath(scene.name).stem, scene_number=n),
            inputs.words,
        )
        for n, scene in enumerate(scenes, start=1)
    ]


def _with_refiner(tools: PlannedTools | None, settings: Settings) -> PlannedTools | None:
    """The tools with the installation's model and quality for refining, unless the config names some."""
    if tools is None or tools.refine is None:
        return tools
    refine = msgspec.structs.replace(
        tools.refine,
        model=tools.refine.model or settings.openai.model,
        quality=tools.refine.quality or settings.openai.quality,
    )
    return msgspec.structs.replace(tools, refine=refine)


async def _scenes(
    store: ObjectStore, manifest: Manifest, spec: RunSpec, inputs: ProjectInputs
) -> list[Scene]:
    if inputs.scenes is not None:
        _check_batch(len(inputs.scenes), manifest)
        paths = located(store, "scene", [scene.path for scene in inputs.scenes])
        return [
            Scene(located=path, name=scene_name(scene.job_key))
            for path, scene in zip(paths, inputs.scenes, strict=True)
        ]
    found = await _scene_files(store, manifest, spec, inputs)
    return [Scene(located=scene, name=inputs.path_of(scene.ref)) for scene in found]


async def _scene_files(
    store: ObjectStore, manifest: Manifest, spec: RunSpec, inputs: ProjectInputs
) -> list[Located]:
    if spec.input is not None:
        scenes = await scenes_of_input(store, spec.input)
        _check_batch(len(scenes), manifest)
        return scenes
    refs = manifest.scene_refs if spec.scene_refs is None else spec.scene_refs
    if not refs:
        raise PlanningPreflightError(
            "No scene references: give scene_refs or input, or list them in the manifest"
        )
    _check_batch(len(refs), manifest)
    return await aside(len(refs), located, store, "scene", refs, inputs.path_of)


def _styles(store: ObjectStore, manifest: Manifest, spec: RunSpec, inputs: ProjectInputs) -> list[Located]:
    refs = manifest.style_refs if spec.style_refs is None else spec.style_refs
    styles = located(store, "style", refs, inputs.path_of)
    if manifest.allowed_style_roots is not None:
        roots = located(store, "style", manifest.allowed_style_roots)
        for style in styles:
            if not any(_is_below(style.key, root.key) for root in roots):
                allowed = ", ".join(manifest.allowed_style_roots)
                raise PlanningPreflightError(
                    f"Style '{style.ref}' is outside the manifest's policy.allowed_style_roots ({allowed})"
                )
    return styles


def _references(store: ObjectStore, inputs: ProjectInputs) -> list[Located]:
    """The pictures of the reference items, heaviest first."""
    if inputs.words is None:
        return []
    return [
        _reference(store, item, item.path, inputs.path_of(item.path))
        for item in inputs.words.references
        if item.path is not None
    ]


def _reference(store: ObjectStore, item: ReferenceLog, given: str, path: str) -> Located:
    called = item_name(item)
    problem = PlanningPreflightError(
        f"The content_uri '{given}' of {called} is not a path inside the project;"
        " put the picture below the project root and give its path, or upload it and give its asset's id"
    )
    if _ADDRESS.match(path):
        raise problem
    try:
        key = store.key_of(path)
    except OutsideProjectError:
        raise problem from None
    return Located("reference", given, key, f"{called[0].upper()}{called[1:]} ('{given}')")


def check_gate(gated: Sequence[str], stage: Stage, jobs: Sequence[PlannedJob]) -> None:
    """Check the baseline requirement of the manifest.

    Raises:
        PlanningPreflightError: The stage is in ``gated``, and a scene has no locked baseline.
    """
    if stage not in gated:
        return
    for job in jobs:
        if job.baseline is None:
            raise PlanningPreflightError(
                f"Scene '{job.scene.ref}' has no locked baseline, which policy.require_baseline of the"
                f" manifest requires for stage '{stage}'; lock one with POST runs/{{runId}}/lock-baseline"
            )


def _is_below(key: str, root: str) -> bool:
    """Whether a key is the root or below it, by whole path segments; the root ``""`` is the project."""
    return not root or key == root or key.startswith(f"{root}/")


def _check_batch(count: int, manifest: Manifest) -> None:
    limit = manifest.safe_batch_limit
    if count > limit:
        raise PlanningPreflightError(
            f"{count} scenes exceed the batch limit of {limit};"
            " split the run, or raise safe_batch_limit in the manifest"
        )


def _candidates(manifest: Manifest, spec: RunSpec) -> int:
    count = manifest.candidates if spec.candidates is None else spec.candidates
    check_candidates(spec.mode, count, min(manifest.max_candidates, CANDIDATE_CEILING))
    return count


def check_candidates(mode: RunMode, count: int, limit: int) -> None:
    """Check the candidates per scene; a dry run makes none and has no limit (pipeline.md 3.4).

    Raises:
        PlanningPreflightError: There are more than the limit.
    """
    if mode is RunMode.RUN and count > limit:
        raise PlanningPreflightError(
            f"{count} candidates per scene exceed the limit of {limit}"
            " (generation.max_candidates of the manifest)"
        )


def check_inputs(choice: ModelChoice, styles: int, references: int = 0) -> None:
    """Check the number of input pictures: the scene, its styles and references.

    Raises:
        PlanningPreflightError: The provider takes fewer.
    """
    count = 1 + styles + references
    if choice.max_inputs is not None and count > choice.max_inputs:
        raise PlanningPreflightError(
            f"Provider '{choice.provider}' takes at most {choice.max_inputs} pictures per call, not {count}:"
            f" the scene, {styles} style references and {references} pictures of reference sets"
        )


def _snapshot(plan: RunPlan, manifest: Manifest) -> dict[str, Any]:
    """The settings snapshot of pipeline.md 9.2, with what a rerun needs."""
    snapshot: dict[str, Any] = {
        "generation": {"candidates": plan.candidates, "max_candidates": plan.max_candidates},
        "postprocess": msgspec.to_builtins(plan.postprocess),
        "output_guard": {"enabled": True, **msgspec.structs.asdict(plan.guard)},
        "checks": msgspec.to_builtins(plan.checks),
        "safe_batch_limit": manifest.safe_batch_limit,
        "policy": {
            "default_no_invention": manifest.default_no_invention,
            "allowed_style_roots": manifest.allowed_style_roots,
            "require_baseline": list(manifest.require_baseline),
        },
        "style_refs": [style.ref for style in plan.styles],
        "provider": plan.provider,
        "model": plan.model,
        "size": plan.size,
        "quality": plan.quality,
        "seed": plan.seed,
    }
    if plan.words is not None:
        snapshot["words"] = msgspec.to_builtins(plan.words)
    if plan.baseline_run_id is not None:
        snapshot["baseline_run_id"] = str(plan.baseline_run_id)
    return snapshot
