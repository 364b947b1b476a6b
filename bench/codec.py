"""Decode, all checks and encode of a PNG of 1024x1536, compared with Pillow's decode and encode."""

import io
import json
from typing import Any

import cv2
import numpy as np
from figures import line, once_ms
from PIL import Image

from kroma.imaging.codec import Picture
from kroma.imaging.color_check import GuardSettings
from kroma.imaging.high_bit_depth import decode16, encode16
from kroma.imaging.measures.candidate import check_picture
from kroma.imaging.measures.facts import JobFacts, gather_facts
from kroma.imaging.measures.request import CheckRequest, FactsRequest
from kroma.imaging.measures.settings import QualitySettings

WIDTH, HEIGHT = 1024, 1536
TARGET = 1.5
PNG_LEVEL = 6


def picture(*, smoke: bool) -> bytes:
    """A picture that compresses like a drawing: smooth tones under lines."""
    width, height = (64, 96) if smoke else (WIDTH, HEIGHT)
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (height // 32, width // 32, 3), dtype=np.uint8)
    tones = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8).copy()
    for _ in range(400):
        ends = random.integers(0, height, 4)
        cv2.line(tones, (int(ends[0]), int(ends[1])), (int(ends[2]), int(ends[3])), (20, 20, 24), 2)
    buffer = io.BytesIO()
    Image.fromarray(tones).save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def bare(data: bytes) -> bytes:
    """Decode and encode the picture with Pillow."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def request_of(data: bytes) -> CheckRequest:
    """A request to check a candidate with the default settings."""
    return CheckRequest(name="bench", data=data, guard=GuardSettings(), settings=QualitySettings())


def facts_of(data: bytes) -> JobFacts:
    """The measurements of a scene and two style references."""
    styles = (("one", data), ("other", data))
    return gather_facts(FactsRequest(settings=QualitySettings(), scene=("scene", data), styles=styles))


def ours(data: bytes, facts: JobFacts) -> bytes:
    """Decode, run all checks and encode."""
    decoded = decode16(data, name="bench")
    check_picture(Picture(np.asarray(decoded.pixels, np.uint8)), request_of(data), facts)
    return encode16(decoded)


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians of alternating calls, so that a busy machine slows both."""
    rounds = 1 if smoke else 5
    data = picture(smoke=smoke)
    facts = facts_of(data)
    pairs = [(once_ms(lambda: ours(data, facts)), once_ms(lambda: bare(data))) for _ in range(rounds + 1)][1:]
    return line("codec", pairs, at_most=TARGET)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
