"""Measures a job's inputs once for all its candidates."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import cv2
import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from kroma.config import FaceModel
from kroma.imaging.codec import decode
from kroma.imaging.errors import PictureError
from kroma.imaging.measures.gray import DETAIL_PX, Gray, Rgb, at_most, gray_of, over_white, resized, size_at
from kroma.imaging.measures.identity import embedding, face_of
from kroma.imaging.measures.request import FactsRequest, NamedPicture
from kroma.imaging.measures.settings import Verdict
from kroma.imaging.measures.style import STYLE_PX, Look, look_of


@dataclass(frozen=True)
class PictureFacts:
    """What candidates are compared with in an input picture."""

    size: tuple[int, int]
    """Width and height of the upright picture."""
    gray: Gray
    """With a longer side of at most 1024 pixels."""
    small: Rgb
    """With a longer side of 384 pixels."""

    @cached_property
    def look(self) -> Look:
        return look_of(self.small)


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Everything a candidate is compared with."""

    scene: PictureFacts | None
    """None if it cannot be read."""
    baseline: PictureFacts | None
    styles: tuple[Look, ...]
    faces: tuple[NDArray[np.float32], ...]
    """Embeddings of the character references."""
    face_problem: str | None = None
    """Why there are no faces although a model is configured."""


def gather_facts(request: FactsRequest) -> JobFacts:
    """Decode and measure each input; skip any that does not decode."""
    cv2.setNumThreads(1)  # the pool has a process per core
    faces, problem = _faces(request)
    checks = request.settings
    with_style = checks.style.verdict is not Verdict.OFF
    with_drift = checks.drift.verdict is not Verdict.OFF
    return JobFacts(
        scene=_facts(request.scene),
        baseline=_facts(request.baseline) if with_drift else None,
        styles=_looks(request.styles) if with_style else (),
        faces=faces,
        face_problem=problem,
    )


def _facts(picture: NamedPicture | None) -> PictureFacts | None:
    if picture is None:
        return None
    try:
        return _measured(*picture)
    except PictureError:
        return None  # the generate step has already reported it


def _content(_: str, data: bytes) -> bytes:
    return sha256(data).digest()


# The jobs of a run share scenes and references; their facts take less than 2 MiB each.
@cached(LRUCache[bytes, PictureFacts](16), key=_content)
def _measured(name: str, data: bytes) -> PictureFacts:
    rgb = _seen(name, data)
    return PictureFacts(
        size=(rgb.shape[1], rgb.shape[0]),
        gray=at_most(gray_of(rgb), DETAIL_PX),
        small=resized(rgb, size_at(rgb.shape, STYLE_PX)),
    )


def _looks(pictures: Sequence[NamedPicture]) -> tuple[Look, ...]:
    found: list[Look] = []
    for name, data in pictures:
        with contextlib.suppress(PictureError):  # as above
            found.append(_look(name, data))
    return tuple(found)


@cached(LRUCache[bytes, Look](256), key=_content)
def _look(name: str, data: bytes) -> Look:
    return look_of(_seen(name, data))


def _seen(name: str, data: bytes) -> Rgb:
    return over_white(decode(data, name=name).pixels)


def _faces(request: FactsRequest) -> tuple[tuple[NDArray[np.float32], ...], str | None]:
    model = request.face_model
    if model is None or request.settings.identity.verdict is Verdict.OFF:
        return (), None
    try:
        return tuple(_embeddings(request.references, model)), None
    except PictureError as exc:
        return (), exc.message


def _embeddings(pictures: Sequence[NamedPicture], model: FaceModel) -> Iterator[NDArray[np.float32]]:
    for name, data in pictures:
        try:
            rgb = _seen(name, data)
        except PictureError:
            continue  # as above
        yield embedding(face_of(rgb), model)
