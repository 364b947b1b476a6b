"""Guard, sharpness, structure and style of one candidate of 1024x1536, compared with Pillow's PNG decode.

Kroma already has the pixels, and the measurements of scene and references, which are made once per job.
It also runs the other checks, because every call includes them.
"""

import io
import json
from typing import Any

import cv2
from codec import facts_of, picture, request_of
from figures import line, once_ms
from PIL import Image

from kroma.imaging.codec import decode
from kroma.imaging.measures.candidate import check_picture

TARGET = 6.0


def bare(data: bytes) -> None:
    """Decode the candidate with Pillow."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians of alternating calls on one core, so that a busy machine slows both."""
    rounds = 1 if smoke else 15
    data = picture(smoke=smoke)
    decoded, facts, request = decode(data, name="bench"), facts_of(data), request_of(data)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        pairs = [
            (once_ms(lambda: check_picture(decoded, request, facts)), once_ms(lambda: bare(data)))
            for _ in range(rounds + 1)
        ][1:]
    finally:
        cv2.setNumThreads(threads)
    return line("quality checks", pairs, at_most=TARGET)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
