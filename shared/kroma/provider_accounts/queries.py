"""Reading provider accounts."""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, Listing, Page, Window, ascending
from kroma.db.reader import Reader
from kroma.projects.contents import find_in_project
from kroma.projects.slugs import normalized_slug, provider_code
from kroma.provider_accounts.errors import ProviderAccountNotFoundError
from kroma.provider_accounts.models import ProviderAccount

_LISTED = Listing(ProviderAccount, ascending(ProviderAccount.provider_code), of=ProviderAccount.project_id)


async def list_provider_accounts(
    reader: Reader, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ProviderAccount]:
    """The provider accounts of a project by code."""
    return await _LISTED.page(reader, window, of=project_id)


async def get_provider_account(
    source: AsyncSession | Reader, *, slug: str, code: str, lock: bool = False
) -> ProviderAccount:
    """A project's account of this provider, in the order of checks of contract 1.9.

    Args:
        source: A session for an entity, which may be changed, or a reader for its values.
        code: The provider, as the path names it.
        lock: Keep others from changing or deleting the account until the transaction ends.

    Raises:
        FieldRequiredError: ``code`` cannot be normalized.
        ProviderAccountNotFoundError: The project or the account is unknown.
    """
    if normalized_slug(slug) is None:
        raise ProviderAccountNotFoundError
    account = await find_in_project(
        source, ProviderAccount, slug=slug, lock=lock, provider_code=provider_code(code)
    )
    if account is None:
        raise ProviderAccountNotFoundError
    return account
