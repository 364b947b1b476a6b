"""``kroma resolve-call``."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from kroma.cli.connections import open_database
from kroma.cli.console import say
from kroma.cli.options import DataDir
from kroma.config import Settings

if TYPE_CHECKING:
    from kroma.ledger.service import ResolvedCall


def resolve_call(
    call: Annotated[str, typer.Argument(metavar="CALL", help="The call id from the tool's error message.")],
    resolution: Annotated[str, typer.Argument(help="charged or not_charged.")],
    cost_usd: Annotated[
        float | None, typer.Option(min=0, help="Cost of a charged call; defaults to its estimated price.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Mark a tool's paid call with a lost response as charged or not charged, so it can be repeated."""
    settings = Settings.from_environment(data_dir=data_dir)
    resolved = asyncio.run(_resolve(settings, call, resolution, cost_usd))
    say(f"Provider call {resolved.call.id} is {resolved.call.status} ({resolved.call.resolution})")


async def _resolve(settings: Settings, call: str, resolution: str, cost_usd: float | None) -> "ResolvedCall":
    from kroma.ledger import service

    async with open_database(settings) as db:
        return await service.resolve_call(
            db, slug=None, call_id=call, resolution=resolution, cost_usd=cost_usd, actor=None
        )
