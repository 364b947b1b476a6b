"""The color chain of ``cinematic_warm``, compared with the same steps in Pillow, at 1024x1536."""

import json
from typing import Any

import cv2
import numpy as np
from figures import line, once_ms
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from kroma.imaging.high_bit_depth import Picture16
from kroma.postprocess.color import graded
from kroma.postprocess.specs import BUILTIN_PROFILES

WIDTH, HEIGHT = 1024, 1536
TARGET = 3.0
PROFILE = BUILTIN_PROFILES["cinematic_warm"]


def in_pillow(image: Image.Image) -> Image.Image:
    """Brightness, contrast, saturation, sharpness with a Gaussian of sigma 1, gamma, multipliers."""
    done = ImageEnhance.Brightness(image).enhance(PROFILE.brightness)
    done = ImageEnhance.Contrast(done).enhance(PROFILE.contrast)
    done = ImageEnhance.Color(done).enhance(PROFILE.saturation)
    done = Image.blend(done.filter(ImageFilter.GaussianBlur(1.0)), done, PROFILE.sharpness)
    done = done.point([round((i / 255) ** (1 / PROFILE.gamma) * 255) for i in range(256)] * 3)
    gains = (PROFILE.red_multiplier, PROFILE.green_multiplier, PROFILE.blue_multiplier)
    return done.point([min(255, round(i * gain)) for gain in gains for i in range(256)])


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Compare medians of alternating calls on one core, so that a busy machine slows both."""
    rounds, (width, height) = (1, (64, 96)) if smoke else (15, (WIDTH, HEIGHT))
    small = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    image, picture = Image.fromarray(pixels), Picture16(pixels)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        off = ImageChops.difference(in_pillow(image), Image.fromarray(graded(picture, PROFILE).pixels))
        if np.asarray(off).mean() > 6:  # Pillow's contrast pivots around the mean, Kroma's around 128
            raise AssertionError
        pairs = [
            (once_ms(lambda: graded(picture, PROFILE)), once_ms(lambda: in_pillow(image)))
            for _ in range(rounds)
        ]
    finally:
        cv2.setNumThreads(threads)
    return line("color", pairs, at_least=TARGET)


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
