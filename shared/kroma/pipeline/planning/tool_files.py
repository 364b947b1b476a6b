"""Fixes the project's files that tools read by their hashes when a run is planned."""

import asyncio
import hashlib
from typing import TYPE_CHECKING

import msgspec

from kroma.cpu import CpuPool, remote
from kroma.errors import KromaError
from kroma.pipeline.planning.errors import PlanningPreflightError
from kroma.postprocess.specs import MAX_CUBE_BYTES, LutFile, PlannedTools
from kroma.storage.base import ObjectStore

if TYPE_CHECKING:
    from kroma.postprocess.lut import check_cube
else:
    check_cube = remote("kroma.postprocess.lut").check_cube


async def with_tool_files(
    store: ObjectStore, cpu: CpuPool, tools: PlannedTools | None
) -> PlannedTools | None:
    """The tools, with the key and hash of the color profile's look-up table.

    Raises:
        PlanningPreflightError: The table lies outside the project, is missing or invalid.
    """
    if tools is None or tools.color is None or tools.color.values.lut is None:
        return tools
    path = tools.color.values.lut
    try:
        key = store.key_of(path)
        async with cpu.room(await store.size(key) or 0):
            data = await store.get(key, limit_bytes=MAX_CUBE_BYTES)
            await cpu.run(check_cube, data, name=path)
            digest = (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
    except KromaError as exc:
        profile = tools.color.profile
        raise PlanningPreflightError(f"Color profile '{profile}': {exc.message}") from exc
    color = msgspec.structs.replace(tools.color, lut=LutFile(key=key, sha256=digest))
    return msgspec.structs.replace(tools, color=color)
