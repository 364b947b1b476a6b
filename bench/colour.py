"""The colour chain of ``cinematic_warm`` beside the same steps in Pillow, on a picture of 1024x1536."""

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from kroma.imaging.deep import DeepPicture
from kroma.postprocess.colour import graded
from kroma.postprocess.orders import BUILTIN_PROFILES

WIDTH, HEIGHT = 1024, 1536
TARGET = 3.0
PROFILE = BUILTIN_PROFILES["cinematic_warm"]


def in_pillow(image: Image.Image) -> Image.Image:
    """Brightness, contrast, saturation, sharpness over a Gaussian of sigma 1, gamma, multipliers."""
    done = ImageEnhance.Brightness(image).enhance(PROFILE.brightness)
    done = ImageEnhance.Contrast(done).enhance(PROFILE.contrast)
    done = ImageEnhance.Color(done).enhance(PROFILE.saturation)
    done = Image.blend(done.filter(ImageFilter.GaussianBlur(1.0)), done, PROFILE.sharpness)
    done = done.point([round((i / 255) ** (1 / PROFILE.gamma) * 255) for i in range(256)] * 3)
    gains = (PROFILE.red_multiplier, PROFILE.green_multiplier, PROFILE.blue_multiplier)
    return done.point([min(255, round(i * gain)) for gain in gains for i in range(256)])


def _once_ms(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1000


def measure(rounds: int = 15) -> dict[str, Any]:
    """Medians of alternating calls, both on one core, so that a busy machine slows both."""
    small = np.random.default_rng(0).integers(0, 256, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    image, picture = Image.fromarray(pixels), DeepPicture(pixels)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        off = ImageChops.difference(in_pillow(image), Image.fromarray(graded(picture, PROFILE).pixels))
        if np.asarray(off).mean() > 6:  # Pillow's contrast turns about the mean, ours about 128
            raise AssertionError
        pairs = [
            (_once_ms(lambda: in_pillow(image)), _once_ms(lambda: graded(picture, PROFILE)))
            for _ in range(rounds)
        ]
    finally:
        cv2.setNumThreads(threads)
    raw_ms = statistics.median(raw for raw, _ in pairs)
    ours_ms = statistics.median(ours for _, ours in pairs)
    ratio = raw_ms / ours_ms
    return {
        "name": "colour",
        "ours_ms": round(ours_ms, 2),
        "raw_ms": round(raw_ms, 2),
        "ratio": round(ratio, 2),
        "target": f">={TARGET:g}",
        "ok": ratio >= TARGET,
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
