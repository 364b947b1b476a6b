"""Little programs that play the operator's ``realesrgan-ncnn-vulkan`` and ``rembg``."""

import sys
from pathlib import Path

_REALESRGAN = """\
args = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert sorted(args) == ["-f", "-i", "-m", "-n", "-o", "-s", "-t"], args
source, target = args["-i"], args["-o"]
assert os.path.exists(os.path.join(args["-m"], args["-n"] + ".param"))
image = Image.open(source)
image = image.convert("RGB" if behavior == "loses alpha" else image.mode)
scale = int(args["-s"]) + (1 if behavior == "wrong size" else 0)
made = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
"""
_REMBG = """\
assert sys.argv[1:3] == ["i", "-m"] and len(sys.argv) == 6, sys.argv
source, target = sys.argv[4:]
made = Image.open(source).convert("RGBA")
alpha = Image.new("L", made.size, 0)
if behavior != "removes all":
    alpha.paste(255, (0, 0, made.width // 2, made.height))
made.putalpha(alpha)
if behavior == "wrong size":
    made = made.resize((made.width, made.height * 2))
if behavior == "loses alpha":
    made = made.convert("RGB")
"""
_COMMON = """\
#!{python}
import os, sys, time
behavior = {behavior!r}
if behavior == "fails":
    print("vkCreateInstance failed -9")
    sys.exit(255)
if behavior == "hangs":
    if os.fork() == 0:
        time.sleep(600)
    time.sleep(600)
if behavior == "tells its environment":
    print([name for name in ('PATH', 'OPENAI_API_KEY', 'KROMA_DATABASE_URL') if name in os.environ])
    sys.exit(3)
if behavior == "leaves nothing":
    sys.exit(0)
from PIL import Image
{work}
if behavior == "writes rubbish":
    open(target, "wb").write(b"<html>")
elif behavior == "writes a link":
    os.symlink("/etc/hostname", target)
else:
    made.save(target)
"""


def realesrgan(folder: Path, behavior: str = "", *, model: str = "realesrgan-x4plus") -> tuple[Path, Path]:
    """The program and its models' folder."""
    models = folder / "models"
    models.mkdir()
    (models / f"{model}.param").write_text("7767517\n")
    (models / f"{model}.bin").write_bytes(b"\0")
    return _program(folder / "realesrgan-ncnn-vulkan", _REALESRGAN, behavior), models


def rembg(folder: Path, behavior: str = "") -> Path:
    """The program."""
    return _program(folder / "rembg", _REMBG, behavior)


def _program(path: Path, work: str, behavior: str) -> Path:
    path.write_text(_COMMON.format(python=sys.executable, behavior=behavior, work=work))
    path.chmod(0o755)
    return path
