"""What picture processes run of the measures."""

from kroma.imaging.measures import candidate, facts, facts_codec
from kroma.imaging.measures.request import Checked, CheckRequest, FactsRequest


def gather_facts(request: FactsRequest) -> bytes:
    """What a job's candidates are compared with, sealed: only picture processes have a use for it."""
    return facts_codec.sealed(facts.gather_facts(request))


def check_candidate(request: CheckRequest, known: bytes | FactsRequest) -> Checked:
    """Every check of one candidate that needs no other one.

    Args:
        known: As ``gather_facts`` sealed them; or what they are to be gathered from, where nobody else
            needs them.
    """
    found = facts_codec.opened(known) if isinstance(known, bytes) else facts.gather_facts(known)
    return candidate.check_candidate(request, found)
