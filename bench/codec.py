"""Decode, every check and encode of a PNG of 1024x1536 beside Pillow's bare decode and encode of it."""

import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image

from kroma.imaging.codec import Picture
from kroma.imaging.deep import decode_deep, encode_deep
from kroma.imaging.guard import GuardSettings
from kroma.imaging.measures.candidate import check_picture
from kroma.imaging.measures.facts import JobFacts, gather_facts
from kroma.imaging.measures.orders import CheckOrder, FactsOrder
from kroma.imaging.measures.settings import QualitySettings

WIDTH, HEIGHT = 1024, 1536
TARGET = 1.5
PNG_LEVEL = 6


def picture() -> bytes:
    """Something that compresses as drawings do: smooth tones under lines."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (HEIGHT // 32, WIDTH // 32, 3), dtype=np.uint8)
    tones = np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8).copy()
    for _ in range(400):
        ends = random.integers(0, HEIGHT, 4)
        cv2.line(tones, (int(ends[0]), int(ends[1])), (int(ends[2]), int(ends[3])), (20, 20, 24), 2)
    buffer = io.BytesIO()
    Image.fromarray(tones).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def bare(data: bytes) -> bytes:
    """What any program pays."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def order_of(data: bytes) -> CheckOrder:
    """A candidate, to be checked by the defaults."""
    return CheckOrder(name="bench", data=data, guard=GuardSettings(), settings=QualitySettings())


def facts_of(data: bytes) -> JobFacts:
    """A scene and two style references, measured once per job."""
    styles = (("one", data), ("other", data))
    return gather_facts(FactsOrder(settings=QualitySettings(), scene=("scene", data), styles=styles))


def ours(data: bytes, facts: JobFacts) -> bytes:
    """Header checked, decoded, judged by every check, encoded."""
    decoded = decode_deep(data, name="bench")
    check_picture(Picture(np.asarray(decoded.pixels, np.uint8)), order_of(data), facts)
    return encode_deep(decoded)


def once_ms(function: Callable[[], object]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def line(name: str, pairs: list[tuple[float, float]], *, target: float) -> dict[str, Any]:
    """The report's line for pairs of raw and own milliseconds."""
    raw_ms = statistics.median(raw for raw, _ in pairs)
    ours_ms = statistics.median(own for _, own in pairs)
    ratio = ours_ms / raw_ms
    return {
        "name": name,
        "ours_ms": round(ours_ms, 1),
        "raw_ms": round(raw_ms, 1),
        "ratio": round(ratio, 2),
        "target": f"<={target:g}",
        "ok": ratio <= target,
    }


def measure(rounds: int = 5) -> dict[str, Any]:
    """Medians of alternating calls, so that a busy machine slows both."""
    data = picture()
    facts = facts_of(data)
    pairs = [(once_ms(lambda: bare(data)), once_ms(lambda: ours(data, facts))) for _ in range(rounds + 1)][1:]
    return line("codec", pairs, target=TARGET)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
