"""Guard, sharpness, structure and style of one candidate of 1024x1536 beside Pillow's decode of its PNG.

Ours has the pixels already, and scene and references as they are measured once per job; beside the
four it makes the other checks too, since no call leaves them out.
"""

import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
from codec import facts_of, order_of, picture
from PIL import Image

from kroma.imaging.codec import decode
from kroma.imaging.measures.candidate import check_picture

TARGET = 6.0


def bare(data: bytes) -> None:
    """Decode the candidate."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()


def _once_ms(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def measure(rounds: int = 15) -> dict[str, Any]:
    """Medians of alternating calls on one core, so that a busy machine slows both."""
    data = picture()
    decoded, facts, order = decode(data, name="bench"), facts_of(data), order_of(data)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        pairs = [
            (_once_ms(lambda: bare(data)), _once_ms(lambda: check_picture(decoded, order, facts)))
            for _ in range(rounds + 1)
        ][1:]
    finally:
        cv2.setNumThreads(threads)
    raw_ms = statistics.median(raw for raw, _ in pairs)
    ours_ms = statistics.median(own for _, own in pairs)
    ratio = ours_ms / raw_ms
    return {
        "name": "quality checks",
        "ours_ms": round(ours_ms, 1),
        "raw_ms": round(raw_ms, 1),
        "ratio": round(ratio, 2),
        "target": f"<={TARGET:g}",
        "ok": ratio <= TARGET,
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
