"""Derived ids."""

from uuid import UUID

from kroma.runlog.ids import asset_id, run_id, stable_id

BASE = UUID("6f1c1f0a-51f2-4b9e-8a37-0f4a5f7f3b10")


def test_an_id_is_the_same_in_every_process() -> None:
    assert stable_id(BASE, "report", "style_1_a", 2) == UUID("b5d7f147-9e30-48c8-b48a-2472e204950f")


def test_an_id_looks_like_a_random_one() -> None:
    made = stable_id(BASE, "x")

    assert made.version == 4
    assert made.variant == "specified in RFC 4122"


def test_parts_do_not_run_together() -> None:
    assert stable_id(BASE, "a", "bc") != stable_id(BASE, "ab", "c")
    assert stable_id(BASE, "a", 1, 2) != stable_id(BASE, "a", 12)


def test_a_run_and_an_asset_of_one_path_differ() -> None:
    assert run_id(BASE, "runs/a.json") != asset_id(BASE, "runs/a.json")
