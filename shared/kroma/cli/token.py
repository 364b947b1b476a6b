"""``kroma token``."""

import typer

from kroma.cli.console import say
from kroma.cli.options import AsJson, DataDir
from kroma.config import Settings
from kroma.errors import NotFoundError
from kroma.supervisor.token_file import find_token, token_path

app = typer.Typer(no_args_is_help=True, help="The token that calls to the API carry.")


@app.callback()
def token() -> None:
    """Group of commands, even while it has only one."""


@app.command()
def show(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Print the token that `kroma up` made."""
    folder = Settings.from_environment(data_dir=data_dir).data_dir
    secret = find_token(folder)
    if secret is None:
        raise TokenMissingError(str(token_path(folder)))
    say(f'{{"token": "{secret}"}}' if as_json else secret)


class TokenMissingError(NotFoundError):
    """No token is kept for the command line."""

    def __init__(self, path: str) -> None:
        super().__init__(f"Token ({path}; `kroma up` without --no-token makes it)")
