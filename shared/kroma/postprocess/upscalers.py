"""Ways to enlarge a picture: ours, and the operator's Real-ESRGAN."""

import asyncio
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from kroma.config import ToolOptions
from kroma.cpu import CpuPool
from kroma.imaging.header import MAX_BYTES
from kroma.postprocess import work
from kroma.postprocess.command import run_program
from kroma.postprocess.errors import ToolError, ToolMissingError
from kroma.postprocess.orders import UpscaleOrder
from kroma.postprocess.work import Made

LANCZOS: Final = "lanczos"
REALESRGAN: Final = "realesrgan-ncnn"
REALESRGAN_SCALES: Final = (2, 3, 4)
_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_ANSWER_BYTES: Final = 4 * MAX_BYTES
"""Of what a program writes; it is as much larger as its picture is."""


class LanczosUpscaler:
    """Always there."""

    def __init__(self, cpu: CpuPool) -> None:
        self._cpu = cpu

    @property
    def code(self) -> str:
        """Its name."""
        return LANCZOS

    def missing(self, order: UpscaleOrder) -> str | None:  # noqa: ARG002 - the protocol's
        """Nothing."""
        return None

    async def upscale(self, data: bytes, order: UpscaleOrder, *, name: str) -> Made:
        """By ``kroma.postprocess.enlarge``, in all the bits that the picture has."""
        return await self._cpu.run(work.enlarge, data, order.scale, order.format, order.quality, name=name)


class RealEsrganUpscaler:
    """The ``realesrgan-ncnn-vulkan`` program of the operator, which works in 8 bits (pipeline.md 5.3)."""

    def __init__(self, cpu: CpuPool, options: ToolOptions) -> None:
        self._cpu = cpu
        self._options = options

    @property
    def code(self) -> str:
        """Its name."""
        return REALESRGAN

    def missing(self, order: UpscaleOrder) -> str | None:
        """The program, its models, or a scale or model that it does not know."""
        binary, models = self._options.realesrgan, self._options.realesrgan_models
        if not os.access(binary, os.X_OK) or not binary.is_file():
            return f"put the program at {binary}, or set KROMA_REALESRGAN_BIN to where it is"
        if not models.is_dir():
            return f"put its models in {models}, or set KROMA_REALESRGAN_MODELS to where they are"
        if order.scale not in REALESRGAN_SCALES:
            return f"ask for upscale.scale 2, 3 or 4, not {order.scale}"
        if _MODEL.fullmatch(order.model) is None or not any(models.glob(f"{order.model}*.param")):
            known = sorted({path.stem for path in models.glob("*.param")})
            listed = f"; there is {', '.join(known)}" if known else ""
            return f"put the model '{order.model}' (.param and .bin) in {models}{listed}"
        return None

    async def upscale(self, data: bytes, order: UpscaleOrder, *, name: str) -> Made:
        """By the program, on a PNG in a folder of its own."""
        missing = await asyncio.to_thread(self.missing, order)
        if missing is not None:
            raise ToolMissingError(self.code, missing)
        given = await self._cpu.run(work.plain_png, data, name=name, limit_scale=order.scale)
        answer = await self._answered(given, order)
        made = await self._cpu.run(
            work.finish_enlarged, data, answer, order.scale, order.format, order.quality, tool=self.code
        )
        made.details["model"] = order.model
        return made

    async def _answered(self, png: bytes, order: UpscaleOrder) -> bytes:
        with tempfile.TemporaryDirectory(prefix="kroma-upscale-") as kept:
            folder = Path(kept)
            source, target = folder / "in.png", folder / "out.png"
            await asyncio.to_thread(source.write_bytes, png)
            options = self._options
            arguments = [
                str(options.realesrgan),
                *("-i", str(source), "-o", str(target), "-s", str(order.scale)),
                *("-m", str(options.realesrgan_models), "-n", order.model),
                *("-f", "png", "-t", str(order.tile)),
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
