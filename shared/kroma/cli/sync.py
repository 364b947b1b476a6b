"""``kroma sync``, ``restore`` and ``verify``."""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from kroma.cli.connections import database_url, open_database
from kroma.cli.console import Exit, bars, complain, log_stream, say, say_json, size_text
from kroma.cli.options import AsJson, DataDir
from kroma.config import LogOptions, Settings
from kroma.errors import KromaError

if TYPE_CHECKING:
    from kroma.sync.models import SyncJob
    from kroma.sync.progress import Progress
    from kroma.sync.service import SyncRequest

_SHOW_EVERY_S: Final = 0.1
_DIFFERENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "sync": (),  # what it could not copy has failed it
    "restore": ("different", "left_out"),
    "verify": ("missing", "different", "extra", "left_out"),
}
"""What must be nothing for a good end."""

Slug = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's slug.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done without doing it.")]


def sync(
    *,
    project: Slug,
    dry_run: DryRun = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete objects whose local file no longer exists.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Succeed if the project has no folder.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Upload a project's new and changed files to its bucket."""
    from kroma.sync.models import SyncKind
    from kroma.sync.service import SyncRequest

    request = SyncRequest(
        kind=SyncKind.SYNC, dry_run=dry_run, delete_extra=delete, allow_missing=allow_missing
    )
    row = _carried(project, request, data_dir, as_json=as_json)
    _tell(row, as_json=as_json)


def restore(
    *,
    project: Slug,
    dry_run: DryRun = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace local files that differ from the copy.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Download a project's missing files from its bucket; nothing is deleted."""
    from kroma.sync.models import SyncKind
    from kroma.sync.service import SyncRequest

    request = SyncRequest(kind=SyncKind.RESTORE, dry_run=dry_run, overwrite=overwrite)
    row = _carried(project, request, data_dir, as_json=as_json)
    _tell(row, as_json=as_json)


def verify(project: Slug, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Compare a project's files with the bucket by checksum; exit code 1 if they differ."""
    from kroma.sync.models import SyncKind
    from kroma.sync.service import SyncRequest

    row = _carried(project, SyncRequest(kind=SyncKind.VERIFY), data_dir, as_json=as_json)
    _tell(row, as_json=as_json)


def _carried(project: str, request: "SyncRequest", data_dir: Path | None, *, as_json: bool) -> "SyncJob":
    """The row of what was done.

    Raises:
        KromaError: There is none, for this reason; standard output has told it, too, if it is to be JSON.
    """
    from kroma.logs import configure_logs

    try:
        settings = Settings.from_environment(data_dir=data_dir)
        # The row and the last lines say what went wrong; a log is only for what is not expected.
        configure_logs(LogOptions(level="error", format="console"), stream=log_stream())
        return asyncio.run(_carry(settings, project, request))
    except KromaError as exc:
        if as_json:
            told = {"ok": False, "error": exc.message, "error_code": exc.code}
            say_json(told)
        raise


async def _carry(settings: Settings, project: str, request: "SyncRequest") -> "SyncJob":
    """Carry it here and now, under a lease like a worker's: it is recorded, and nobody else does the same."""
    from kroma.leases.claim import ClaimLostError
    from kroma.leases.renewer import LeaseRenewer
    from kroma.resources import open_stores
    from kroma.secrets.keyring import Keyring
    from kroma.sync.models import SyncJob
    from kroma.sync.progress import Progress
    from kroma.sync.runner import Synchronizer
    from kroma.sync.service import begin_sync, cancel_sync, prepare_sync

    async with open_database(settings) as db, open_stores(settings) as stores:
        notice = await prepare_sync(db, stores, slug=project, request=request)
        name = f"cli-{socket.gethostname()}-{os.getpid()}"
        row, claim = await begin_sync(db, notice, worker=name, lease=settings.lease)
        if claim is not None:
            renewer = LeaseRenewer(
                database_url(settings), lease=settings.lease, renew_every=settings.lease / 3
            )
            progress = Progress()
            syncs = Synchronizer(
                db=db, stores=stores, keyring=Keyring(settings.master_key), settings=settings
            )
            try:
                async with _showing(request.kind, progress):
                    await syncs.carry(renewer, claim, progress=progress)
            except ClaimLostError:
                complain("kroma: a worker went on with it, since the database did not hear from here")
            except asyncio.CancelledError:
                # Whoever interrupts it does not want a worker to go on.
                await asyncio.shield(cancel_sync(db, slug=project, sync_id=str(row.id), actor=None))
                raise
            finally:
                await renewer.close()
        async with db.transaction() as session:
            return await session.get_one(SyncJob, row.id, populate_existing=True)


@asynccontextmanager
async def _showing(label: str, progress: "Progress") -> AsyncGenerator[None]:
    """A bar of files and one of bytes, where somebody looks."""
    with bars() as shown:
        files, size = shown.add(label), shown.add("bytes")

        async def follow() -> None:
            while True:
                done, total = progress.files_done, progress.files_total
                phase, told = f"{label}, {progress.phase}", f"{done} of {total}"
                shown.show(files, done=done, total=total or None, label=phase, told=told)
                done, total = progress.bytes_done, progress.bytes_total
                told = f"{size_text(done)} of {size_text(total)}"
                shown.show(size, done=done, total=total or None, told=told)
                await asyncio.sleep(_SHOW_EVERY_S)

        following = asyncio.ensure_future(follow())
        try:
            yield
        finally:
            following.cancel()


def _tell(row: "SyncJob", *, as_json: bool) -> None:
    """Say what came of it, and end: with 0 when all is as it should be, else with 1.

    Raises:
        typer.Exit: Always.
    """
    result: dict[str, Any] = row.result_json
    is_good = row.status == "done" and not any(result.get(name) for name in _DIFFERENCES[row.kind])
    if as_json:
        told = {
            "ok": is_good,
            "sync_id": str(row.id),
            "kind": row.kind,
            "status": row.status,
            "project_root": row.project_root,
            "destination": row.destination,
            "dry_run": row.dry_run,
            "delete": row.delete_extra,
            "error": row.error or "",
            "error_code": row.error_code or "",
            **result,
        }
        say_json(told)
    else:
        _tell_people(row, result)
    raise typer.Exit(Exit.DONE if is_good else Exit.FAILED)


def _tell_people(row: "SyncJob", result: dict[str, Any]) -> None:
    for title in ("copy", "delete", "missing", "different", "extra"):
        for name in result.get(f"{title}_names", []):
            say(f"{title}: {name}")
    for problem in result.get("problems", []):
        complain(f"kroma: {problem}")
    if result.get("skipped"):
        say(f"Skipped: {row.project_root} does not exist")
        return
    counts = ", ".join(
        f"{result[name]} {name}"
        for name in ("copied", "equal", "deleted", "missing", "different", "extra")
        if name in result
    )
    verb = f"{row.kind} (dry run)" if row.dry_run else row.kind
    say(f"{verb} {row.status}: {row.project_root} and {row.destination}: {counts or 'nothing'}")
    if row.error:
        complain(f"kroma: {row.error}")
