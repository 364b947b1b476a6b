import subprocess
import sys
from pathlib import Path

import pytest

from support.servers.kroma_stack import Up, environment

pytestmark = pytest.mark.timeout(240)

JOURNEY = Path(__file__).parents[2] / "examples" / "journey.py"


def walk(up: Up) -> str:
    done = subprocess.run(
        [sys.executable, str(JOURNEY), up.address],
        env=environment({"TOKEN": up.token()}),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_journey_can_be_walked_twice(shared_stack: Up) -> None:
    first, second = walk(shared_stack), walk(shared_stack)

    for step in ("J00", "J01", "J02", "J03", "74 routes", "planned 1 job(s)"):
        assert step in first
        assert step in second
    assert "created 1 characters, changed 0" in first
    assert "created 0 characters, changed 0" in second
    assert "'Mara' exists" in second


def test_without_a_token_it_says_where_to_get_one(shared_stack: Up) -> None:
    done = subprocess.run(
        [sys.executable, str(JOURNEY), shared_stack.address],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "kroma token show" in done.stderr
