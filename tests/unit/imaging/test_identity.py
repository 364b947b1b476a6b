"""Faces are compared by a model of the operator's, and by nothing else."""

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kroma.config import FaceModel, Settings, SettingsError
from kroma.imaging.color_check import GuardSettings
from kroma.imaging.measures.candidate import check_candidate
from kroma.imaging.measures.facts import gather_facts
from kroma.imaging.measures.identity import embedding, windows
from kroma.imaging.measures.report import CheckResult
from kroma.imaging.measures.request import CheckRequest, FactsRequest
from kroma.imaging.measures.settings import QualitySettings
from support.builders.onnx_file import mean_colors
from support.builders.ranking_set import png

Rgb = NDArray[np.uint8]
SETTINGS = QualitySettings()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FaceModel:
    path = tmp_path_factory.mktemp("models") / "faces.onnx"
    path.write_bytes(mean_colors())
    return FaceModel(path=str(path), sha256=hashlib.sha256(mean_colors()).hexdigest())


def face(seed: int, side: int = 64) -> Rgb:
    """A pattern that stands for a face."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST))


def page_with(portrait: Rgb) -> Rgb:
    """A gray page of 128x192 with a portrait in the middle of its left half."""
    page = np.full((192, 128, 3), 128, np.uint8)
    page[64:128, 0:64] = portrait
    return page


def identity_of(
    candidate: Rgb, model: FaceModel | None, *references: Rgb, with_references: bool = True
) -> CheckResult:
    given = tuple((f"{n}.png", png(reference)) for n, reference in enumerate(references))
    request = FactsRequest(
        settings=SETTINGS, scene=("scene", png(candidate)), references=given, face_model=model
    )
    check = CheckRequest(
        name="c.png",
        data=png(candidate),
        guard=GuardSettings(),
        settings=SETTINGS,
        with_references=with_references,
        face_model=model,
    )
    result = check_candidate(check, gather_facts(request)).report.find("identity")
    assert result is not None
    return result


def test_a_face_is_found_where_it_is_and_missed_where_it_is_not(model: FaceModel) -> None:
    kept = identity_of(page_with(face(1)), model, face(1))
    lost = identity_of(page_with(255 - face(1)), model, face(1))
    assert (kept.outcome, lost.outcome) == ("passed", "warning")
    assert kept.score is not None
    assert kept.score > 0.95
    assert kept.reason == f"likeness of {kept.score:.2f} to the characters"


def test_every_reference_counts(model: FaceModel) -> None:
    both = identity_of(page_with(face(1)), model, face(1), face(2))
    one = identity_of(page_with(face(1)), model, face(1))
    assert both.score is not None
    assert one.score is not None
    assert both.score < one.score


def test_an_embedding_is_a_unit_vector(model: FaceModel) -> None:
    found = embedding(face(1), model)
    assert found.shape == (48,)
    assert float(np.linalg.norm(found)) == pytest.approx(1.0, abs=1e-5)


def test_windows_cover_the_whole_page_in_three_sizes() -> None:
    page = np.arange(60 * 40 * 3, dtype=np.uint16).reshape(60, 40, 3).astype(np.uint8)
    assert {window.shape[0] for window in windows(page)} == {40, 20, 13}
    assert all(window.shape[0] == window.shape[1] for window in windows(page))


def test_without_a_model_the_report_says_so_and_measures_nothing() -> None:
    said = identity_of(page_with(face(1)), None, face(1))
    assert (said.outcome, said.score) == ("not_configured", None)
    assert said.reason == "no face model is configured"


def test_without_characters_there_is_no_identity_to_keep(model: FaceModel) -> None:
    said = identity_of(page_with(face(1)), model, with_references=False)
    assert (said.outcome, said.score) == ("not_applicable", None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(
            {"sha256": "0" * 64}, "'s file does not have the configured checksum", id="another file"
        ),
        pytest.param({"path": "nowhere.onnx"}, "'s file cannot be read", id="missing"),
        pytest.param({"input_px": 24}, " returned no embedding", id="another size"),
    ],
)
def test_a_model_that_cannot_be_used_is_said_and_nothing_pretended(
    model: FaceModel, change: dict[str, Any], says: str
) -> None:
    parts = {"path": model.path, "sha256": model.sha256, "input_px": 112} | change
    said = identity_of(page_with(face(1)), FaceModel(**parts), face(1))
    assert (said.outcome, said.score) == ("not_applicable", None)
    assert said.reason == f"The face model{says}"


def test_a_file_that_is_no_network_is_said(tmp_path: Path) -> None:
    path = tmp_path / "faces.onnx"
    path.write_bytes(b"no network")
    broken = FaceModel(path=str(path), sha256=hashlib.sha256(b"no network").hexdigest())
    said = identity_of(page_with(face(1)), broken, face(1))
    assert said.reason == "The face model is not an ONNX network that OpenCV can read"


def test_the_model_is_named_by_path_and_checksum() -> None:
    sha256 = "AB" * 32
    settings = Settings.from_environment(
        {"KROMA_FACE_MODEL": "/models/faces.onnx", "KROMA_FACE_MODEL_SHA256": sha256}
    )
    assert settings.face_model == FaceModel(path="/models/faces.onnx", sha256=sha256.lower())
    assert Settings.from_environment({}).face_model is None


@pytest.mark.parametrize("sha256", ["", "abc", "g" * 64], ids=["missing", "short", "no hex"])
def test_a_model_without_a_checksum_is_refused(sha256: str) -> None:
    with pytest.raises(SettingsError, match="KROMA_FACE_MODEL_SHA256 must be the SHA-256"):
        Settings.from_environment({"KROMA_FACE_MODEL": "/m.onnx", "KROMA_FACE_MODEL_SHA256": sha256})
