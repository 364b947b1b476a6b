"""Upscalers: Lanczos, and the operator's Real-ESRGAN."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from kroma.config import ToolOptions
from kroma.cpu import CpuPool, remote
from kroma.postprocess.command import convert_file
from kroma.postprocess.errors import ToolMissingError
from kroma.postprocess.installed import LANCZOS, REALESRGAN, missing_upscaler
from kroma.postprocess.specs import Made, UpscaleSpec

if TYPE_CHECKING:
    from kroma.postprocess import work
else:
    work = remote("kroma.postprocess.work")


class LanczosUpscaler:
    """Enlarges with a Lanczos filter, in 8 or 16 bits."""

    code = LANCZOS

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        return await self._cpu.run(work.enlarge, data, spec.scale, spec.format, spec.quality, name=name)


class RealEsrganUpscaler:
    """The operator's ``realesrgan-ncnn-vulkan`` program, which works in 8 bits (pipeline.md 5.3)."""

    code = REALESRGAN

    def __init__(self, cpu: CpuPool, options: ToolOptions) -> None:
        self._cpu = cpu
        self._options = options

    async def upscale(self, data: bytes, spec: UpscaleSpec, *, name: str) -> Made:
        missing = await asyncio.to_thread(missing_upscaler, spec, self._options)
        if missing is not None:
            raise ToolMissingError(self.code, missing)
        png = await self._cpu.run(work.plain_png, data, name=name, limit_scale=spec.scale)
        options = self._options

        def arguments(source: Path, target: Path) -> list[str]:
            return [
                str(options.realesrgan),
                *("-i", str(source), "-o", str(target), "-s", str(spec.scale)),
                *("-m", str(options.realesrgan_models), "-n", spec.model),
                *("-f", "png", "-t", str(spec.tile)),
            ]

        output = await convert_file(self.code, png, arguments, timeout=options.command_timeout)
        made = await self._cpu.run(
            work.finish_enlarged, data, output, spec.scale, spec.format, spec.quality, tool=self.code
        )
        made.details["model"] = spec.model
        return made
