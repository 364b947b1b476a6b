import os
import re
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from support.servers.kroma_stack import Up, eventually, is_alive, kroma

pytestmark = pytest.mark.timeout(240)

StartUp = Callable[..., Up]


def projects(up: Up, token: str) -> httpx.Response:
    return httpx.get(f"{up.address}/api/projects", headers={"Authorization": f"Bearer {token}"}, timeout=30)


def slugs(up: Up, token: str) -> list[str]:
    return [project["slug"] for project in projects(up, token).json()["projects"]]


def make_project(up: Up, name: str) -> None:
    headers = {"Authorization": f"Bearer {up.token()}"}
    reply = httpx.post(f"{up.address}/api/projects", json={"name": name}, headers=headers, timeout=30)
    assert reply.status_code == 200, reply.text


def test_the_first_start_prints_a_token_that_opens_the_api(shared_stack: Up) -> None:
    assert shared_stack.output.count(shared_stack.token()) == 1
    assert re.fullmatch("kroma_[0-9a-f]{64}", shared_stack.token())
    assert projects(shared_stack, shared_stack.token()).status_code == 200
    assert projects(shared_stack, "kroma_wrong").status_code == 401


@pytest.mark.parametrize(
    "name",
    [
        "token",
        "run/stack.json",
        "kroma.lock",
        "valkey/valkey.conf",
        "postgres/password",
        "postgres/app_password",
    ],
)
def test_only_the_owner_reads_what_is_secret(shared_stack: Up, name: str) -> None:
    assert stat.S_IMODE((shared_stack.data_dir / name).stat().st_mode) == 0o600


def test_no_secret_is_in_a_log_or_on_a_command_line(shared_stack: Up) -> None:
    state = shared_stack.state
    secrets = [
        shared_stack.token(),
        *(re.findall(r":([0-9a-f]{48})@", state["database_url"] + state["redis_url"])),
    ]
    assert len(secrets) == 3
    logs = "".join(path.read_text() for path in (shared_stack.data_dir / "logs").iterdir())
    commands = "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in shared_stack.all_pids())
    assert [secret for secret in secrets if secret in logs or secret in commands] == []


def test_a_second_start_says_who_runs_already(shared_stack: Up) -> None:
    second = kroma("up", "--data-dir", str(shared_stack.data_dir))
    assert second.returncode == 4
    assert f"process {shared_stack.process.pid}" in second.stderr
    assert shared_stack.address in second.stderr
    assert second.stderr.count("\n") == 1
    assert projects(shared_stack, shared_stack.token()).status_code == 200


def test_token_show_prints_the_token(shared_stack: Up) -> None:
    shown = kroma("token", "show", "--data-dir", str(shared_stack.data_dir))
    assert (shown.returncode, shown.stdout.strip()) == (0, shared_stack.token())


def test_rows_and_token_outlive_ctrl_c_and_a_killed_supervisor(start_up: StartUp) -> None:
    first = start_up().ready()
    make_project(first, "Kept")
    token = first.token()
    assert first.stop(signal.SIGINT) == 0

    second = start_up().ready()
    assert token not in second.output
    assert slugs(second, token) == ["kept"]
    pids = second.all_pids()
    second.kill()
    eventually(lambda: not any(is_alive(pid) for pid in pids))

    third = start_up().ready()
    assert f"The last start (process {second.process.pid}) was killed" in third.output
    assert slugs(third, token) == ["kept"]
    pids = third.all_pids()
    assert len(pids) > 5
    assert third.stop(signal.SIGTERM) == 0
    assert [pid for pid in pids if is_alive(pid)] == []
    left = [str(path.relative_to(third.data_dir)) for path in third.data_dir.rglob("*")]
    unwanted = re.compile(r"partial|kroma\.lock|stack\.json|postmaster\.pid|valkey\.pid")
    assert [path for path in left if unwanted.search(path)] == []


def test_every_part_that_is_killed_comes_back(start_up: StartUp) -> None:
    up = start_up().ready()
    for part in ("worker", "API", "Valkey", "PostgreSQL"):
        killed = up.pids[part.lower()]
        os.kill(killed, signal.SIGKILL)
        eventually(lambda part=part: f"{part} is back" in up.output)
        assert f"{part} was ended by SIGKILL; starting it again in 0.2 s" in up.output
        assert up.pids[part.lower()] not in {0, killed}
        assert is_alive(up.pids[part.lower()])
        eventually(lambda: projects(up, up.token()).status_code == 200)


def test_a_taken_port_is_one_line_and_nothing_runs(stack_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = kroma("up", "--data-dir", str(stack_folder / "taken"), KROMA_BACKEND_BIND=address)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "KROMA_BACKEND_BIND" in ended.stderr
    assert address in ended.stderr
    assert not (stack_folder / "taken" / "kroma.lock").exists()


def test_without_a_token_the_first_call_makes_it(start_up: StartUp) -> None:
    up = start_up("--no-token").ready()
    assert not (up.data_dir / "token").exists()
    made = httpx.post(f"{up.address}/auth/token", json={}, timeout=30)
    assert made.status_code == 200
    assert projects(up, made.json()["auth_token"]["token"]).status_code == 200
    assert httpx.post(f"{up.address}/auth/token", json={}, timeout=30).status_code == 401


def test_given_addresses_are_used_and_no_server_is_started(
    start_up: StartUp, fresh_database_url: str, redis_url: str
) -> None:
    up = start_up(KROMA_DATABASE_URL=fresh_database_url, KROMA_REDIS_URL=redis_url).ready()
    assert set(up.pids) == {"supervisor", "api", "worker"}
    assert not (up.data_dir / "postgres").exists()
    assert projects(up, up.token()).status_code == 200


def test_a_service_that_refuses_its_environment_is_quoted(stack_folder: Path) -> None:
    ended = kroma("up", "--data-dir", str(stack_folder / "no-provider"), KROMA_PROVIDER="painter")
    assert ended.returncode == 1
    assert "kroma_worker: KROMA_PROVIDER must be one of: local, openai, fake; see " in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_database_that_does_not_answer_is_one_line(stack_folder: Path) -> None:
    unused = "postgresql://kroma:secret-word@127.0.0.1:9/kroma"
    ended = kroma("up", "--data-dir", str(stack_folder / "no-database"), KROMA_DATABASE_URL=unused)
    assert ended.returncode == 1
    assert ended.stderr.startswith("kroma: The database could not be migrated")
    assert ended.stderr.count("\n") == 1
    assert "secret-word" not in ended.stderr
