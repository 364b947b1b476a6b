"""What picture processes run; this module alone loads no picture library."""

from kroma.imaging.measures.report import QualityReport
from kroma.imaging.measures.request import Checked, CheckOrder, FactsOrder
from kroma.imaging.measures.settings import QualitySettings


def gather_facts(order: FactsOrder) -> bytes:
    """What a job's candidates are compared with, sealed: only picture processes have a use for it."""
    from kroma.imaging.measures import facts, facts_codec  # noqa: PLC0415 - numpy and OpenCV stay out of the worker

    return facts_codec.sealed(facts.gather_facts(order))


def check_candidate(order: CheckOrder, facts: bytes | FactsOrder) -> Checked:
    """Every check of one candidate that needs no other one.

    Args:
        order: Which.
        facts: As ``gather_facts`` sealed them; or what they are to be gathered from, where nobody else
            needs them.
    """
    from kroma.imaging.measures import candidate, facts_codec  # noqa: PLC0415 - as above
    from kroma.imaging.measures.facts import gather_facts as gathered  # noqa: PLC0415 - as above

    known = facts_codec.opened(facts) if isinstance(facts, bytes) else gathered(facts)
    return candidate.check_candidate(order, known)


def compare_candidates(
    reports: list[QualityReport], thumbnails: list[bytes], indices: list[int], settings: QualitySettings
) -> list[QualityReport]:
    """The reports, best candidate first, with the check for near-duplicates."""
    from kroma.imaging.measures import candidate  # noqa: PLC0415 - as above

    return candidate.with_duplicates(reports, thumbnails, indices, settings)
