"""Every rule of the siege holds for good records and names the fault it is there for."""

import base64
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from siege import bombs, doors, floods, matrix, page, planted, remotes, roots
from siege.evidence import Answer, Caller, Evidence
from siege.expectations import EXPECTED, OPENED_BY, Access
from siege.matrix import Asked, Operation
from siege.pictures import bombs as picture_bombs
from siege.planted import Planted, Secret, found_in, open_modes
from siege.rules import Verdict, at_most, complaints, none_of, table
from siege.targets import SCOPES, Field, Target, changes, shows


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(request="GET /x", status=status, headers=headers, body=body)


def refusal(status: int, code: str) -> Answer:
    return answer(status, b'{"ok": false, "error_code": "%b"}' % code.encode())


def asked(expected: str, given: Answer, *, caller: str = "scope review", foreign: bool = False) -> Asked:
    return Asked(operation="GET /x", caller=caller, expected=expected, answer=given, shows_foreign=foreign)


def outcome(**changed: Any) -> remotes.Outcome:
    return remotes.Outcome(**{"mode": "drip", "check_status": 200, "states": {"run": "failed"}, **changed})


def samples(seconds: float, status: int = 200, count: int = 50) -> list[Any]:
    return [["/health", seconds, status]] * count


SECRET = Secret(kind="key", value="sk-0123456789abcdef0123456789abcdef", lies_in=("token",))
DATA = Path("/data")

GOOD: dict[str, Callable[[], Iterable[str]]] = {
    "a route with its expectation": lambda: matrix.unexpected(["GET /x"], ["GET /x"]),
    "let in": lambda: matrix.misjudged([asked("open", answer(404))]),
    "kept out": lambda: matrix.misjudged([asked("unauthorized", refusal(401, "unauthorized"))]),
    "kept out by scope": lambda: matrix.misjudged(
        [asked("insufficient_scope", refusal(403, "insufficient_scope"))]
    ),
    "no leak": lambda: matrix.leaks([asked("open", answer())]),
    "a reviewer's run": lambda: matrix.shown_to_reviewers([asked("open", answer(body=b'{"spend": null}'))]),
    "refused": lambda: matrix.used([asked("open", answer(404))]),
    "scopes said": lambda: matrix.unsaid({"read": ["read"]}),
    "quick": lambda: doors.too_slow({"unladen": samples(0.02), "held": samples(0.09)}, "held")[0],
    "answered": lambda: doors.unanswered({"held": samples(0.01)}),
    "kept uploads": lambda: floods.unserved([answer(), answer(503, **{"retry-after": "1"})]),
    "served meanwhile": lambda: floods.waited([0.2, 0.9, 0.2], [0.1], lone_s=2),
    "disjoint": lambda: roots.overlaps({"a": DATA / "var/projects/a", "b": DATA / "var/projects/ab"}, DATA),
    "misdirected": lambda: page.not_status([("x", answer(421))], 421),
    "ended": lambda: remotes.unsettled([outcome()]),
    "a price": lambda: remotes.absurd([outcome(spent_usd=0.25)]),
    "a bomb that did nothing": lambda: bombs.exploded(
        [
            bombs.Thrown(name="x", answer=answer(400), took_s=1),
            bombs.Thrown(name="y", answer=answer(0), took_s=1),
        ]
    ),
    "nothing found": lambda: found_in([SECRET], "logs/api.log", b"sk-012345"),
    "where it belongs": lambda: found_in([SECRET], "token", SECRET.value.encode()),
    "unchanged": lambda: changes({"a": "1"}, {"a": "1"}, of="files"),
}


@pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in GOOD.items()])
def test_a_rule_holds_for_what_is_right(rule: Callable[[], Iterable[str]]) -> None:
    assert list(rule()) == []


WRONG: dict[str, Callable[[], Iterable[str]]] = {
    "a new route": lambda: matrix.unexpected(["GET /x", "GET /y"], ["GET /x"]),
    "a route that is gone": lambda: matrix.unexpected(["GET /x"], ["GET /x", "GET /y"]),
    "an open route": lambda: matrix.misjudged([asked("unauthorized", answer())]),
    "a missing scope let in": lambda: matrix.misjudged([asked("insufficient_scope", answer(404))]),
    "a wrong code": lambda: matrix.misjudged([asked("insufficient_scope", refusal(403, "forbidden"))]),
    "a closed route": lambda: matrix.misjudged([asked("open", refusal(403, "forbidden"))]),
    "no answer": lambda: matrix.misjudged([asked("open", answer(0))]),
    "a leak": lambda: matrix.leaks([asked("open", answer(), foreign=True)]),
    "money for a reviewer": lambda: matrix.shown_to_reviewers(
        [asked("open", answer(body=b'{"runs": [{"spend": {"spent_usd": 0.1}}]}'))]
    ),
    "settings for a reviewer": lambda: matrix.shown_to_reviewers(
        [asked("open", answer(body=b'{"storage": {"local": {"project_root": "/home"}}}'))]
    ),
    "another's thing used": lambda: matrix.used([asked("open", answer())]),
    "scopes unsaid": lambda: matrix.unsaid({"read": None}),
    "slow": lambda: doors.too_slow({"unladen": samples(0.02), "held": samples(0.11)}, "held")[0],
    "slow beyond 50 ms": lambda: doors.too_slow({"unladen": samples(0.001), "held": samples(0.06)}, "held")[
        0
    ],
    "never timed": lambda: doors.too_slow({"unladen": samples(0.02)}, "held")[0],
    "no yardstick": lambda: doors.too_slow({"held": samples(0.02)}, "held")[0],
    "shut out": lambda: doors.unanswered({"held": samples(0.01, 503, 1)}),
    "hung": lambda: doors.unanswered({"held": samples(10, 0, 1)}),
    "an upload lost": lambda: floods.unserved([answer(), answer(0)]),
    "turned away for good": lambda: floods.unserved([answer(), answer(503)]),
    "every upload turned away": lambda: floods.unserved([answer(503, **{"retry-after": "1"})]),
    "behind a queue": lambda: floods.waited([0.2, 0.2, 2.5], [0.1], lone_s=2),
    "behind what is left of a picture": lambda: floods.waited([0.7, 0.9, 0.8], [0.1], lone_s=2),
    "no upload timed": lambda: floods.waited([], [0.1], lone_s=2),
    "one root in another": lambda: roots.overlaps({"a": Path("/p/a"), "b": Path("/p/a/b")}, DATA),
    "the same root": lambda: roots.overlaps({"a": Path("/p/a"), "b": Path("/p/x/../a")}, DATA),
    "Kroma's own root": lambda: roots.overlaps({"a": DATA / "var/backend"}, DATA),
    "a root around Kroma": lambda: roots.overlaps({"a": DATA / "var"}, DATA),
    "a rebound name answered": lambda: page.not_status([("x", answer(200))], 421),
    "held open": lambda: remotes.unsettled([outcome(states={"run": "running"})]),
    "a check that hung": lambda: remotes.unsettled([outcome(check_s=60)]),
    "an absurd price": lambda: remotes.absurd([outcome(spent_usd=5.5e6)]),
    "a negative price": lambda: remotes.absurd([outcome(spent_usd=-1)]),
    "a bomb that broke us": lambda: bombs.exploded([bombs.Thrown(name="x", answer=answer(500), took_s=1)]),
    "a bomb that held us": lambda: bombs.exploded([bombs.Thrown(name="x", answer=answer(400), took_s=60)]),
    "a bomb without an answer": lambda: bombs.exploded(
        [bombs.Thrown(name="x", answer=answer(0, b"ReadTimeout('')"), took_s=1)]
    ),
    "a secret": lambda: found_in([SECRET], "logs/api.log", b"a " + SECRET.value.encode() + b" b"),
    "a secret in hex": lambda: found_in([SECRET], "x", SECRET.value.encode().hex().encode()),
    "a secret in base64": lambda: found_in([SECRET], "x", base64.b64encode(SECRET.value.encode())),
    "a secret within base64": lambda: found_in([SECRET], "x", base64.b64encode(f"u:{SECRET.value}".encode())),
    "a change": lambda: changes({"a": "1"}, {"a": "2"}, of="files"),
    "a new file": lambda: changes({}, {"a": "2"}, of="files"),
}


@pytest.mark.parametrize("rule", [pytest.param(rule, id=name) for name, rule in WRONG.items()])
def test_a_rule_names_its_fault(rule: Callable[[], Iterable[str]]) -> None:
    assert list(rule()) != []


def test_a_rule_that_was_not_tried_does_not_hold() -> None:
    assert not none_of("x", [], tried=0, what="requests").holds
    assert none_of("x", [], tried=1, what="requests").holds


def test_a_slow_neighbor_is_named_with_its_bound() -> None:
    good = floods.slowed([0.1, 0.2, 0.2], [0.5, 0.5, 0.9], rule="x", failed=[])
    slow = floods.slowed([0.1, 0.2, 0.2], [0.2, 0.7, 0.7], rule="x", failed=[])

    assert good.holds
    assert slow.wrong == ("0.70 s, at most 0.60 s",)
    assert not floods.slowed([], [0.1], rule="x", failed=[]).holds
    assert not floods.slowed([0.1], [0.1], rule="x", failed=["refused"]).holds


def test_a_broken_rule_is_shown_by_name() -> None:
    verdicts = [at_most("memory", 500, 400, "MB"), Verdict(rule="doors", measured="1", allowed="2")]

    assert [line.split()[-1] for line in table(verdicts).splitlines()[1:]] == ["BROKEN", "holds"]
    assert complaints(verdicts) == ["memory:", "  500.0 MB, at most 400.0 MB"]


def test_what_an_answer_tells_of_a_path_is_noticed() -> None:
    there = refusal(400, "config_validation_failed")
    told = answer(400, b'{"error": "/data/token: is not valid JSON"}')

    assert not roots.told_apart(there, there, ("token", "tokem"))
    assert roots.told_apart(told, there, ("/data/token", "/data/tokem"))
    assert roots.told_apart(answer(200), there, ("token", "tokem"))


def test_files_that_others_can_read_are_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    (tmp_path / "private").write_text("x")
    (tmp_path / "private").chmod(0o600)
    (tmp_path / "open").write_text("x")
    (tmp_path / "open").chmod(0o640)

    assert list(open_modes(tmp_path, passed_through=["."])) == ["open has mode 0640"]
    assert len(list(open_modes(tmp_path, passed_through=[]))) == 2


def test_secrets_follow_from_the_seed_and_differ() -> None:
    first, again, other = Planted(1), Planted(1), Planted(2)

    assert first.make("key") == again.make("key") != other.make("key")
    assert first.make("key") != first.secrets[0].value


def test_a_secret_that_is_given_back_is_looked_for_in_logs_alone() -> None:
    secret = Secret(kind="key", value=SECRET.value, is_given_back=True)

    assert list(found_in([secret], "column provider_accounts.base_url", secret.value.encode())) == []
    assert list(found_in([secret], "logs/api.log", secret.value.encode())) != []


def test_every_file_is_searched_also_across_pieces(tmp_path: Path) -> None:
    value = SECRET.value.encode()
    (tmp_path / "log").write_bytes(b"x" * (planted.CHUNK - 10) + value)

    pieces = list(planted.file_contents(tmp_path))

    assert any(list(found_in([SECRET], name, data)) for name, data in pieces)


def target() -> Target:
    return Target(
        slug="victim",
        project_id="b1",
        root=Path("/nowhere"),
        mark="mark-of-1",
        known={},
        pictures=frozenset(
            {bytes.fromhex("2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881")}
        ),
    )


def test_what_belongs_to_the_victim_is_recognized() -> None:
    assert not shows(answer(body=b"nothing"), target())
    for body in (b'{"name": "mark-of-1"}', b'{"project_id": "b1"}', b"x"):
        assert shows(answer(body=body), target())


async def test_an_api_that_lets_everyone_in_is_found_out(tmp_path: Path) -> None:
    """The cells of the matrix themselves, asked of a server without any door."""
    evidence = Evidence(tmp_path / "evidence")
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json={"name": "mark-of-1"}))
    async with httpx.AsyncClient(base_url="http://open", transport=transport) as client:

        def caller() -> Caller:
            return Caller(client, evidence, "token")

        scoped, wide = ({scope: caller() for scope in SCOPES} for _ in range(2))
        field = Field(
            stack=cast("Any", None),
            evidence=evidence,
            client=client,
            planted=Planted(1),
            chance=random.Random(1),  # noqa: S311 - an order, no secret
            owner=caller(),
            attacker=Target(slug="a", project_id="a1", root=tmp_path, mark="m", known={"slug": "a"}),
            neighbor=Target(slug="n", project_id="n1", root=tmp_path, mark="m-n", known={}),
            victim=target(),
            scoped=scoped,
            wide=wide,
            whole=caller(),
            neighbor_whole=caller(),
            gone={"none": Caller(client, evidence)},
            answered_scopes={},
        )
        operation = Operation(method="PUT", path="/api/projects/{slug}/budget", body={"limit_usd": 1})
        found = await matrix.ask_all(field, matrix.cells(field, operation))
    evidence.close()

    wrong = matrix.misjudged(found)
    # Nobody, another project, and every scope but `admin`, of the project and of the installation.
    assert len(wrong) == 2 + 2 * (len(SCOPES) - 1)
    assert any("by none: should be 401 unauthorized, was answered 200" in line for line in wrong)
    assert any("by scope read: should be 403 insufficient_scope" in line for line in wrong)
    assert matrix.leaks(found) != []


def test_the_table_names_no_access_that_nobody_has() -> None:
    scopes = {access for accesses in EXPECTED.values() for access in accesses}

    assert scopes - set(OPENED_BY) <= {Access.PUBLIC, Access.SIGNED, Access.INSTALLATION}
    assert all(accesses for accesses in EXPECTED.values())


def test_the_bombs_are_small_on_the_way() -> None:
    sizes = {name: len(data) for name, data in picture_bombs()}

    assert len(sizes) >= 20
    assert max(sizes.values()) < 64 * 1024**2
