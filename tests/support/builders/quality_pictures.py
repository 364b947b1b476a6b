"""The pictures of docs/quality.md: a pass and a fail of each check, measured by the real code.

``PYTHONPATH=tests python -m support.builders.quality_pictures`` draws them anew and prints the lines that
the document has. The photographs are in the public domain, as scikit-image ships them: NASA and SpaceX.
"""

import hashlib
import io
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

from kroma.config import FaceModel
from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.candidate import check_candidate, with_duplicates
from kroma.imaging.measures.facts import gather_facts
from kroma.imaging.measures.report import CheckResult
from kroma.imaging.measures.request import CheckRequest, FactsRequest
from kroma.imaging.measures.settings import QualitySettings
from style_references import style_reference
from support.builders.onnx_file import mean_colors
from support.builders.ranking_set import Rgb, drawn, png, spoil

DOCS = Path(__file__).parents[3] / "docs"
FOLDER = DOCS / "images" / "quality"
SIZE = (200, 300)
SETTINGS = QualitySettings()


class Shown(NamedTuple):
    """One picture of the document."""

    check: str
    kind: str
    """``pass`` or ``fail``."""
    picture: Rgb
    result: CheckResult

    @property
    def line(self) -> str:
        """Its row of the table."""
        score = f"{self.result.score:.2f}"
        return (
            f"| {self.check} | ![{self.kind}](images/quality/{self.check}-{self.kind}.webp)"
            f" | {score} | {self.result.threshold:g} | {self.result.outcome} | {self.result.reason} |"
        )


def photograph(name: str, left: int, top: int, width: int) -> Rgb:
    """A part of a photograph, two wide to three high, at the size of the document's pictures."""
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.submodule_search_locations
    with Image.open(Path(spec.submodule_search_locations[0]) / "data" / name) as opened:
        part = np.asarray(opened.convert("RGB"))[top : top + width * 3 // 2, left : left + width]
    return np.asarray(cv2.resize(part, SIZE, interpolation=cv2.INTER_AREA))


def shown_pictures() -> Iterator[Shown]:
    """A pass and a fail of each check, in the order of a report."""
    scene = photograph("astronaut.png", 60, 0, 330)
    day = _drawn(scene)
    rng = np.random.default_rng(1)
    yield from _both("color", day, spoil("recoloured", day, rng), scene)
    yield from _both("blank", _drawn(scene, at_night=True), spoil("blank", day, rng), scene)
    yield from _both("sharpness", _drawn(scene, at_night=True), spoil("blurred", day, rng), scene)
    yield from _both("structure", _drawn(scene, in_rain=True), spoil("shifted", day, rng), scene)
    styles = tuple((kind, style_reference(kind, (160, 200))) for kind in ("noir ink", "ink wash"))
    yield from _both("style", day, scene, scene, styles=styles)
    yield from _both("size", day, np.ascontiguousarray(day[50:250]), scene, size="200x300")
    yield from _duplicates(scene, day)
    baseline = ("baseline", png(day))
    mirrored = _drawn(cv2.flip(scene, 1))
    yield from _both("drift", _drawn(scene, at_night=True), mirrored, scene, baseline=baseline, stage="time")
    yield from _faces(scene)


def _drawn(scene: Rgb, *, at_night: bool = False, in_rain: bool = False) -> Rgb:
    return drawn(scene, np.random.default_rng(0), at_night=at_night, in_rain=in_rain)


def _both(check: str, good: Rgb, bad: Rgb, scene: Rgb, **given: Any) -> Iterator[Shown]:
    for kind, picture in (("pass", good), ("fail", bad)):
        yield Shown(check, kind, picture, _measured(check, picture, scene, **given))


def _measured(
    check: str,
    picture: Rgb,
    scene: Rgb,
    *,
    stage: str = "style",
    size: str | None = None,
    face_model: FaceModel | None = None,
    **inputs: Any,
) -> CheckResult:
    facts = gather_facts(
        FactsRequest(settings=SETTINGS, scene=("scene", png(scene)), face_model=face_model, **inputs)
    )
    request = CheckRequest(
        name="candidate.png",
        data=png(picture),
        guard=GuardSettings(),
        settings=SETTINGS,
        stage=stage,
        size=size,
        with_references=face_model is not None,
        face_model=face_model,
    )
    found = check_candidate(request, facts).report.find(check)
    assert found is not None
    return found


def _duplicates(scene: Rgb, first: Rgb) -> Iterator[Shown]:
    second = drawn(255 - (255 - scene) // 2, np.random.default_rng(5), at_night=False, in_rain=False)
    copy = spoil("near copy", first, np.random.default_rng(6))
    facts = gather_facts(FactsRequest(settings=SETTINGS, scene=("scene", png(scene))))
    for kind, picture in (("pass", second), ("fail", copy)):
        pair = [
            check_candidate(
                CheckRequest(name="c", data=png(one), guard=GuardSettings(), settings=SETTINGS), facts
            )
            for one in (first, picture)
        ]
        reports = with_duplicates([c.report for c in pair], [c.thumbnail for c in pair], [1, 2], SETTINGS)
        found = reports[1].find("duplicate")
        assert found is not None
        yield Shown("duplicate", kind, picture, found)


def _faces(scene: Rgb) -> Iterator[Shown]:
    """With the smallest of networks in place of a model of faces, which nobody may hand on."""
    reference = scene[0:200]
    other = photograph("rocket.jpg", 0, 0, 280)
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        Path(file.name).write_bytes(mean_colors())
        model = FaceModel(path=file.name, sha256=hashlib.sha256(mean_colors()).hexdigest())
        yield from _both(
            "identity", scene, other, scene, references=(("reference", png(reference)),), face_model=model
        )


def main() -> None:
    """Write the pictures and print the table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for shown in shown_pictures():
        buffer = io.BytesIO()
        Image.fromarray(shown.picture).save(buffer, format="WEBP", quality=70, method=6)
        (FOLDER / f"{shown.check}-{shown.kind}.webp").write_bytes(buffer.getvalue())
        print(shown.line)  # noqa: T201


if __name__ == "__main__":
    main()
