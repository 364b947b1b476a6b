import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.servers.kroma_stack import Up


@pytest.fixture(scope="session")
def stack_folder() -> Iterator[Path]:
    """A folder that the database's account can reach when we are root, as ``tmp_path`` is not."""
    folder = Path(tempfile.mkdtemp(prefix="kroma-e2e-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def shared_stack(stack_folder: Path) -> Iterator[Up]:
    """A stack for tests that need no other; a start costs seconds of both cores.

    Its leases are short, so that the jobs of a worker that is killed do not wait half a minute.
    """
    up = Up(stack_folder / "shared", KROMA_LEASE_S="4")
    yield up.ready()
    up.stop()


@pytest.fixture
def start_up(stack_folder: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Up]]:
    """Starts stacks of the test's own on ``data_dir``; they are stopped after it."""
    started: list[Up] = []

    def start(*options: str, **changes: Any) -> Up:
        data_dir = stack_folder / request.node.name[:60]
        started.append(Up(data_dir, *options, **changes))
        return started[-1]

    yield start
    for up in started:
        up.stop()
