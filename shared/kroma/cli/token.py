"""``kroma token``."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from kroma.auth.scopes import Scope
from kroma.cli.connections import open_database
from kroma.cli.console import say, say_json, show_table
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings
from kroma.errors import NotFoundError
from kroma.supervisor.token_file import find_token, token_path

if TYPE_CHECKING:
    from kroma.auth.service import CreatedToken, TokenState

app = typer.Typer(no_args_is_help=True, help="Manage API tokens.")


class TokenMissingError(NotFoundError):
    """No token is kept for the command line."""

    def __init__(self, path: str) -> None:
        super().__init__(f"No token at {path}; `kroma up` without --no-token creates one")


@app.command()
def show(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the token that `kroma up` created."""
    folder = Settings.from_environment(data_dir=data_dir).data_dir
    secret = find_token(folder)
    if secret is None:
        raise TokenMissingError(str(token_path(folder)))
    if as_json:
        say_json({"token": secret})
    else:
        say(secret)


@app.command()
def create(
    *,
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="What the token is for.")] = "",
    project: Annotated[
        str | None,
        typer.Option(
            "--project", metavar="SLUG", help="Limit the token to this project; default: all projects."
        ),
    ] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="SCOPE",
            help=f"What the token may do: {', '.join(Scope)}. Repeatable; default: everything.",
        ),
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option(
            "--expires-at",
            metavar="WHEN",
            help="A date such as 2027-01-31 (valid to the end of that day, UTC) or an RFC 3339 timestamp.",
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create a token and print it once."""
    settings = Settings.from_environment(data_dir=data_dir)
    created = asyncio.run(
        _create(settings, label=label, project=project, scopes=scopes, expires_at=expires_at)
    )
    if as_json:
        row = created.row
        shown = {"id": row.id, "token": created.secret, "scopes": row.scopes, "expires_at": row.expires_at}
        say_json(shown)
    else:
        say(created.secret)


@app.command("list")
def list_tokens(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all tokens, newest first, without their secrets."""
    tokens = asyncio.run(_list(Settings.from_environment(data_dir=data_dir)))
    if as_json:
        say_json({"tokens": tokens})
        return
    headings = ("id", "starts with", "", "project", "scopes", "label")
    show_table(map(_shown, tokens), headings=headings)


def _shown(token: "TokenState") -> tuple[str, ...]:
    project = "all" if token.project_slug is None else token.project_slug
    scopes = "all" if token.scopes is None else ", ".join(token.scopes)
    state = "active" if token.active else "revoked" if token.revoked_at else "expired"
    return (str(token.id), token.token_prefix, state, project, scopes, token.label)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As `kroma token list` shows it.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a token permanently; revoking it again changes nothing."""
    asyncio.run(_revoke(Settings.from_environment(data_dir=data_dir), token_id))
    if as_json:
        say_json({"revoked": token_id})
    else:
        say(f"Token {token_id} is revoked")


async def _create(
    settings: Settings, *, label: str, project: str | None, scopes: list[str] | None, expires_at: str | None
) -> "CreatedToken":
    from kroma.auth.service import create_token, parsed_expiry, parsed_scopes
    from kroma.projects.queries import get_local_project

    ends = parsed_expiry(expires_at)
    rights = parsed_scopes(scopes)
    async with open_database(settings) as db, db.transaction() as session:
        only = None if project is None else await get_local_project(session, project)
        return await create_token(session, label=label, project=only, scopes=rights, expires_at=ends)


async def _list(settings: Settings) -> "list[TokenState]":
    from kroma.auth.service import token_states

    async with open_database(settings) as db, db.transaction() as session:
        return await token_states(session)


async def _revoke(settings: Settings, token_id: str) -> None:
    from kroma.auth.service import revoke_token

    async with open_database(settings) as db, db.transaction() as session:
        await revoke_token(session, token_id)
