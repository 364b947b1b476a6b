"""What is measured of a job's inputs, once for all its candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from kroma.imaging.codec import decode
from kroma.imaging.errors import PictureError
from kroma.imaging.measures.grey import DETAIL_PX, Grey, Rgb, at_most, grey_of, over_white
from kroma.imaging.measures.identity import embedding, face_of
from kroma.imaging.measures.orders import FactsOrder, NamedPicture
from kroma.imaging.measures.settings import Verdict
from kroma.imaging.measures.style import Look, look_of


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """An input picture, as far as candidates are compared with it."""

    size: tuple[int, int]
    """Width and height of the picture itself, upright."""
    grey: Grey
    """Its longer side at most 1024 pixels."""
    look: Look


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Everything a candidate is compared with."""

    scene: PictureFacts | None
    """None: it could not be read any more."""
    baseline: PictureFacts | None
    styles: tuple[Look, ...]
    faces: tuple[NDArray[np.float32], ...]
    """Embeddings of the character references."""
    face_problem: str | None = None
    """Why there are none although a model is configured."""


def gather_facts(order: FactsOrder) -> JobFacts:
    """Decode and measure each input once; one that does not decode is left out."""
    cv2.setNumThreads(1)  # the pool has a process per core already
    faces, problem = _faces(order)
    scene = _facts(order.scene)
    same = order.baseline is not None and order.baseline == order.scene
    return JobFacts(
        scene=scene,
        baseline=scene if same else _facts(order.baseline),
        styles=tuple(look_of(rgb) for rgb in _seen(order.styles)),
        faces=faces,
        face_problem=problem,
    )


def _facts(picture: NamedPicture | None) -> PictureFacts | None:
    for rgb in _seen(() if picture is None else (picture,)):
        grey = grey_of(rgb)
        return PictureFacts(
            size=(rgb.shape[1], rgb.shape[0]), grey=at_most(grey, DETAIL_PX), look=look_of(rgb)
        )
    return None


def _seen(pictures: Sequence[NamedPicture]) -> list[Rgb]:
    found: list[Rgb] = []
    for name, data in pictures:
        try:
            found.append(over_white(decode(data, name=name).pixels))
        except PictureError:
            continue  # who makes candidates of it has said so already
    return found


def _faces(order: FactsOrder) -> tuple[tuple[NDArray[np.float32], ...], str | None]:
    model = order.face_model
    if model is None or order.settings.identity.verdict is Verdict.OFF:
        return (), None
    try:
        return tuple(embedding(face_of(rgb), model) for rgb in _seen(order.references)), None
    except PictureError as exc:
        return (), exc.message
