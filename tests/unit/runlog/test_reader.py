"""What the reader makes of logs of every generation."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from kroma.runlog import reader
from kroma.runlog.entries import RunEntry
from kroma.runlog.errors import RunLogInvalidError

LOGS = Path(__file__).parents[2] / "contract" / "runlogs"
V2 = ["v2_run.json", "v2_dry.json"]
EVERY = sorted(path.name for path in LOGS.iterdir())


def entry(log: dict[str, Any]) -> RunEntry:
    return reader.read(json.dumps(log).encode(), source="run.json")


def job(**fields: object) -> dict[str, Any]:
    return {"id": "style_1_a", "status": "done", **fields}


def one_job(**fields: object) -> RunEntry:
    return entry({"mode": "run", "jobs": [job(**fields)]})


@pytest.mark.parametrize("name", EVERY)
def test_every_kept_log_is_read(name: str) -> None:
    run = reader.read((LOGS / name).read_bytes(), source=name)

    assert run.project == "lanternfall"
    assert run.is_ours is (name in V2)


@pytest.mark.parametrize(
    ("jobs", "status"),
    [
        pytest.param(None, "unknown", id="absent"),
        pytest.param({"a": 1}, "unknown", id="no array"),
        pytest.param([], "partial", id="none"),
        pytest.param([{"status": "done"}, {"status": "planned"}], "ok", id="done and planned"),
        pytest.param([{"status": "done"}, {"status": "failed_output_guard"}], "failed", id="one failed"),
        pytest.param([{"status": "failed"}], "failed", id="failed"),
        pytest.param([{"status": "done"}, {"status": "accepted"}], "partial", id="odd word"),
        pytest.param([{}], "partial", id="no status"),
    ],
)
def test_the_runs_status_follows_from_its_jobs(jobs: object, status: str) -> None:
    assert entry({"mode": "run", "jobs": jobs}).status == status


def test_a_job_without_an_id_is_named_by_its_position() -> None:
    run = entry({"jobs": [{"status": "done"}, {"id": " ", "status": "done"}, {"id": "x"}]})

    assert [job.key for job in run.jobs] == ["job_1", "job_2", "x"]


def test_repeated_job_ids_stay_apart() -> None:
    run = entry({"jobs": [{"id": "cover"}, {"id": "cover"}, {"id": "cover_2"}]})

    assert [job.key for job in run.jobs] == ["cover", "cover_2", "cover_2_3"]


def test_a_job_without_candidates_gets_one_that_stands_for_it() -> None:
    run = one_job(output="outputs/a.png", final_output="upscaled/a.png")

    (candidate,) = run.jobs[0].candidates
    assert (candidate.index, candidate.status) == (1, "done")
    assert (candidate.output, candidate.final_output) == ("outputs/a.png", "upscaled/a.png")
    assert (candidate.rank.hard_failures, candidate.rank.avg_chroma_exceed) == (0, 0.0)


def test_a_failed_job_of_ours_without_candidates_gets_none() -> None:
    run = reader.read((LOGS / "v2_run.json").read_bytes(), source="v2")

    assert [len(job.candidates) for job in run.jobs] == [2, 0]


def test_a_candidate_without_an_index_is_numbered_in_its_job() -> None:
    candidates = [{"status": "done"}, {"status": "done"}]
    run = entry({"jobs": [job(candidates=candidates), job(candidates=candidates)]})

    assert [[c.index for c in j.candidates] for j in run.jobs] == [[1, 2], [1, 2]]


@pytest.mark.parametrize(
    ("rank", "expected"),
    [
        pytest.param({"hard_failures": 2, "avg_chroma_exceed": 1.5}, (2, 1.5), id="numbers"),
        pytest.param({"hard_failures": "2", "avg_chroma_exceed": "1.5"}, (0, 1.5), id="numeric texts"),
        pytest.param({"hard_failures": True, "avg_chroma_exceed": True}, (0, 0.0), id="booleans"),
        pytest.param({"hard_failures": 1.5, "avg_chroma_exceed": "nan"}, (0, 0.0), id="no such numbers"),
        pytest.param({"hard_failures": 3.0, "avg_chroma_exceed": 2}, (3, 2.0), id="other spellings"),
        pytest.param("first", (0, 0.0), id="no object"),
        pytest.param(None, (0, 0.0), id="null"),
    ],
)
def test_ranks_take_numbers_and_only_fractions_take_texts(rank: object, expected: tuple[int, float]) -> None:
    (candidate,) = one_job(candidates=[{"rank": rank}]).jobs[0].candidates

    assert (candidate.rank.hard_failures, candidate.rank.avg_chroma_exceed) == expected


@pytest.mark.parametrize(
    ("selected", "expected"),
    [
        pytest.param(2, 2, id="integer"),
        pytest.param("2", None, id="text"),
        pytest.param(None, None, id="null"),
    ],
)
def test_only_an_integer_selects_a_candidate(selected: object, expected: int | None) -> None:
    assert one_job(selected_candidate=selected).jobs[0].selected_candidate == expected


def test_the_prompt_has_two_names() -> None:
    assert one_job(prompt="ink").jobs[0].prompt == "ink"
    assert one_job(prompt_text="wash").jobs[0].prompt == "wash"


def test_paths_below_the_project_root_become_relative_to_it() -> None:
    candidate = {"output": " var\\projects\\x\\outputs\\a.png "}
    storage = {"project_root": "./var/projects//x/"}
    run = entry({"mode": "run", "storage": storage, "jobs": [job(candidates=[candidate])]})

    generated = run.jobs[0].candidates[0].generated
    assert generated is not None
    assert generated.path == "outputs/a.png"


def test_a_rejected_raw_picture_lies_in_the_archive() -> None:
    guard = {"checked_input": "outputs/a.png", "bad_archive": "archive/bad/a.png"}
    (candidate,) = one_job(candidates=[{"output": "outputs/a.png", "output_guard": guard}]).jobs[0].candidates

    assert candidate.generated is not None
    assert (candidate.generated.path, candidate.last) == ("archive/bad/a.png", None)
    assert candidate.output == "outputs/a.png"


def test_of_a_rejected_chain_only_the_last_picture_lies_in_the_archive() -> None:
    guard = {"checked_input": "upscaled/a.png", "bad_archive": "archive/bad/a.png"}
    (candidate,) = one_job(candidates=[{"output": "outputs/a.png", "output_guard": guard}]).jobs[0].candidates

    assert candidate.generated is not None
    assert candidate.last is not None
    assert (candidate.generated.path, candidate.last.path) == ("outputs/a.png", "archive/bad/a.png")


def test_cost_events_have_many_spellings() -> None:
    run = reader.read((LOGS / "g2_cost_events.json").read_bytes(), source="g2")

    told = [
        (c.provider, c.operation, c.units, c.total_usd, c.currency, c.model, c.job_key) for c in run.costs
    ]
    model = "gpt-image-1"
    assert told == [
        ("openai", "image_generation", 2, Decimal("0.5"), "USD", model, "time_1_mill_yard"),
        ("photoroom", "background_removal", 4, Decimal("0.1"), "EUR", "segment-2", "no_such_job"),
        ("unknown", "upscale", 0, 0, "USD", model, None),
        ("unknown", "legacy_event", 0, 0, "USD", model, None),
    ]


@pytest.mark.parametrize(
    ("log", "told"),
    [
        pytest.param(
            {"generation": {"cost_usd": "0.25", "images": 5}},
            [("openai", "image_generation", 5, Decimal("0.25"))],
            id="generation",
        ),
        pytest.param({"generation": {"candidates": 2}}, [], id="generation without an amount"),
        pytest.param({"amount_cents": 12.5}, [("unknown", "run_total", 1, Decimal("0.125"))], id="total"),
        pytest.param(
            {"cost_usd": 9, "generation": {"amount_cents": 100}},
            [("openai", "image_generation", 0, Decimal(1))],
            id="total beside an event",
        ),
        pytest.param({"cost_events": None}, [], id="null"),
    ],
)
def test_costs_outside_the_list_count_too(log: dict[str, Any], told: list[Any]) -> None:
    run = entry({"jobs": [], **log})

    assert [(c.provider, c.operation, c.units, c.total_usd) for c in run.costs] == told


def test_an_unknown_price_is_not_nothing() -> None:
    run = reader.read((LOGS / "v2_run.json").read_bytes(), source="v2")

    free, unknown = run.costs
    assert (free.total_usd, "price" in free.meta) == (0, False)
    assert (unknown.total_usd, unknown.meta["price"]) == (0, "unknown")


def test_a_dry_run_has_no_inputs_to_keep() -> None:
    for name in ("g2_dry.json", "g1_dry.json", "v2_dry.json"):
        run = reader.read((LOGS / name).read_bytes(), source=name)
        assert [job.inputs for job in run.jobs] == [()] * len(run.jobs)


def test_the_scene_comes_first_and_styles_follow() -> None:
    run = reader.read((LOGS / "g2_run_ok.json").read_bytes(), source="g2")

    assert [(given.role, given.picture.path) for given in run.jobs[0].inputs] == [
        ("scene", "in/mill_yard.png"),
        ("style", "references/ink_a.png"),
        ("style", "references/ink_b.png"),
    ]


def changed(name: str, old: str, new: str) -> bytes:
    text = (LOGS / name).read_text()
    assert old in text
    return text.replace(old, new, 1).encode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "is not valid JSON", id="empty"),
        pytest.param(b'{"jobs": [', "is not valid JSON", id="cut off"),
        pytest.param(b'{"project": "\xff"}', "is not valid JSON", id="not UTF-8"),
        pytest.param(b"[" * 100_000, "is", id="too deep"),
        pytest.param(b"[]", ": Expected `object`", id="an array"),
        pytest.param(b'"log"', ": Expected `object`", id="a text"),
        pytest.param(b'{"jobs": [1]}', "field 'jobs[0]': the value must be an object", id="job"),
        pytest.param(b'{"jobs": [{"id": 7}]}', "field 'jobs[0].id': the value must be text", id="job id"),
        pytest.param(
            b'{"jobs": [{"candidates": {}}]}',
            "'jobs[0].candidates': the value must be an array",
            id="candidates",
        ),
        pytest.param(
            b'{"jobs": [{"candidates": [0]}]}',
            "'jobs[0].candidates[0]': the value must be an",
            id="candidate",
        ),
        pytest.param(
            b'{"jobs": [{"candidates": [{"candidate_index": 1}, {"candidate_index": 1}]}]}',
            "'jobs[0].candidates[1].candidate_index': the value 1 is not unique",
            id="index twice",
        ),
        pytest.param(
            b'{"jobs": [{"candidates": [{"rank": {"soft_warnings": 99999999999}}]}]}',
            "'jobs[0].candidates[0].rank.soft_warnings': the number must be from -2147483647 to 2147483647",
            id="large count",
        ),
        pytest.param(
            b'{"cost_usd": 1e30}',
            "'cost_usd': the number must be between -1000000000000 and 1000000000000",
            id="large amount",
        ),
        pytest.param(b'{"mode": "wet"}', "'mode': the value must be one of: dry, run", id="mode"),
        pytest.param(
            b'{"log_version": 3}', "'log_version': this Kroma reads version 2, not 3", id="newer version"
        ),
        pytest.param(b'{"log_version": 2}', "missing required field", id="version 2, empty"),
        pytest.param(
            b'{"jobs": [{"prompt": "a\\u0000b"}]}', "'jobs[0].prompt': NUL characters are not", id="NUL"
        ),
        pytest.param(b'{"x": {"a\\u0000": 1}}', "'x.a\\0': NUL characters are not", id="NUL in a key"),
        pytest.param(
            changed("v2_run.json", '"candidate_index": 1', '"candidate_index": "1"'),
            "'jobs[0].candidates[0].candidate_index': Expected `int`",
            id="version 2, wrong type",
        ),
        pytest.param(
            changed("v2_run.json", '"hard_failures": 1', '"hard_failures": 1099511627776'),
            "'jobs[0].candidates[0].rank.hard_failures': Expected `int` <= 2147483647",
            id="version 2, large count",
        ),
        pytest.param(
            changed("v2_run.json", '"id": "style_2_bridge"', '"id": "style_1_quarry"'),
            "'jobs[1].id': the value style_1_quarry is not unique",
            id="version 2, key twice",
        ),
        pytest.param(
            changed("v2_run.json", '"candidate_index": 2', '"candidate_index": 1'),
            "'jobs[0].candidates[1].candidate_index': the value 1 is not unique",
            id="version 2, index twice",
        ),
        pytest.param(
            changed("v2_run.json", "2026-02-01T10:00:00.250Z", "yesterday"),
            "'started_at': the value must be an ISO 8601 time",
            id="version 2, stamp",
        ),
        pytest.param(
            changed("v2_run.json", '"mode": "run"', '"mode": "wet"'),
            "'mode': the value must be",
            id="version 2, mode",
        ),
    ],
)
def test_a_bad_log_is_refused_in_one_line_that_names_file_and_field(data: bytes, words: str) -> None:
    with pytest.raises(RunLogInvalidError) as refusal:
        reader.read(data, source="runs/bad.json")

    message = refusal.value.message
    assert message.startswith("Run log 'runs/bad.json': ")
    assert words in message
    assert "\n" not in message


def test_a_backslash_before_u0000_is_no_nul() -> None:
    assert entry({"project": "\\u0000", "jobs": []}).project == "\\u0000"


def test_a_byte_order_mark_is_skipped() -> None:
    assert reader.read(b'\xef\xbb\xbf{"jobs": []}', source="x").status == "partial"


def test_read_log_takes_ours_only() -> None:
    assert reader.read_log((LOGS / "v2_run.json").read_bytes(), source="v2").seed == 7
    with pytest.raises(RunLogInvalidError, match="log_version"):
        reader.read_log((LOGS / "g2_dry.json").read_bytes(), source="g2")
