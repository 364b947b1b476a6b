"""What `kroma up` imports while it loads the database libraries in a thread."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(60)


def test_the_private_servers_are_started_without_the_libraries_that_a_thread_loads_meanwhile() -> None:
    # Two threads that import one package at the same time can fail with a KeyError.
    code = (
        "import sys, kroma.embedded.postgres, kroma.embedded.valkey; "
        "print([name for name in ('sqlalchemy', 'alembic', 'asyncpg') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=50)

    assert found.stdout.strip() == "[]"
