"""How a step can end a job."""

from kroma.errors import ProviderError


class AllCandidatesFailedError(ProviderError):
    """No call for a job gave a picture."""

    code = "all_candidates_failed"

    def __init__(self, *, tried: int, reason: str) -> None:
        super().__init__(f"None of {tried} candidates could be made; the first said: {reason}")


class SelectedPictureChangedError(ProviderError):
    """The picture of a candidate that a person chose is not the one they saw."""

    code = "chosen_picture_changed"

    def __init__(self, path: str) -> None:
        super().__init__(f"The chosen picture '{path}' is another one by now")


class NoUsableCandidateError(ProviderError):
    """Every candidate of a job failed the quality check."""

    code = "pipeline_command_failed"

    def __init__(self, *, tried: int, reason: str) -> None:
        super().__init__(f"None of {tried} candidates passed the quality check; the first: {reason}")
