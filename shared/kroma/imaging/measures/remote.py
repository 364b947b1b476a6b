"""The functions that run in picture processes."""

from kroma.imaging.measures import candidate, facts, facts_codec
from kroma.imaging.measures.request import Checked, CheckRequest, FactsRequest


def gather_facts(request: FactsRequest) -> bytes:
    """Measure a job's inputs; only ``check_candidate`` can read the result."""
    return facts_codec.encoded(facts.gather_facts(request))


def check_candidate(request: CheckRequest, known: bytes | FactsRequest) -> Checked:
    """Run every check of a candidate that needs no other one.

    Args:
        known: The result of ``gather_facts``, or its request if only this candidate needs it.
    """
    found = facts_codec.decoded(known) if isinstance(known, bytes) else facts.gather_facts(known)
    return candidate.check_candidate(request, found)
