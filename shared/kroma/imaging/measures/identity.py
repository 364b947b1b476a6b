"""Are the faces of a candidate those of the character references: cosine of face embeddings.

Only with a model that the operator supplies (an ONNX file by path and checksum); Deng, Guo, Xue,
Zafeiriou: ArcFace (CVPR 2019) is the usual training, whose embeddings are compared by their cosine.
The model takes ``1 x 3 x s x s``, RGB, scaled to -1..1. There is no face detector: windows of three
sizes slide over the candidate, and the one most like the reference counts.
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
"""Windows have the shorter side over these."""
_LEAST_NUMBERS: Final = 16
"""Of an embedding: fewer are a class or a colour, and most things are alike in them."""


class FaceModelError(PictureError):
    """The operator's face model cannot be used."""

    code = "face_model_unusable"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The face model {reason}")


def embedding(rgb: Rgb, model: FaceModel) -> NDArray[np.float32]:
    """The unit vector of one face.

    Raises:
        FaceModelError: The file is missing, another one, or takes no such picture.
    """
    net = _loaded(model.path, model.sha256)
    blob = cv2.dnn.blobFromImage(
        rgb, 1 / 127.5, (model.input_px, model.input_px), (127.5, 127.5, 127.5), swapRB=False
    )
    try:
        net.setInput(blob)
        found = np.asarray(net.forward(), dtype=np.float32).reshape(-1)
    except cv2.error as exc:
        raise FaceModelError(f"does not take 1x3x{model.input_px}x{model.input_px}") from exc
    length = float(np.linalg.norm(found))
    if found.size < _LEAST_NUMBERS or not np.isfinite(length) or length == 0:
        raise FaceModelError("gave no embedding")
    return found / np.float32(length)


def likeness(candidate: Rgb, references: Sequence[NDArray[np.float32]], model: FaceModel) -> float:
    """Mean over the references of the greatest cosine of any window, 0 at least.

    Raises:
        FaceModelError: As ``embedding``.
    """
    seen = np.stack([embedding(window, model) for window in windows(candidate)])
    return max(0.0, float(np.mean([float((seen @ reference).max()) for reference in references])))


def windows(rgb: Rgb) -> Iterator[Rgb]:
    """Squares of three sizes, each half over the next."""
    height, width = rgb.shape[:2]
    for part in _PARTS:
        side = max(1, min(height, width) // part)
        for top in _positions(height, side):
            for left in _positions(width, side):
                yield np.ascontiguousarray(rgb[top : top + side, left : left + side])


def face_of(rgb: Rgb) -> Rgb:
    """The square in the middle of a reference, where a portrait has its face."""
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
        raise FaceModelError("cannot be read") from exc
    if hashlib.sha256(data).hexdigest() != sha256.lower():
        raise FaceModelError("is not the file with the configured checksum")
    try:
        return cv2.dnn.readNetFromONNX(np.frombuffer(data, dtype=np.uint8))
    except cv2.error as exc:
        raise FaceModelError("is no ONNX network that OpenCV reads") from exc
