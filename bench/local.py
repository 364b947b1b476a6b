"""One candidate of the local provider at 768x1152, compared with Pillow's PNG encode of the result.

Scenes and references are photographs and drawings like those of the demo. Each kind of candidate is
drawn, and its result encoded, in turn on one core, in CPU time; the line shows the most expensive kind.
"""

import importlib.util
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from figures import line
from PIL import Image

from kroma.imaging.restyle.engine import redraw
from kroma.imaging.restyle.spec import RedrawSpec
from style_references import REFERENCE_KINDS, style_reference

SIZE, SMALL = "768x1152", "48x72"
TARGET = 8.0
KINDS = {
    "style": ("style", "day", "clear"),
    "night": ("time", "night", "clear"),
    "rain": ("weather", "day", "rain"),
    "rainy night": ("weather", "night", "rain"),
}


def _scene() -> bytes:
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise RuntimeError
    return (Path(package.origin).parent / "data" / "astronaut.png").read_bytes()


def _cpu_ms(function: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    result = function()
    return (time.process_time() - started) * 1000, result


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _spec(kind: str, scene: bytes, styles: tuple[tuple[str, bytes], ...], size: str) -> RedrawSpec:
    stage, time_of_day, weather = KINDS[kind]
    return RedrawSpec(
        scene_name="astronaut.png",
        scene=scene,
        styles=styles,
        stage=stage,
        time_of_day=time_of_day,
        weather=weather,
        candidate_index=1,
        seed=7,
        size=size,
    )


def _kind(spec: RedrawSpec, rounds: int) -> list[tuple[float, float]]:
    """Alternating times of drawing and of encoding, so that a busy machine slows both."""
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        ours_ms, drawn = _cpu_ms(lambda: redraw(spec))
        with Image.open(io.BytesIO(drawn.png)) as image:
            image.load()
            raw_ms, _ = _cpu_ms(lambda shown=image: _encoded(shown))
        pairs.append((ours_ms, raw_ms))
    return pairs


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Find the most expensive kind of candidate, from a photograph or from a baseline drawing."""
    rounds, size = (1, SMALL) if smoke else (5, SIZE)
    cv2.setNumThreads(1)
    photograph = style_reference("noir ink", size=(48, 72)) if smoke else _scene()
    kinds_of_style = REFERENCE_KINDS[:1] if smoke else REFERENCE_KINDS
    styles = tuple((name, style_reference(name)) for name in kinds_of_style)
    baseline = redraw(_spec("style", photograph, styles, size)).png
    kinds = ["rain"] if smoke else list(KINDS)
    specs = {kind: _spec(kind, photograph, styles, size) for kind in kinds}
    specs |= {
        f"{kind} of a baseline": _spec(kind, baseline, styles, size) for kind in kinds if kind != "style"
    }
    lines = {
        kind: line(f"local candidate ({kind})", _kind(spec, rounds), at_most=TARGET)
        for kind, spec in specs.items()
    }
    slowest = max(lines, key=lambda kind: lines[kind]["ratio"])
    return lines[slowest] | {"ratios": {kind: found["ratio"] for kind, found in lines.items()}}


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
