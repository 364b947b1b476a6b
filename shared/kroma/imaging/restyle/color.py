"""The references' palette over a drawing of tones."""

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.restyle.field import Tone, as_tone, blur
from kroma.imaging.restyle.profile import LEVELS, StyleProfile


def colored(
    tone: Tone, scene: NDArray[np.uint8], style: StyleProfile, *, scale: float, night: bool
) -> NDArray[np.uint8]:
    """The drawing in the references' colors: (height, width, 3) uint8.

    Each tone takes the color the references have at that tone; the scene's own hues come through
    as far as the references vary (Reinhard's mean and deviation transfer in LAB). Gray references
    give three equal channels, at night too; colored ones turn cooler there.
    """
    if style.is_gray:
        gray = np.rint(tone * 255.0).astype(np.uint8)
        return np.repeat(gray[..., None], 3, axis=2)
    table = np.array(style.palette, dtype=np.float32)
    level = np.clip(np.rint(tone * (LEVELS - 1)), 0, LEVELS - 1).astype(np.intp)
    lab = as_tone(cv2.cvtColor(np.repeat(tone[..., None], 3, axis=2), cv2.COLOR_RGB2LAB))
    of_scene = as_tone(cv2.cvtColor(as_tone(scene) / np.float32(255.0), cv2.COLOR_RGB2LAB))
    for channel, spread in enumerate(style.chroma_spread):
        own = blur(np.ascontiguousarray(of_scene[..., channel + 1]), 2.5 * scale)
        deviation = max(4.0, float(own.std()))
        hue = (own - np.float32(own.mean())) * np.float32(0.8 * spread / deviation)
        lab[..., channel + 1] = blur(as_tone(table[level, channel]), 1.5 * scale) + hue
    if night:
        lab[..., 1:] *= np.float32(0.65)
        lab[..., 2] -= np.float32(min(8.0, 0.5 * sum(style.chroma_spread)))
    rgb = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)
    return np.rint(np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8)
