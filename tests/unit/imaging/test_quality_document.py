"""docs/quality.md says what the code measures."""

import pytest
from PIL import Image

from kroma.imaging.measures.settings import CHECKS, QualitySettings
from support.builders.quality_pictures import DOCS, FOLDER, shown_pictures

pytestmark = pytest.mark.timeout(120)


def test_every_figure_of_the_document_is_what_the_code_measures() -> None:
    text = (DOCS / "quality.md").read_text()
    shown = list(shown_pictures())

    assert [line for line in text.splitlines() if "](images/quality/" in line] == [s.line for s in shown]
    assert [(s.check, s.kind) for s in shown] == [
        (name, kind) for name in ("color", *CHECKS) for kind in ("pass", "fail")
    ]
    assert [s.result.outcome for s in shown] == ["passed", "warning"] * (len(CHECKS) + 1)
    for picture in shown:
        with Image.open(FOLDER / f"{picture.check}-{picture.kind}.webp") as image:
            assert image.size == (picture.picture.shape[1], picture.picture.shape[0])


def test_the_document_shows_the_defaults() -> None:
    text = (DOCS / "quality.md").read_text()
    for name in CHECKS:
        check = getattr(QualitySettings(), name)
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f'"{name}":')]
        figures = (
            f'"threshold": {check.threshold:g}, "verdict": "{check.verdict}", "weight": {check.weight:g}'
        )
        assert figures in line.replace("  ", " ")
