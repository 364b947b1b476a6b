"""No JSON makes the reader fail in a way of its own."""

import json

from hypothesis import given
from hypothesis import strategies as st

from kroma.runlog import reader
from kroma.runlog.errors import RunLogInvalidError

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
GUARD = st.fixed_dictionaries({}, optional={"checked_input": ANYTHING, "bad_archive": ANYTHING})
RANK = st.fixed_dictionaries({}, optional={"hard_failures": ANYTHING, "avg_chroma_exceed": ANYTHING})
CANDIDATE = st.fixed_dictionaries(
    {},
    optional={
        "candidate_index": ANYTHING,
        "status": ANYTHING,
        "output": ANYTHING,
        "final_output": ANYTHING,
        "rank": ANYTHING | RANK,
        "output_guard": ANYTHING | GUARD,
    },
)
JOB = st.fixed_dictionaries(
    {},
    optional={
        "id": ANYTHING,
        "status": ANYTHING,
        "selected_candidate": ANYTHING,
        "final_output": ANYTHING,
        "input_images": ANYTHING,
        "candidates": ANYTHING | st.lists(CANDIDATE, max_size=3),
    },
)
COST = st.fixed_dictionaries({}, optional={"units": ANYTHING, "cost_usd": ANYTHING, "amount_cents": ANYTHING})
LOG = st.fixed_dictionaries(
    {},
    optional={
        "log_version": ANYTHING,
        "mode": ANYTHING,
        "jobs": ANYTHING | st.lists(JOB, max_size=3),
        "generation": ANYTHING | COST,
        "cost_events": ANYTHING | st.lists(COST, max_size=3),
        "storage": ANYTHING,
    },
)


@given(LOG | ANYTHING)
def test_any_json_is_read_or_refused(log: object) -> None:
    data = json.dumps(log).encode()
    try:
        entry = reader.read(data, source="any.json")
    except RunLogInvalidError:
        return
    assert len({job.key for job in entry.jobs}) == len(entry.jobs)
    assert all(job.candidates for job in entry.jobs)


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        reader.read(data, source="any.json")
    except RunLogInvalidError:
        return
