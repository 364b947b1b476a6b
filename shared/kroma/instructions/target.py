"""Where a project's instructions go."""

from collections.abc import Awaitable
from typing import Final, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import ColumnElement, exists, true
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import AgentOptions
from kroma.instructions.models import AgentInstruction
from kroma.secrets.models import ProjectSecret

PROVIDER_CODE: Final = "agent_api"
URL_NAME: Final = "url"
TOKEN_NAME: Final = "token"  # noqa: S105 - the name of a secret, not one
MISSING_URL: Final = "missing_agent_api_url"


class SecretReader(Protocol):
    """Opens a project's secret; None when there is none, SecretUnreadableError when it does not open."""

    def __call__(
        self, session: AsyncSession, *, project_id: UUID, provider_code: str, secret_name: str
    ) -> Awaitable[str | None]: ...


class Target(msgspec.Struct, frozen=True):
    """An agent's address and the token it takes."""

    url: str
    token: str | None


async def find_target(
    session: AsyncSession, project_id: UUID, *, options: AgentOptions, read_secret: SecretReader
) -> Target | None:
    """The settings' address, else the project's; the token likewise.

    The settings' token goes nowhere but to the settings' address: a project that chose the
    address could otherwise read it.

    Raises:
        SecretUnreadableError: No key at hand opens the address or the token.
    """

    async def secret(name: str) -> str | None:
        return await read_secret(
            session, project_id=project_id, provider_code=PROVIDER_CODE, secret_name=name
        )

    if options.url is not None:
        return Target(options.url, options.token or await secret(TOKEN_NAME))
    url = await secret(URL_NAME)
    return None if url is None else Target(url, await secret(TOKEN_NAME))


def has_target(options: AgentOptions) -> ColumnElement[bool]:
    """Whether an address is stored for the instruction of the outer query; it may not open."""
    if options.url is not None:
        return true()
    return exists().where(
        ProjectSecret.project_id == AgentInstruction.project_id,
        ProjectSecret.provider_code == PROVIDER_CODE,
        ProjectSecret.secret_name == URL_NAME,
        ProjectSecret.secret_value != "",
    )
