"""Do a candidate's faces match the character references: cosine similarity of face embeddings.

The operator supplies the model, an ONNX file given by path and checksum, usually trained with ArcFace (Deng,
Guo, Xue, Zafeiriou, CVPR 2019). It takes ``1 x 3 x s x s``, RGB, scaled to -1..1. There is no face detector:
windows of three sizes slide over the candidate, and the most similar one counts.
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.config import FaceModel
from kroma.imaging.errors import PictureError
from kroma.imaging.measures.gray import Rgb

_PARTS: Final = (1, 2, 3)
"""The shorter side is divided by these for the windows' sizes."""
_LEAST_NUMBERS: Final = 16
"""A shorter output is not an embedding but, for example, a class."""


class FaceModelError(PictureError):
    """The operator's face model cannot be used."""

    code = "face_model_unusable"


def embedding(rgb: Rgb, model: FaceModel) -> NDArray[np.float32]:
    """The unit vector of one face.

    Raises:
        FaceModelError: The file is missing, has another checksum, or takes other input.
    """
    net = _loaded(model.path, model.sha256)
    blob = cv2.dnn.blobFromImage(
        rgb, 1 / 127.5, (model.input_px, model.input_px), (127.5, 127.5, 127.5), swapRB=False
    )
    try:
        net.setInput(blob)
        found = np.asarray(net.forward(), dtype=np.float32).reshape(-1)
    except cv2.error as exc:
        shape = f"1x3x{model.input_px}x{model.input_px}"
        raise FaceModelError(f"The face model does not take {shape} as input") from exc
    length = float(np.linalg.norm(found))
    if found.size < _LEAST_NUMBERS or not np.isfinite(length) or length == 0:
        raise FaceModelError("The face model returned no embedding")
    return found / np.float32(length)


def likeness(candidate: Rgb, references: Sequence[NDArray[np.float32]], model: FaceModel) -> float:
    """Mean over the references of the highest cosine of any window, at least 0.

    Raises:
        FaceModelError: As ``embedding``.
    """
    seen = np.stack([embedding(window, model) for window in windows(candidate)])
    return max(0.0, float(np.mean([float((seen @ reference).max()) for reference in references])))


def windows(rgb: Rgb) -> Iterator[Rgb]:
    """Squares of three sizes; neighbors overlap by half."""
    height, width = rgb.shape[:2]
    for part in _PARTS:
        side = max(1, min(height, width) // part)
        for top in _positions(height, side):
            for left in _positions(width, side):
                yield np.ascontiguousarray(rgb[top : top + side, left : left + side])


def face_of(rgb: Rgb) -> Rgb:
    """The center square of a reference, where a portrait's face is."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(rgb[top : top + side, left : left + side])


def _positions(length: int, side: int) -> list[int]:
    room = length - side
    steps = max(1, -(-room // max(1, side // 2)))
    return sorted({round(room * step / steps) for step in range(steps + 1)})


@lru_cache(maxsize=1)
def _loaded(path: str, sha256: str) -> Any:  # noqa: ANN401 - OpenCV's net has no type of its own
    try:
        data = Path(path).read_bytes()
    except OSError as exc:
        raise FaceModelError("The face model's file cannot be read") from exc
    if hashlib.sha256(data).hexdigest() != sha256.lower():
        raise FaceModelError("The face model's file does not have the configured checksum")
    try:
        return cv2.dnn.readNetFromONNX(np.frombuffer(data, dtype=np.uint8))
    except cv2.error as exc:
        raise FaceModelError("The face model is not an ONNX network that OpenCV can read") from exc
