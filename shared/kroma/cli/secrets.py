"""``kroma secrets``."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from kroma.cli.connections import open_database
from kroma.cli.console import Exit, say, say_json
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings

if TYPE_CHECKING:
    from kroma.secrets.service import EncryptionStatus, Rotation

app = typer.Typer(
    no_args_is_help=True, help="Show and change how secrets are encrypted; never prints a value."
)

ProjectSlug = Annotated[str, typer.Option("--project", metavar="SLUG", help="The project.")]


@app.command()
def status(project: ProjectSlug, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Count secrets by storage form, and those that cannot be decrypted."""
    found = asyncio.run(_status(Settings.from_environment(data_dir=data_dir), project))
    if as_json:
        say_json(found)
        return
    say(
        f"{found.total} secrets: {found.encrypted} encrypted ({found.openable} open, "
        f"{found.unreadable} do not), {found.plaintext} in the clear, {found.empty} empty"
    )
    for used in found.key_refs:
        say(f"key {used.key_ref}: {used.count}")


@app.command()
def rotate(
    project: ProjectSlug,
    from_key_ref: Annotated[
        str | None,
        typer.Option("--from-key-ref", metavar="REF", help="Only secrets encrypted with this key."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Include secrets that already use the current key.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt the secrets with the current key (KROMA_MASTER_KEY, or its file).

    KROMA_MASTER_KEY_PREVIOUS holds the keys that open older ones. A secret that no key opens stays as it
    is; the exit code is 1 then.
    """
    settings = Settings.from_environment(data_dir=data_dir)
    done = asyncio.run(_rotate(settings, project, from_key_ref=from_key_ref, force=force))
    if as_json:
        say_json(done)
    else:
        say(
            f"{done.rotated} of {done.scanned} secrets encrypted anew ({done.plaintext_reencrypted} were in "
            f"the clear); {done.skipped_current_key_ref} have the current key already, "
            f"{done.skipped_empty} are empty, {done.unreadable} do not open"
        )
    raise typer.Exit(Exit.FAILED if done.unreadable else Exit.DONE)


async def _status(settings: Settings, project: str) -> "EncryptionStatus":
    from kroma.secrets.keyring import Keyring
    from kroma.secrets.service import encryption_status

    async with open_database(settings) as db:
        return await encryption_status(db, Keyring(settings.master_key), slug=project)


async def _rotate(settings: Settings, project: str, *, from_key_ref: str | None, force: bool) -> "Rotation":
    from kroma.secrets.keyring import Keyring
    from kroma.secrets.service import rotate_secrets

    keyring = Keyring(settings.master_key)
    async with open_database(settings) as db:
        finished = await rotate_secrets(
            db, keyring, slug=project, from_key_ref=from_key_ref, force=force, actor=None
        )
    return finished.rotation
