"""A small experiment of ``make chaos``, so that the harness itself stays sound."""

from pathlib import Path

import pytest

from chaos.experiment import experiment
from chaos.plan import drawn


@pytest.mark.timeout(240)
def test_a_small_experiment_breaks_no_rule(stack_folder: Path) -> None:
    plan = drawn(4, runs=6, kills=4)
    said: list[str] = []

    outcome = experiment(plan, stack_folder / "chaos", lease_s=3, say=said.append)

    assert outcome.wrong == [], said
    assert outcome.figures["runs"] >= 6
    assert outcome.figures["kills"] == 4
