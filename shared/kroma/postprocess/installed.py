"""Checks which of the operator's tools are installed; imports no picture library."""

import os
import re
import shutil
from collections.abc import Mapping
from typing import Final

from kroma.config import ToolOptions
from kroma.postprocess.specs import CutoutSpec, PlannedTools, UpscaleSpec

LANCZOS: Final = "lanczos"
REALESRGAN: Final = "realesrgan-ncnn"
UPSCALE_ALIASES: Final[Mapping[str, str]] = {"python": LANCZOS, "ncnn": REALESRGAN}
"""The contract's names and the backends that they stand for (docs/decisions/0020)."""
UPSCALE_BACKENDS: Final = ("ncnn", "python", LANCZOS, REALESRGAN)
REALESRGAN_SCALES: Final = (2, 3, 4)

LOCAL: Final = "local"
REMBG: Final = "rembg"
PAID_CUTOUTS: Final = ("photoroom", "removebg")
CUTOUT_BACKENDS: Final = (REMBG, *PAID_CUTOUTS, LOCAL)

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def missing_upscaler(spec: UpscaleSpec, options: ToolOptions) -> str | None:
    """What must be installed or set before this upscaling can run; None if nothing."""
    if UPSCALE_ALIASES.get(spec.backend, spec.backend) != REALESRGAN:
        return None
    binary, models = options.realesrgan, options.realesrgan_models
    if not os.access(binary, os.X_OK) or not binary.is_file():
        return f"put the program at {binary}, or set KROMA_REALESRGAN_BIN to its path"
    if not models.is_dir():
        return f"put its models in {models}, or set KROMA_REALESRGAN_MODELS to their folder"
    if spec.scale not in REALESRGAN_SCALES:
        return f"set upscale.scale to 2, 3 or 4, not {spec.scale}"
    if _MODEL.fullmatch(spec.model) is None or not any(models.glob(f"{spec.model}*.param")):
        known = sorted({path.stem for path in models.glob("*.param")})
        listed = f"; installed: {', '.join(known)}" if known else ""
        return f"put the model '{spec.model}' (.param and .bin) in {models}{listed}"
    return None


def missing_remover(backend: str, spec: CutoutSpec, options: ToolOptions) -> str | None:
    """The same for a background backend; the keys of services are not checked here."""
    if backend != REMBG:
        return None
    if shutil.which(options.rembg) is None:
        return "install rembg (pip install 'rembg[cpu,cli]'), or set KROMA_REMBG_BIN to its command"
    if _MODEL.fullmatch(spec.rembg_model) is None:
        return f"set bg_remove.rembg.model to the name of a rembg model, not '{spec.rembg_model}'"
    return None


def missing_tools(tools: PlannedTools, options: ToolOptions) -> list[str]:
    """What must be installed or set before these tools can run; one usable remover is enough."""
    found: list[str] = []
    if tools.cutout is not None:
        missing = {
            backend: missing_remover(backend, tools.cutout, options) for backend in tools.cutout.backends
        }
        if None not in missing.values():
            found += [
                f"Background removal with '{backend}' is not possible: {remedy}"
                for backend, remedy in missing.items()
            ]
    if tools.upscale is not None:
        remedy = missing_upscaler(tools.upscale, options)
        if remedy is not None:
            found.append(f"Upscaling with '{tools.upscale.backend}' is not possible: {remedy}")
    return found
