"""Decodes a candidate once and runs all checks on it, in a picture process."""

from functools import cached_property
from typing import Final

import cv2
import numpy as np

from kroma.imaging import color_check as guard
from kroma.imaging.chroma import chroma_delta
from kroma.imaging.codec import Picture, decode
from kroma.imaging.color_check import GuardReport, GuardSettings
from kroma.imaging.errors import PictureError
from kroma.imaging.measures.blank import content, contrast
from kroma.imaging.measures.duplicate import nearest, thumbnail
from kroma.imaging.measures.facts import JobFacts, PictureFacts
from kroma.imaging.measures.gray import Gray, Rgb, gray_of, over_white
from kroma.imaging.measures.identity import likeness
from kroma.imaging.measures.report import CheckResult, Outcome, QualityReport, graded, summed, unmeasured
from kroma.imaging.measures.request import Checked, CheckRequest
from kroma.imaging.measures.settings import CheckSettings, QualitySettings, Verdict
from kroma.imaging.measures.sharpness import detail_kept
from kroma.imaging.measures.size import aspect_kept, size_kept, wanted_size
from kroma.imaging.measures.structure import structure_kept
from kroma.imaging.measures.style import Look, colors_kept, look_of, style_kept

HIDDEN: Final = 0.4
"""Factor of a threshold if night or rain hide a part of the scene."""
_CHROMA_RANGE: Final = 170.0
_NO_SCENE: Final = "the scene could not be read"
_EMPTY_SCENE: Final = "the scene is empty too"


def check_candidate(request: CheckRequest, facts: JobFacts) -> Checked:
    """Decode a candidate and run every check that needs no other candidate.

    A picture that does not decode gets the hard reason ``image_read_failed``, not an error.
    """
    cv2.setNumThreads(1)  # the pool has a process per core
    try:
        picture = decode(request.data, name=request.name)
    except PictureError as exc:
        failed = GuardReport(file=request.name, hard_fail_reasons=(guard.READ_FAILED,), error=exc.message)
        return Checked(guard=failed, report=QualityReport())
    return check_picture(picture, request, facts)


def check_picture(picture: Picture, request: CheckRequest, facts: JobFacts) -> Checked:
    """As ``check_candidate`` of a decoded picture, without the request's ``data``."""
    delta = seen_delta(picture, ignore_transparent=request.settings.ignore_transparent)
    judged = guard.judge(delta, request.guard, name=request.name)
    rgb = over_white(picture.pixels)
    checks = _Checks(request, facts, rgb, is_gray=bool(judged.grayscale_like))
    results = [color_result(judged, request.guard, request.settings), *checks.made()]
    return Checked(guard=judged, report=summed(results), thumbnail=thumbnail(rgb))


def seen_delta(picture: Picture, *, ignore_transparent: bool) -> float:
    """The chroma delta of pipeline.md 6.1, optionally without fully transparent pixels."""
    alpha = picture.alpha
    if not ignore_transparent or alpha is None:
        return chroma_delta(picture.pixels[..., :3])
    return chroma_delta(picture.pixels[..., :3][alpha > 0].reshape(1, -1, 3))


def color_result(report: GuardReport, settings: GuardSettings, checks: QualitySettings) -> CheckResult:
    """The guard's report as a check with the score ``1 - excess / (170 - threshold)``."""
    threshold = max(0.0, settings.max_chroma_delta)
    room = max(_CHROMA_RANGE - threshold, 1e-6)
    outcome = Outcome.PASSED
    if report.hard_fail_reasons:
        outcome = Outcome.FAILED
    elif report.soft_warnings:
        outcome = Outcome.WARNING
    strict = settings.enforce_grayscale or settings.fail_on_chroma_exceed
    return CheckResult(
        name="color",
        outcome=outcome,
        score=round(max(0.0, 1.0 - report.avg_chroma_exceed / room), 4),
        threshold=settings.max_chroma_delta,
        verdict=Verdict.HARD if strict else Verdict.SOFT,
        weight=checks.color_weight,
        reason=f"color {report.chroma_delta:g} against a threshold of {settings.max_chroma_delta:g}",
    )


class _Checks:
    """The checks of one candidate, one method each."""

    def __init__(self, request: CheckRequest, facts: JobFacts, rgb: Rgb, *, is_gray: bool) -> None:
        self._request = request
        self._settings = request.settings
        self._facts = facts
        self._is_gray = is_gray
        self._rgb = rgb
        self._gray: Gray = gray_of(rgb)
        self._size = (rgb.shape[1], rgb.shape[0])

    def made(self) -> list[CheckResult]:
        """Results in the order of a report, without checks that are off."""
        every = {
            "blank": self._blank,
            "sharpness": self._sharpness,
            "structure": self._structure,
            "style": self._style,
            "size": self._size_check,
            "drift": self._drift,
            "identity": self._identity,
        }
        return [
            make(self._of(name)) for name, make in every.items() if self._of(name).verdict is not Verdict.OFF
        ]

    def _of(self, name: str) -> CheckSettings:
        return getattr(self._settings, name)

    def _eased(self, settings: CheckSettings) -> float:
        return round(settings.threshold * HIDDEN, 4) if self._request.hides else settings.threshold

    def _blank(self, settings: CheckSettings) -> CheckResult:
        scene = self._facts.scene
        if scene is not None and content(scene.gray) < settings.threshold:
            return unmeasured("blank", settings, _EMPTY_SCENE)
        found = contrast(self._gray)
        return graded("blank", content(self._gray), settings, f"contrast of {found:.1f} levels")

    def _sharpness(self, settings: CheckSettings) -> CheckResult:
        scene = self._facts.scene
        if scene is None:
            return unmeasured("sharpness", settings, _NO_SCENE)
        kept = detail_kept(scene.gray, self._gray)
        if kept is None:
            return unmeasured("sharpness", settings, _EMPTY_SCENE)
        return graded("sharpness", kept, settings, f"{kept:.0%} as sharp as the scene")

    def _structure(self, settings: CheckSettings) -> CheckResult:
        if self._facts.scene is None:
            return unmeasured("structure", settings, _NO_SCENE)
        kept = structure_kept(self._facts.scene.gray, self._gray)
        if kept is None:
            return unmeasured("structure", settings, "the scene has no edges")
        reason = f"{kept:.0%} of the scene's edges kept"
        return graded("structure", kept, settings, reason, threshold=self._eased(settings))

    def _style(self, settings: CheckSettings) -> CheckResult:
        if not self._facts.styles:
            return self._style_of_scene(settings)
        kept = style_kept(self._look, self._facts.styles, with_tone=not self._request.is_relit)
        return graded("style", kept, settings, f"{kept:.0%} like the references")

    def _style_of_scene(self, settings: CheckSettings) -> CheckResult:
        """Without references, a picture must be gray or have the scene's colors."""
        scene = self._facts.scene
        if scene is None or self._request.is_relit or self._is_gray:
            return unmeasured("style", settings, "there are no style references")
        kept = colors_kept(self._look, scene.look)
        return graded("style", kept, settings, f"colors {kept:.0%} those of the scene")

    def _size_check(self, settings: CheckSettings) -> CheckResult:
        width, height = self._size
        wanted = wanted_size(self._request.size)
        if wanted is not None:
            kept = size_kept(self._size, wanted)
            return graded("size", kept, settings, f"{width}x{height} for {wanted[0]}x{wanted[1]}")
        if self._facts.scene is None:
            return unmeasured("size", settings, _NO_SCENE)
        scene = self._facts.scene.size
        kept = aspect_kept(self._size, scene)
        return graded("size", kept, settings, f"{width}x{height} for a scene of {scene[0]}x{scene[1]}")

    def _drift(self, settings: CheckSettings) -> CheckResult:
        baseline = self._facts.baseline
        if baseline is None:
            return unmeasured("drift", settings, "there is no baseline")
        kept = self._kept_of(baseline)
        reason = f"drift of {1.0 - kept:.2f} from the baseline"
        return graded("drift", kept, settings, reason, threshold=self._eased(settings))

    def _kept_of(self, baseline: PictureFacts) -> float:
        """The geometric mean of the structure and style scores, ignoring tone."""
        structure = structure_kept(baseline.gray, self._gray)
        style = style_kept(self._look, (baseline.look,), with_tone=False)
        return style if structure is None else float(np.sqrt(structure * style))

    def _identity(self, settings: CheckSettings) -> CheckResult:
        model = self._request.face_model
        if not self._request.with_references:
            return unmeasured("identity", settings, "there are no character references")
        if model is None:
            reason = "no face model is configured"
            return unmeasured("identity", settings, reason, outcome=Outcome.NOT_CONFIGURED)
        if not self._facts.faces:
            reason = self._facts.face_problem or "no character reference could be read"
            return unmeasured("identity", settings, reason)
        try:
            kept = likeness(self._rgb, self._facts.faces, model)
        except PictureError as exc:
            return unmeasured("identity", settings, exc.message)
        return graded("identity", kept, settings, f"likeness of {kept:.2f} to the characters")

    @cached_property
    def _look(self) -> Look:
        return look_of(self._rgb)


def with_duplicates(
    reports: list[QualityReport], thumbnails: list[bytes], indices: list[int], settings: QualitySettings
) -> list[QualityReport]:
    """The reports with the duplicate check, which compares each candidate with the better ones.

    Args:
        reports: Best candidate first.
        thumbnails: Of the same candidates.
        indices: Candidate indices, for the reasons.
    """
    check = settings.duplicate
    found: list[QualityReport] = []
    for report, close in zip(reports, nearest(thumbnails), strict=True):
        if close is None:
            result = unmeasured("duplicate", check, "there is no better candidate to compare with")
        else:
            apart, position = close
            reason = f"{apart:.0%} apart from candidate {indices[position]}"
            result = graded("duplicate", apart, check, reason)
        found.append(summed([*report.checks, result]))
    return found
