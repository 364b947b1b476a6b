"""With whose credentials a project's bucket is reached, and whether they may go there."""

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.config import S3Access, Settings
from kroma.db.engine import Database
from kroma.db.ids import row_id
from kroma.outbound.guard import UrlGuard
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import read_secret
from kroma.sync.endpoints import SyncEndpoints
from kroma.sync.errors import KeyIncompleteError, OperatorsKeyError

PROVIDER_CODE: Final = "s3"
KEY_ID: Final = "access_key_id"
"""The name of a secret of the project, like the next two."""
KEY: Final = "secret_access_key"
TOKEN: Final = "session_token"  # noqa: S105 - a name, no token


async def bucket_access(
    db: Database, keyring: Keyring, settings: Settings, endpoints: SyncEndpoints
) -> tuple[S3Access, UrlGuard]:
    """The project's own key, else the operator's; and the guard that every connection passes.

    Whoever may write to a project chooses its bucket, endpoint and profile. So what the operator has in the
    environment, a profile or a role is used for the buckets that ``KROMA_SYNC_BUCKETS`` lists (all, where
    the API listens on loopback only) and goes to AWS or to an endpoint that ``KROMA_URL_ALLOW`` lists.

    Raises:
        KeyIncompleteError: The project has half a key.
        OperatorsKeyError: It has none, and the operator's is not for this bucket or endpoint.
        UrlRefusedError: The endpoint may not be called.
        OutboundError: It has no host now.
        SecretUnreadableError: The project's key does not open.
        MasterKeyFileError: The master key's file cannot be used.
    """
    guard = UrlGuard(settings.url_allow)
    async with db.transaction() as session:
        key_id, key, token = [
            await _secret(session, keyring, endpoints.project_id, name) for name in (KEY_ID, KEY, TOKEN)
        ]
    if (key_id is None) != (key is None):
        raise KeyIncompleteError(KEY_ID if key_id is None else KEY)
    if key_id is None:
        await _check_operators(settings, guard, endpoints)
    return S3Access(
        endpoint_url=endpoints.endpoint_url,
        region=endpoints.region,
        profile=endpoints.profile if key_id is None else None,
        access_key_id=key_id,
        secret_access_key=key,
        session_token=token if key_id is not None else None,
    ), guard


async def _secret(session: AsyncSession, keyring: Keyring, project_id: UUID, name: str) -> str | None:
    value = await read_secret(
        session, keyring, project_id=project_id, provider_code=PROVIDER_CODE, secret_name=name
    )
    return None if value is None else value.strip()


async def _check_operators(settings: Settings, guard: UrlGuard, endpoints: SyncEndpoints) -> None:
    *folders, _ = endpoints.prefix.rstrip("/").split("/")
    # Copies lie below the ids of their projects: with the operator's key one could write into another's.
    if any(row_id(folder) is not None for folder in folders):
        raise OperatorsKeyError("below a prefix that is a project's id")
    buckets = settings.sync.buckets
    if buckets is not None and endpoints.bucket not in buckets:
        raise OperatorsKeyError("for a bucket that KROMA_SYNC_BUCKETS does not list")
    if endpoints.endpoint_url is not None and not await guard.is_listed(endpoints.endpoint_url):
        raise OperatorsKeyError("at an endpoint that KROMA_URL_ALLOW does not list")
