"""Free background removers: ``local`` for plain backdrops, and the operator's rembg."""

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from kroma.config import ToolOptions
from kroma.cpu import CpuPool, remote
from kroma.postprocess.command import convert_file
from kroma.postprocess.errors import ToolMissingError
from kroma.postprocess.installed import LOCAL, REMBG, missing_remover
from kroma.postprocess.specs import CutoutSpec, Made

if TYPE_CHECKING:
    from kroma.postprocess import work
else:
    work = remote("kroma.postprocess.work")


class LocalRemover:
    """Removes plain backdrops (``kroma.postprocess.cutout``); refuses others."""

    code = LOCAL

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    async def remove(self, data: bytes, spec: CutoutSpec, *, name: str) -> Made:
        return await self._cpu.run(work.remove_backdrop, data, spec.format, spec.quality, name=name)


class RembgRemover:
    """The operator's ``rembg`` command (pipeline.md 5.2)."""

    code = REMBG

    def __init__(self, cpu: CpuPool, options: ToolOptions) -> None:
        self._cpu = cpu
        self._options = options

    async def remove(self, data: bytes, spec: CutoutSpec, *, name: str) -> Made:
        program = await asyncio.to_thread(shutil.which, self._options.rembg)
        missing = await asyncio.to_thread(missing_remover, REMBG, spec, self._options)
        if missing is not None or program is None:
            raise ToolMissingError(self.code, missing or "its program was just removed")
        png = await self._cpu.run(work.plain_png, data, name=name)

        def arguments(source: Path, target: Path) -> list[str]:
            return [program, "i", "-m", spec.rembg_model, str(source), str(target)]

        output = await convert_file(self.code, png, arguments, timeout=self._options.command_timeout)
        made = await self._cpu.run(
            work.finish_cutout, data, output, spec.format, spec.quality, crop=False, tool=self.code
        )
        made.details["model"] = spec.rembg_model
        return made
