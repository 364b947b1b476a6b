"""Ways to remove a background that cost nothing: ours for plain backdrops, and the operator's rembg."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kroma.config import ToolOptions
from kroma.cpu import CpuPool, remote
from kroma.postprocess.command import run_program
from kroma.postprocess.errors import ToolMissingError
from kroma.postprocess.installed import LOCAL, REMBG, missing_remover
from kroma.postprocess.specs import CutoutSpec, Made
from kroma.postprocess.upscalers import read_answer

if TYPE_CHECKING:
    from kroma.postprocess import work
else:
    work = remote("kroma.postprocess.work")


class LocalRemover:
    """For flat and simple backdrops; says when it is not sure."""

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    @property
    def code(self) -> str:
        return LOCAL

    def missing(self, spec: CutoutSpec) -> str | None:  # noqa: ARG002 - the protocol's
        return None

    async def remove(self, data: bytes, spec: CutoutSpec, *, name: str) -> Made:
        return await self._cpu.run(work.remove_backdrop, data, spec.format, spec.quality, name=name)


class RembgRemover:
    """The ``rembg`` command line of the operator (pipeline.md 5.2)."""

    def __init__(self, cpu: CpuPool, options: ToolOptions) -> None:
        self._cpu = cpu
        self._options = options

    @property
    def code(self) -> str:
        return REMBG

    def missing(self, spec: CutoutSpec) -> str | None:
        return missing_remover(REMBG, spec, self._options)

    async def remove(self, data: bytes, spec: CutoutSpec, *, name: str) -> Made:
        program = await asyncio.to_thread(shutil.which, self._options.rembg)
        missing = await asyncio.to_thread(self.missing, spec)
        if missing is not None or program is None:
            raise ToolMissingError(self.code, missing or "its program has gone")
        given = await self._cpu.run(work.plain_png, data, name=name)
        with tempfile.TemporaryDirectory(prefix="kroma-cutout-") as kept:
            folder = Path(kept)
            source, target = folder / "in.png", folder / "out.png"
            await asyncio.to_thread(source.write_bytes, given)
            arguments = [program, "i", "-m", spec.rembg_model, str(source), str(target)]
            await run_program(self.code, arguments, timeout=self._options.command_timeout, folder=folder)
            answer = await asyncio.to_thread(read_answer, target, self.code)
        made = await self._cpu.run(
            work.finish_cutout, data, answer, spec.format, spec.quality, crop=False, tool=self.code
        )
        made.details["model"] = spec.rembg_model
        return made
