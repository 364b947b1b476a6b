"""One candidate of the local provider at 768x1152, beside Pillow's PNG encode of the very result.

Scene and references are photographs and drawings as the demo uses them. Each kind of candidate is
drawn and its result encoded in turn, on one core, in CPU time; the line shows the dearest kind.
"""

import importlib.util
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
from PIL import Image

from kroma.imaging.restyle.engine import redraw
from kroma.imaging.restyle.order import RedrawOrder
from kroma.imaging.style_cards import REFERENCE_KINDS, draw_reference

SIZE = "768x1152"
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


def _order(kind: str, scene: bytes) -> RedrawOrder:
    stage, time_of_day, weather = KINDS[kind]
    return RedrawOrder(
        scene_name="astronaut.png",
        scene=scene,
        styles=tuple((name, draw_reference(name)) for name in REFERENCE_KINDS),
        stage=stage,
        time_of_day=time_of_day,
        weather=weather,
        candidate_index=1,
        seed=7,
        size=SIZE,
    )


def _kind(kind: str, scene: bytes, rounds: int) -> tuple[float, float]:
    """Medians of drawing and of encoding, in turn, so that a busy machine slows both."""
    order = _order(kind, scene)
    pairs: list[tuple[float, float]] = []
    for _ in range(rounds):
        ours_ms, drawn = _cpu_ms(lambda: redraw(order))
        with Image.open(io.BytesIO(drawn.png)) as image:
            image.load()
            raw_ms, _ = _cpu_ms(lambda shown=image: _encoded(shown))
        pairs.append((ours_ms, raw_ms))
    return statistics.median(ours for ours, _ in pairs), statistics.median(raw for _, raw in pairs)


def measure(rounds: int = 5) -> dict[str, Any]:
    """The dearest kind of candidate, from a photograph and from a drawing whose strokes are kept."""
    cv2.setNumThreads(1)
    photograph = _scene()
    baseline = redraw(_order("style", photograph)).png
    found = {kind: _kind(kind, photograph, rounds) for kind in KINDS}
    found |= {f"{kind} of a baseline": _kind(kind, baseline, rounds) for kind in KINDS if kind != "style"}
    ratios = {kind: ours / raw for kind, (ours, raw) in found.items()}
    dearest = max(ratios, key=lambda kind: ratios[kind])
    ours_ms, raw_ms = found[dearest]
    return {
        "name": f"local candidate ({dearest})",
        "ours_ms": round(ours_ms, 1),
        "raw_ms": round(raw_ms, 1),
        "ratio": round(ratios[dearest], 2),
        "ratios": {kind: round(ratio, 2) for kind, ratio in ratios.items()},
        "target": f"<={TARGET:g}",
        "ok": ratios[dearest] <= TARGET,
    }


def main() -> None:
    result = measure()
    print(f"a candidate of {SIZE} on one core, in PNG encodes of the result; target {result['target']}")
    for kind, ratio in result["ratios"].items():
        print(f"  {kind:26} {ratio:5.2f}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
