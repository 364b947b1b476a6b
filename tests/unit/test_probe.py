"""Parts that are slow, silent or asked too often."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from kroma.errors import NotOneOfError
from kroma.health.probe import Check, NotWellError, Probe, Readiness, look_at


def well(name: str) -> Check:
    return Check(name=name, ok=True, detail="answers", ms=0.1)


class Part:
    """Two checks, the second of which waits until it may end."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_end = asyncio.Event()

    async def ask(self) -> AsyncIterator[Check]:
        self.asked += 1
        yield well("first")
        await self.may_end.wait()
        yield well("second")


@pytest.mark.timeout(10)
async def test_a_part_that_hangs_is_not_well_and_holds_nobody_up() -> None:
    part = Part()
    probe = Probe(("first", "second"), part.ask, answer_within_s=0.01)

    first, second = await probe.checks()
    again = await probe.checks()

    assert (first.ok, second.ok, second.detail) == (True, False, "did not answer within 0.01 s")
    assert [check.ok for check in again] == [True, False]
    assert part.asked == 1
    part.may_end.set()


@pytest.mark.timeout(10)
async def test_a_question_that_was_never_answered_is_asked_anew() -> None:
    part = Part()
    probe = Probe(("first", "second"), part.ask, answer_within_s=0.01, given_up_after_s=0.0)

    await probe.checks()
    part.may_end.set()
    found = await probe.checks()

    assert part.asked == 2
    assert [check.ok for check in found] == [True, True]


@pytest.mark.timeout(10)
async def test_many_askers_at_once_are_one_question() -> None:
    part = Part()
    part.may_end.set()
    readiness = Readiness([Probe(("first", "second"), part.ask)])

    found = await asyncio.gather(*(readiness.checks() for _ in range(50)))

    assert part.asked == 1
    assert all(check.ok for checks in found for check in checks)


@pytest.mark.timeout(10)
async def test_what_is_left_out_is_not_asked() -> None:
    part, other = Part(), Part()
    part.may_end.set()

    async def ask() -> AsyncIterator[Check]:
        other.asked += 1
        yield well("other")

    readiness = Readiness([Probe(("first", "second"), part.ask), Probe(("other",), ask)])
    found = await readiness.checks(without="other, first")

    assert [check.name for check in found] == ["second"]
    assert (part.asked, other.asked) == (1, 0)
    with pytest.raises(NotOneOfError, match="must be one of: first, second, other"):
        await readiness.checks(without="third")


@pytest.mark.timeout(10)
async def test_only_the_kind_of_an_error_is_shown() -> None:
    async def lack() -> str:
        raise NotWellError("there is none")

    async def fail() -> str:
        raise ConnectionError("postgresql://kroma:secret-word@host")

    assert (await look_at("x", lack())).detail == "there is none"
    assert (await look_at("x", fail(), (OSError,))).detail == "fails: ConnectionError"
