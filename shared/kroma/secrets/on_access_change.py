"""What else belongs to a change of how a project reaches a provider."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

AccessChanged: TypeAlias = Callable[[AsyncSession, UUID, str], Awaitable[None]]
"""Called in the transaction of the change with the project and the provider's code."""


async def nothing_else(session: AsyncSession, project_id: UUID, code: str) -> None:
    """For changes that nobody waits for."""
