"""``kroma up``."""

import asyncio
from contextlib import ExitStack
from typing import Annotated

import typer

from kroma.cli.console import busy, complain, say
from kroma.cli.options import DataDir
from kroma.config import Settings
from kroma.supervisor.stack import RunningStack, interruptible, running_stack
from kroma.supervisor.token_file import token_path


def up(
    data_dir: DataDir = None,
    no_token: Annotated[
        bool,
        typer.Option("--no-token", help="Do not create a token; the first POST /auth/token creates it."),
    ] = False,
) -> None:
    """Start everything: database, queue, API and worker. Ctrl-C stops it.

    Uses KROMA_DATABASE_URL and KROMA_REDIS_URL if set, instead of private servers;
    KROMA_BACKEND_BIND is the API's address.
    """
    settings = Settings.from_environment(data_dir=data_dir)
    asyncio.run(_up(settings, make_token=not no_token))


async def _up(settings: Settings, *, make_token: bool) -> None:
    finished = await interruptible(_serve(settings, make_token=make_token))
    if not finished:
        say("Kroma has stopped.")


async def _serve(settings: Settings, *, make_token: bool) -> None:
    with ExitStack() as until_ready:
        until_ready.enter_context(busy("Starting Kroma"))
        async with running_stack(settings, make_token=make_token, report=complain) as stack:
            until_ready.close()
            _announce(stack, settings)
            await asyncio.Event().wait()


def _announce(stack: RunningStack, settings: Settings) -> None:
    if stack.killed is not None:
        say(
            f"The last start (process {stack.killed.pid}) was killed; its lock is stale and its data is kept."
        )
    say(f"Kroma is ready at {stack.address}")
    if stack.first_token is not None:
        say(f"Token: {stack.first_token}")
        say(f"Shown this once, kept in {token_path(settings.data_dir)}; `kroma token show` prints it again.")
    say("Ctrl-C stops it.")
