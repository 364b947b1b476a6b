"""What an installation has of the operator's tools, found out without loading a picture library."""

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
"""The contract's names and what they mean here (docs/decisions/0020)."""
UPSCALE_BACKENDS: Final = ("ncnn", "python", LANCZOS, REALESRGAN)
REALESRGAN_SCALES: Final = (2, 3, 4)

LOCAL: Final = "local"
REMBG: Final = "rembg"
PAID_CUTOUTS: Final = ("photoroom", "removebg")
CUTOUT_BACKENDS: Final = (REMBG, *PAID_CUTOUTS, LOCAL)

_MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def missing_upscaler(spec: UpscaleSpec, options: ToolOptions) -> str | None:
    """What is to be installed or set before this order can be carried out; None when nothing is."""
    if UPSCALE_ALIASES.get(spec.backend, spec.backend) != REALESRGAN:
        return None
    binary, models = options.realesrgan, options.realesrgan_models
    if not os.access(binary, os.X_OK) or not binary.is_file():
        return f"put the program at {binary}, or set KROMA_REALESRGAN_BIN to where it is"
    if not models.is_dir():
        return f"put its models in {models}, or set KROMA_REALESRGAN_MODELS to where they are"
    if spec.scale not in REALESRGAN_SCALES:
        return f"ask for upscale.scale 2, 3 or 4, not {spec.scale}"
    if _MODEL.fullmatch(spec.model) is None or not any(models.glob(f"{spec.model}*.param")):
        known = sorted({path.stem for path in models.glob("*.param")})
        listed = f"; there is {', '.join(known)}" if known else ""
        return f"put the model '{spec.model}' (.param and .bin) in {models}{listed}"
    return None


def missing_remover(backend: str, spec: CutoutSpec, options: ToolOptions) -> str | None:
    """As ``missing_upscaler``, of a background backend; a service's key is looked for elsewhere."""
    if backend != REMBG:
        return None
    if shutil.which(options.rembg) is None:
        return "install rembg (pip install 'rembg[cpu,cli]'), or set KROMA_REMBG_BIN to its command"
    if _MODEL.fullmatch(spec.rembg_model) is None:
        return f"name a model of rembg in bg_remove.rembg.model, not '{spec.rembg_model}'"
    return None


def missing_tools(tools: PlannedTools, options: ToolOptions) -> list[str]:
    """What these orders need and is not here: of backends that are tried in turn only where none is left."""
    found: list[str] = []
    if tools.cutout is not None:
        lacking = {
            backend: missing_remover(backend, tools.cutout, options) for backend in tools.cutout.backends
        }
        if None not in lacking.values():
            found += [
                f"Background removal by '{backend}' cannot be done: {missing}"
                for backend, missing in lacking.items()
            ]
    if tools.upscale is not None:
        missing = missing_upscaler(tools.upscale, options)
        if missing is not None:
            found.append(f"Upscaling by '{tools.upscale.backend}' cannot be done: {missing}")
    return found
