"""Reading the log of a run from its project's store."""

import asyncio
from typing import Final

import msgspec

from kroma.projects.models import Project
from kroma.projects.storage import locate_project
from kroma.runs.errors import RunLogNotFoundError
from kroma.runs.models import Run
from kroma.storage.base import ProjectStores
from kroma.storage.errors import ObjectNotFoundError, OutsideProjectError

MAX_LOG_BYTES: Final = 64 * 1024**2


async def read_run_log(stores: ProjectStores, run: Run, project: Project) -> msgspec.Raw:
    """The log file, any version of the schema: read as JSON, and kept as the bytes that it is.

    Args:
        run: The run, with its plan loaded.
        project: The run's project, with its storage row.

    Raises:
        RunLogNotFoundError: The run has written none yet, or it lies outside the project.
    """
    if run.run_log_path is None:
        raise RunLogNotFoundError
    # The root at the time of the trigger: the project may have moved since.
    now = locate_project(stores, project.id, project.slug, project.storage)
    location, real_root = run.plan_json.get("project_root") or now, run.plan_json.get("real_root")
    if real_root is None and location == now and project.storage is not None:
        real_root = project.storage.local_real_root
    try:
        store = await asyncio.to_thread(stores.open, location, real_root=real_root)
        data = await store.get(store.key_of(run.run_log_path), limit_bytes=MAX_LOG_BYTES)
    except (ObjectNotFoundError, OutsideProjectError) as exc:
        raise RunLogNotFoundError from exc
    return await asyncio.to_thread(_checked, data)


def _checked(data: bytes) -> msgspec.Raw:
    data.decode()  # what stays raw is not read as UTF-8
    return msgspec.json.decode(data, type=msgspec.Raw)
