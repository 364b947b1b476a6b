"""Ways to enlarge a picture: ours, and the operator's Real-ESRGAN."""

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from kroma.config import ToolOptions
from kroma.cpu import CpuPool, remote
from kroma.imaging.header import MAX_BYTES
from kroma.postprocess.command import run_program
from kroma.postprocess.errors import ToolError, ToolMissingError
from kroma.postprocess.installed import LANCZOS, REALESRGAN, missing_upscaler
from kroma.postprocess.specs import Made, UpscaleSpec

if TYPE_CHECKING:
    from kroma.postprocess import work
else:
    work = remote("kroma.postprocess.work")

MAX_ANSWER_BYTES: Final = 4 * MAX_BYTES
"""Of what a program writes; it is as much larger as its picture is."""


class LanczosUpscaler:
    """Always there."""

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    @property
    def code(self) -> str:
        return LANCZOS

    def missing(self, spec: UpscaleSpec) -> str | None:  # noqa: ARG002 - the protocol's
        return None

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        return await self._cpu.run(work.enlarge, data, spec.scale, spec.format, spec.quality, name=name)


class RealEsrganUpscaler:
    """The ``realesrgan-ncnn-vulkan`` program of the operator, which works in 8 bits (pipeline.md 5.3)."""

    def __init__(self, cpu: CpuPool, options: ToolOptions) -> None:
        self._cpu = cpu
        self._options = options

    @property
    def code(self) -> str:
        return REALESRGAN

    def missing(self, spec: UpscaleSpec) -> str | None:
        return missing_upscaler(msgspec.structs.replace(spec, backend=REALESRGAN), self._options)

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        missing = await asyncio.to_thread(self.missing, spec)
        if missing is not None:
            raise ToolMissingError(self.code, missing)
        given = await self._cpu.run(work.plain_png, data, name=name, limit_scale=spec.scale)
        answer = await self._ask(given, spec)
        made = await self._cpu.run(
            work.finish_enlarged, data, answer, spec.scale, spec.format, spec.quality, tool=self.code
        )
        made.details["model"] = spec.model
        return made

    async def _ask(self, png: bytes, spec: UpscaleSpec) -> bytes:
        with tempfile.TemporaryDirectory(prefix="kroma-upscale-") as kept:
            folder = Path(kept)
            source, target = folder / "in.png", folder / "out.png"
            await asyncio.to_thread(source.write_bytes, png)
            options = self._options
            arguments = [
                str(options.realesrgan),
                *("-i", str(source), "-o", str(target), "-s", str(spec.scale)),
                *("-m", str(options.realesrgan_models), "-n", spec.model),
                *("-f", "png", "-t", str(spec.tile)),
            ]
            await run_program(self.code, arguments, timeout=options.command_timeout, folder=folder)
            return await asyncio.to_thread(read_answer, target, self.code)


def read_answer(path: Path, tool: str) -> bytes:
    """What a program wrote.

    Raises:
        ToolError: It wrote nothing, or too much.
    """
    try:
        size = path.lstat().st_size
        if path.is_symlink() or not path.is_file():
            raise ToolError(tool, "it left something else than a file")
        if size > MAX_ANSWER_BYTES:
            raise ToolError(tool, f"its file has {size} bytes; the limit is {MAX_ANSWER_BYTES}")
        return path.read_bytes()
    except OSError as exc:
        raise ToolError(tool, "it ended well and left no picture") from exc
