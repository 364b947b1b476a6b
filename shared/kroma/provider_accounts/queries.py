"""Reading provider accounts."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.db.keyset import EVERYTHING, ListOrder, Page, Window, ascending
from kroma.projects.models import Project
from kroma.projects.slugs import normalised_slug, provider_code
from kroma.provider_accounts.errors import ProviderAccountNotFoundError
from kroma.provider_accounts.models import ProviderAccount

_BY_CODE = ListOrder("ProviderAccount", ascending(ProviderAccount.provider_code))


async def list_provider_accounts(
    session: AsyncSession, project_id: UUID, *, window: Window = EVERYTHING
) -> Page[ProviderAccount]:
    """The provider accounts of a project by code."""
    statement = select(ProviderAccount).where(ProviderAccount.project_id == project_id)
    return await _BY_CODE.page(session, statement, window, scope=project_id)


async def get_provider_account(
    session: AsyncSession, *, slug: str, code: str, lock: bool = False
) -> ProviderAccount:
    """A project's account of this provider, in the order of checks of contract 1.9.

    Args:
        session: The transaction to read in.
        slug: The project, as the path names it.
        code: The provider, as the path names it.
        lock: Keep others from changing or deleting the account until the transaction ends.

    Raises:
        FieldRequiredError: ``code`` cannot be normalised.
        ProviderAccountNotFoundError: The project or the account is unknown.
    """
    project_slug = normalised_slug(slug)
    if project_slug is None:
        raise ProviderAccountNotFoundError
    statement = (
        select(ProviderAccount)
        .join(Project, Project.id == ProviderAccount.project_id)
        .where(Project.slug == project_slug, ProviderAccount.provider_code == provider_code(code))
    )
    if lock:
        statement = statement.with_for_update(of=ProviderAccount)
    account = await session.scalar(statement)
    if account is None:
        raise ProviderAccountNotFoundError
    return account
