"""Reading the log of a run from its project's store."""

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec

from kroma.projects.models import Project
from kroma.projects.storage import local_root
from kroma.runs.errors import RunLogNotFoundError
from kroma.runs.models import Run
from kroma.storage.base import ProjectStores
from kroma.storage.errors import ObjectNotFoundError, OutsideProjectError

MAX_LOG_BYTES: Final = 64 * 1024**2


async def read_run_log(stores: ProjectStores, run: Run, project: Project, *, data_dir: Path) -> Any:  # noqa: ANN401 - any version of the schema
    """The decoded log file.

    Args:
        stores: Where projects keep their files.
        run: The run, with its plan loaded.
        project: The run's project, with its storage row.
        data_dir: Where relative roots start.

    Raises:
        RunLogNotFoundError: The run has written none yet, or it lies outside the project.
    """
    if run.run_log_path is None:
        raise RunLogNotFoundError
    # The root at the time of the trigger: the project may have moved since.
    root = run.plan_json.get("project_root") or str(local_root(data_dir, project.slug, project.storage))
    try:
        store = await asyncio.to_thread(stores.open, root)
        data = await store.get(store.key_of(run.run_log_path), limit_bytes=MAX_LOG_BYTES)
    except (ObjectNotFoundError, OutsideProjectError) as exc:
        raise RunLogNotFoundError from exc
    return msgspec.json.decode(data)
