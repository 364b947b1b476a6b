"""Secrets over processes: the start of the services, the command line, and nothing that leaks."""

import asyncio
import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from kroma.config import Settings
from kroma.db.engine import Database
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.secrets.cipher import SecretLocation
from kroma.secrets.keyring import Keyring
from kroma.secrets.models import ProjectSecret
from kroma.secrets.service import read_secret
from support.doubles.memory_store import MemoryStores
from support.servers.kroma_stack import Up, environment, kroma

pytestmark = pytest.mark.timeout(180)

StartUp = Callable[..., Up]
_SOMEWHERE = UUID(int=7)
A, B = (urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def keyring(folder: Path, key: str) -> Keyring:
    return Keyring(Settings.from_environment({"KROMA_MASTER_KEY": key}, data_dir=folder).master_key)


async def put_secrets(database_url: str, *sealed_with: Keyring | None) -> None:
    """One secret of the project ``comic`` for each; None is one that no key opens."""
    db = Database.connect(database_url)
    draft = ProjectDraft.checked(name="Comic")
    project = (await upsert_project(db, MemoryStores(), draft, actor=None)).project
    async with db.transaction() as session:
        for number, keys in enumerate(sealed_with):
            location = SecretLocation(project.id, "openai", f"key_{number}")
            stored = "enc:v2:AAAA" if keys is None else keys.seal("sk-1", location)
            session.add(ProjectSecret(**location._asdict(), secret_value=stored, key_ref="k1"))
    await db.close()


def service(module: str, folder: Path, database_url: str, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", module],
        env=environment(
            {
                "KROMA_DATA_DIR": str(folder),
                "KROMA_DATABASE_URL": database_url,
                "KROMA_QUEUE": "postgres",
                **variables,
            }
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def first_lines(process: "subprocess.Popen[str]", until: str) -> list[dict[str, object]]:
    """What a service logs up to the event ``until``; it is ended then."""
    assert process.stdout is not None
    lines: list[dict[str, object]] = []
    try:
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1]["event"] == until:
                return lines
    finally:
        process.kill()
        process.communicate()
    raise AssertionError(lines)


SERVICES = pytest.mark.parametrize(
    ("module", "ready"), [("kroma_api", "serving"), ("kroma_worker", "worker.ready")]
)


@SERVICES
def test_a_service_does_not_start_when_no_secret_opens(
    module: str, ready: str, data_dir: Path, fresh_database_url: str
) -> None:
    assert ready
    lost = keyring(data_dir, A)
    asyncio.run(put_secrets(fresh_database_url, lost, lost))

    for variables, source in (
        ({"KROMA_MASTER_KEY": B}, "KROMA_MASTER_KEY"),
        ({}, f"KROMA_MASTER_KEY_FILE ({data_dir}/var/backend/master.key)"),
    ):
        process = service(module, data_dir, fresh_database_url, **variables)
        output, complaint = process.communicate(timeout=60)
        assert process.returncode == 2
        assert complaint == (
            f"{module}: {source} cannot decrypt any of the 2 stored secrets, and neither can "
            "KROMA_MASTER_KEY_PREVIOUS; set the key that encrypted them, or delete them\n"
        )
        assert A not in output
        assert B not in output


@SERVICES
@pytest.mark.parametrize("variable", ["KROMA_MASTER_KEY", "KROMA_MASTER_KEY_PREVIOUS"])
def test_a_wrong_key_is_one_line_that_does_not_show_it(
    module: str, ready: str, variable: str, data_dir: Path, fresh_database_url: str
) -> None:
    assert ready
    process = service(module, data_dir, fresh_database_url, **{variable: "not-the-key"})
    output, complaint = process.communicate(timeout=60)

    assert complaint == f"{module}: {variable} must be padded base64url of exactly 32 bytes\n"
    assert (process.returncode, output) == (2, "")


@SERVICES
def test_single_secrets_that_do_not_open_are_counted_and_the_service_starts(
    module: str, ready: str, data_dir: Path, fresh_database_url: str
) -> None:
    asyncio.run(put_secrets(fresh_database_url, keyring(data_dir, A), None, None))

    lines = first_lines(service(module, data_dir, fresh_database_url, KROMA_MASTER_KEY=A), ready)
    warning = next(line for line in lines if line["event"] == "secrets.unreadable")
    assert (warning["level"], warning["count"], warning["usable"]) == ("warning", 2, 1)


@SERVICES
def test_a_previous_key_is_enough_to_start(
    module: str, ready: str, data_dir: Path, fresh_database_url: str
) -> None:
    asyncio.run(put_secrets(fresh_database_url, keyring(data_dir, A)))
    variables = {"KROMA_MASTER_KEY": B, "KROMA_MASTER_KEY_PREVIOUS": A}

    lines = first_lines(service(module, data_dir, fresh_database_url, **variables), ready)
    assert not any(str(line["event"]).startswith("secrets.") for line in lines)


def test_the_whole_stack_does_not_start_when_no_secret_opens(
    stack_folder: Path, fresh_database_url: str, redis_url: str
) -> None:
    asyncio.run(put_secrets(fresh_database_url, None))
    ended = kroma(
        "up",
        "--data-dir",
        str(stack_folder / "lost"),
        KROMA_DATABASE_URL=fresh_database_url,
        KROMA_REDIS_URL=redis_url,
        KROMA_MASTER_KEY=A,
    )

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert ended.stderr.startswith("kroma: KROMA_MASTER_KEY cannot decrypt any of the 1 stored secrets")


def test_a_database_that_does_not_answer_does_not_stop_the_start(data_dir: Path) -> None:
    lines = first_lines(service("kroma_api", data_dir, "postgresql://kroma@127.0.0.1:9/kroma"), "serving")

    assert "database.waiting" in {line["event"] for line in lines}


async def value_of(database_url: str, keys: Keyring) -> str | None:
    db = Database.connect(database_url)
    project = (
        await upsert_project(db, MemoryStores(), ProjectDraft.checked(name="Comic"), actor=None)
    ).project
    async with db.transaction() as session:
        value = await read_secret(
            session, keys, project_id=project.id, provider_code="openai", secret_name="key_0"
        )
    await db.close()
    return value


def test_the_command_line_counts_and_rotates(data_dir: Path, fresh_database_url: str) -> None:
    asyncio.run(put_secrets(fresh_database_url, keyring(data_dir, A)))
    variables = {
        "KROMA_DATABASE_URL": fresh_database_url,
        "KROMA_DATA_DIR": str(data_dir),
        "KROMA_MASTER_KEY": B,
        "KROMA_MASTER_KEY_PREVIOUS": A,
    }
    status = kroma("secrets", "status", "--project", "comic", "--json", **variables)
    assert json.loads(status.stdout)["key_refs"] == [{"key_ref": "k1", "count": 1}]
    assert json.loads(status.stdout)["openable"] == 1

    other = kroma("secrets", "rotate", "--project", "comic", "--from-key-ref", "k9", "--json", **variables)
    assert json.loads(other.stdout)["scanned"] == 0
    done = kroma("secrets", "rotate", "--project", "comic", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1 of 1 secrets encrypted anew")
    again = kroma("secrets", "rotate", "--project", "comic", "--force", "--json", **variables)
    assert json.loads(again.stdout)["rotated"] == 1
    shown = kroma("secrets", "status", "--project", "comic", **variables)
    assert shown.stdout.splitlines() == [
        "1 secrets: 1 encrypted (1 open, 0 do not), 0 in the clear, 0 empty",
        "key local-master: 1",
    ]
    assert asyncio.run(value_of(fresh_database_url, keyring(data_dir, B))) == "sk-1"


def test_a_rotation_that_leaves_secrets_behind_fails(data_dir: Path, fresh_database_url: str) -> None:
    asyncio.run(put_secrets(fresh_database_url, keyring(data_dir, A), None))
    done = kroma(
        "secrets",
        "rotate",
        "--project",
        "comic",
        KROMA_DATABASE_URL=fresh_database_url,
        KROMA_MASTER_KEY=A,
        KROMA_DATA_DIR=str(data_dir),
    )

    assert done.returncode == 1
    assert "1 do not open" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "said"),
    [
        pytest.param(("--project", "nope"), {}, 3, "kroma: Project not found", id="unknown project"),
        pytest.param(
            ("--project", "x"),
            {"KROMA_MASTER_KEY": "not-the-key"},
            2,
            "kroma: KROMA_MASTER_KEY must be",
            id="wrong key",
        ),
        pytest.param((), {}, 2, "Usage:", id="no project"),
    ],
)
def test_a_command_that_cannot_be_done_says_why(
    *,
    data_dir: Path,
    database_url: str,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    code: int,
    said: str,
) -> None:
    addresses = {"KROMA_DATABASE_URL": database_url, "KROMA_DATA_DIR": str(data_dir)}
    for command in ("status", "rotate"):
        done = kroma("secrets", command, *arguments, **addresses, **variables)
        assert (done.returncode, done.stdout) == (code, "")
        assert said in done.stderr
        assert "not-the-key" not in done.stderr


def test_without_a_running_stack_a_command_says_how_to_start_one(tmp_path: Path) -> None:
    done = kroma("secrets", "status", "--project", "x", "--data-dir", str(tmp_path))

    assert done.returncode == 1
    assert "kroma up" in done.stderr


_SEAL = """
import sys
from pathlib import Path
from uuid import UUID
from uuid import UUID
from kroma.config import Settings
from kroma.secrets.cipher import SecretLocation
from kroma.secrets.keyring import Keyring

keys = Keyring(Settings.from_environment({}, data_dir=Path(sys.argv[1])).master_key)
sys.stdin.readline()
print(keys.seal("x", SecretLocation(UUID(int=7), "openai", "api_key")))
"""


def test_processes_that_seal_first_at_once_agree_on_one_key(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _SEAL, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    sealed = [process.communicate("go\n")[0].strip() for process in processes]

    key = (tmp_path / "var" / "backend" / "master.key").read_text().strip()
    location = SecretLocation(project_id=_SOMEWHERE, provider_code="openai", secret_name="api_key")
    assert {keyring(tmp_path, key).find_value(text, location) for text in sealed} == {"x"}


def test_a_running_stack_shows_no_secret_token_or_key(start_up: StartUp) -> None:
    """Stores, rotates, lists and fails with marked values; none may be in a reply, log or audit."""
    value, wrong = "sk-MARKED-0123456789", "kroma_MARKED-wrong-token"
    up = start_up(KROMA_MASTER_KEY=A, KROMA_MASTER_KEY_PREVIOUS=B).ready()
    own = {"Authorization": f"Bearer {up.token()}"}
    replies: list[httpx.Response] = []
    with httpx.Client(base_url=up.address, headers=own, timeout=30) as client:

        def call(method: str, path: str, **options: object) -> httpx.Response:
            replies.append(client.request(method, path, **options))  # pyright: ignore[reportArgumentType]
            return replies[-1]

        call("POST", "/api/projects", json={"name": "Comic"})
        path = "/api/projects/comic/secrets"
        body = {"provider_code": "openai", "secret_name": "api_key", "secret_value": value}
        assert call("POST", path, json=body).status_code == 200
        for wrong_body in (
            {**body, "secret_name": 1},
            {**body, "provider_code": None},
            {**body, "secret_value": [value]},
            {**body, "secret_value": f"{value}\0"},
            {**body, "secret_name": "x" * 300},
            {**body, "provider_code": ""},
        ):
            assert call("POST", path, json=wrong_body).status_code in {400, 422}
        call("POST", path, content=json.dumps(body)[:-1], headers={"Content-Type": "application/json"})
        call("POST", path, content=json.dumps(body), headers={"Content-Type": "text/plain"})
        call("POST", "/api/projects/nope/secrets", json=body)
        call("POST", f"{path}/rotate", json={"force": True, "secret_value": value})
        call("GET", path)
        call("GET", f"{path}/rotation-status")
        call("GET", "/auth/tokens")
        call("GET", "/api/projects/comic/audit-events")
        call("DELETE", f"{path}/openai/api_key")
        for header in (f"Bearer {wrong}", f"Basic {wrong}", wrong):
            refused = call("GET", "/api/projects", headers={"Authorization": header})
            assert refused.status_code == 401
    made = kroma("token", "create", "--data-dir", str(up.data_dir), "--json")
    listed = kroma("token", "list", "--data-dir", str(up.data_dir), "--json")
    second = json.loads(made.stdout)["token"]
    logs = "".join(file.read_text() for file in (up.data_dir / "logs").iterdir() if file.is_file())
    shown = "".join([up.output.replace(up.token(), "", 1), logs, listed.stdout, *(r.text for r in replies)])

    assert '"path":"/api/projects/comic/secrets"' in logs
    for secret in (value, wrong, A, B, up.token(), second, "MARKED"):
        assert secret not in shown
