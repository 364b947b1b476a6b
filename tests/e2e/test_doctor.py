import asyncio
import json
from pathlib import Path

import pytest

from kroma.db.engine import Database
from support.builders.factories import make_project
from support.servers.kroma_stack import Up, kroma

pytestmark = pytest.mark.timeout(180)


def verdicts(output: str) -> dict[str, str]:
    return {check["part"]: check["verdict"] for check in json.loads(output)["checks"]}


def test_every_part_of_a_running_stack_is_ok(shared_stack: Up) -> None:
    done = kroma("doctor", "--json", "--data-dir", str(shared_stack.data_dir))
    assert done.returncode == 0, done.stdout
    assert set(verdicts(done.stdout).values()) == {"ok"}


def test_parts_that_exist_only_while_running_are_no_failures(stack_folder: Path) -> None:
    done = kroma("doctor", "--json", "--data-dir", str(stack_folder / "nothing"))
    assert done.returncode == 0, done.stdout
    found = verdicts(done.stdout)
    idle = {part for part, verdict in found.items() if verdict == "not running"}
    assert idle == {"stack", "database", "project roots", "redis", "API", "worker", "token"}
    assert not (stack_folder / "nothing").exists()


def test_a_failed_part_says_what_to_do(stack_folder: Path) -> None:
    done = kroma("doctor", "--data-dir", str(stack_folder), KROMA_REDIS_URL="redis://127.0.0.1:9/0")
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if line.startswith("redis"))
    assert "failed" in line
    assert "KROMA_REDIS_URL" in line


def test_an_unknown_provider_is_named(stack_folder: Path) -> None:
    done = kroma("doctor", "--json", "--data-dir", str(stack_folder), KROMA_PROVIDER="nonsense")
    assert done.returncode == 1
    assert verdicts(done.stdout)["provider"] == "failed"
    assert "nonsense" in done.stdout


def test_a_missing_token_is_one_line(stack_folder: Path) -> None:
    shown = kroma("token", "show", "--data-dir", str(stack_folder / "nothing"))
    assert shown.returncode == 3
    assert shown.stderr.count("\n") == 1
    assert "kroma up" in shown.stderr


async def test_roots_that_overlap_from_before_are_named(fresh_db: Database, stack_folder: Path) -> None:
    async with fresh_db.transaction() as session:
        for slug, root in (("one", "/srv/comics"), ("two", "/srv/comics/two"), ("three", "/srv/three")):
            await make_project(session, slug=slug, root=Path(root))
    url = fresh_db.engine.url.render_as_string(hide_password=False).replace("+asyncpg", "")
    done = await asyncio.to_thread(
        kroma, "doctor", "--json", "--data-dir", str(stack_folder), KROMA_DATABASE_URL=url
    )
    (found,) = (check for check in json.loads(done.stdout)["checks"] if check["part"] == "project roots")

    assert (done.returncode, found["verdict"]) == (1, "failed")
    assert found["found"] == (
        "one: /srv/comics overlaps that of two; two: /srv/comics/two overlaps that of one"
    )
    assert "PUT /api/projects/<slug>/storage/local" in found["advice"]
