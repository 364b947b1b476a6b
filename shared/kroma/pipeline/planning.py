"""Planning a run: everything a trigger can know before anything is stored or paid."""

import secrets
from pathlib import Path
from typing import Any, Final

import msgspec

from kroma.config import Settings
from kroma.errors import InvalidRequestError
from kroma.pipeline.choice import Choice, chosen
from kroma.pipeline.config_files import ConfigFiles
from kroma.pipeline.errors import PlanningPreflightError
from kroma.pipeline.job_keys import job_key
from kroma.pipeline.manifest import Manifest, load_manifest
from kroma.pipeline.order import SEEDS, RunOrder
from kroma.pipeline.pictures import Located, inspected, located, scenes_of_input
from kroma.pipeline.plan import PlannedJob, RunPlan
from kroma.pipeline.postprocess_config import load_postprocess_config, planned_postprocess
from kroma.pipeline.prompt import compose_prompt
from kroma.pipeline.settings import load_layers
from kroma.runs.models import RunMode
from kroma.storage.base import ObjectStore, ProjectStores
from kroma.storage.errors import ObjectNotFoundError, StoreFullError, StoreUnavailableError

CANDIDATE_CEILING: Final = 255
"""Whatever a manifest allows, no job makes more (pipeline.md 3.4)."""


async def plan_run(
    stores: ProjectStores, settings: Settings, *, project_slug: str, root: Path, order: RunOrder
) -> RunPlan:
    """Check in the order of pipeline.md 4.4 all that a run needs, and freeze it.

    Args:
        stores: Opens the project's files.
        settings: Of the installation.
        project_slug: As stored.
        root: The project's resolved absolute root.
        order: What the caller asked for.

    Raises:
        PlanningPreflightError: The first thing that makes no plan, naming the file or field.
    """
    try:
        return await _planned(stores, settings, project_slug=project_slug, root=root, order=order)
    except PlanningPreflightError:
        raise
    except (InvalidRequestError, ObjectNotFoundError, StoreFullError, StoreUnavailableError) as exc:
        raise PlanningPreflightError(exc.message) from exc


async def _planned(
    stores: ProjectStores, settings: Settings, *, project_slug: str, root: Path, order: RunOrder
) -> RunPlan:
    store = stores.open(str(root))
    files = ConfigFiles(settings.data_dir, store, allow_any_root=settings.allow_any_root)
    layer = (await load_layers(files)).merged
    manifest = await load_manifest(files, layer.manifest_path)
    scenes = await _scenes(store, manifest, order)
    prompt = compose_prompt(manifest, stage=order.stage, time_of_day=order.time_of_day, weather=order.weather)
    config = await load_postprocess_config(files, layer.postprocess_config_path)
    postprocess = planned_postprocess(layer, config)
    candidates = _candidates(manifest, order)
    choice = chosen(order, settings)
    styles = _styles(store, manifest, order)
    check_inputs(choice, len(styles))
    await store.check_writable()
    pictures = await inspected(store, [*scenes, *styles])
    plan = RunPlan(
        mode=order.mode,
        stage=order.stage,
        time_of_day=order.time_of_day,
        weather=order.weather,
        jobs=tuple(
            PlannedJob(job_key=job_key(order.stage, n, scene.ref), prompt=prompt, scene=scene)
            for n, scene in enumerate(pictures[: len(scenes)], start=1)
        ),
        styles=tuple(pictures[len(scenes) :]),
        candidates=candidates,
        max_candidates=manifest.max_candidates,
        guard=manifest.guard,
        postprocess=postprocess,
        provider=choice.provider,
        model=choice.model,
        size=choice.size,
        quality=choice.quality,
        seed=secrets.randbelow(SEEDS) if order.seed is None else order.seed,
        project_slug=project_slug,
        project_root=store.location,
        storage_sync_s3=order.storage_sync_s3,
    )
    paths = {"manifest_path": layer.manifest_path, "postprocess_config_path": layer.postprocess_config_path}
    return msgspec.structs.replace(plan, settings_snapshot=_snapshot(plan, manifest) | paths)


async def _scenes(store: ObjectStore, manifest: Manifest, order: RunOrder) -> list[Located]:
    if order.input is not None:
        scenes = await scenes_of_input(store, order.input)
        _check_batch(len(scenes), manifest)
        return scenes
    refs = manifest.scene_refs if order.scene_refs is None else order.scene_refs
    if not refs:
        raise PlanningPreflightError(
            "No scene references: give scene_refs or input, or list them in the manifest"
        )
    _check_batch(len(refs), manifest)
    return located(store, "scene", refs)


def _styles(store: ObjectStore, manifest: Manifest, order: RunOrder) -> list[Located]:
    refs = manifest.style_refs if order.style_refs is None else order.style_refs
    styles = located(store, "style", refs)
    if manifest.allowed_style_roots is not None:
        roots = located(store, "style", manifest.allowed_style_roots)
        for style in styles:
            if not any(_is_below(style.key, root.key) for root in roots):
                allowed = ", ".join(manifest.allowed_style_roots)
                raise PlanningPreflightError(
                    f"Style '{style.ref}' is outside the manifest's policy.allowed_style_roots ({allowed})"
                )
    return styles


def _is_below(key: str, root: str) -> bool:
    """Whether a key is a root or below it, by whole path segments; the root ``""`` is the project."""
    return not root or key == root or key.startswith(f"{root}/")


def _check_batch(count: int, manifest: Manifest) -> None:
    limit = manifest.safe_batch_limit
    if count > limit:
        raise PlanningPreflightError(
            f"{count} scenes are over the batch limit of {limit};"
            " split the run, or raise safe_batch_limit in the manifest"
        )


def _candidates(manifest: Manifest, order: RunOrder) -> int:
    """How many to make per job; a dry run makes none, so nothing caps it (pipeline.md 3.4)."""
    count = manifest.candidates if order.candidates is None else order.candidates
    cap = min(manifest.max_candidates, CANDIDATE_CEILING)
    if order.mode is RunMode.RUN and count > cap:
        raise PlanningPreflightError(
            f"{count} candidates per scene are over the limit of {cap}"
            " (generation.max_candidates of the manifest)"
        )
    return count


def check_inputs(choice: Choice, styles: int) -> None:
    """Refuse more style references than the provider takes beside a scene.

    Raises:
        PlanningPreflightError: There are more.
    """
    if choice.max_inputs is not None and 1 + styles > choice.max_inputs:
        raise PlanningPreflightError(
            f"Provider '{choice.provider}' takes at most {choice.max_inputs} pictures a call:"
            f" the scene and {choice.max_inputs - 1} style references, not {styles}"
        )


def _snapshot(plan: RunPlan, manifest: Manifest) -> dict[str, Any]:
    """What pipeline.md 9.2 keeps of a run's settings, and what a later run needs to repeat it."""
    return {
        "generation": {"candidates": plan.candidates, "max_candidates": plan.max_candidates},
        "postprocess": msgspec.to_builtins(plan.postprocess),
        "output_guard": {"enabled": True, **msgspec.structs.asdict(plan.guard)},
        "safe_batch_limit": manifest.safe_batch_limit,
        "policy": {
            "default_no_invention": manifest.default_no_invention,
            "allowed_style_roots": manifest.allowed_style_roots,
        },
        "style_refs": [style.ref for style in plan.styles],
        "provider": plan.provider,
        "model": plan.model,
        "size": plan.size,
        "quality": plan.quality,
        "seed": plan.seed,
    }
