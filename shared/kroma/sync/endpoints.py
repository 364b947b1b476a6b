"""Which folder is copied, and where to: the contract's preconditions, in its order (docs/sync.md)."""

import asyncio
import os
from uuid import UUID

import msgspec

from kroma.projects.models import DEFAULT_S3_PREFIX, Project, ProjectStorage
from kroma.projects.storage import locate_project, refuse_unregistered
from kroma.storage.base import ProjectStores
from kroma.sync.errors import (
    AlreadyInBucketError,
    BucketNotNamedError,
    ProjectRootMissingError,
    ProjectRootNotFolderError,
    SyncDisabledError,
    WrongPrefixError,
)
from kroma.sync.models import SyncKind


class SyncEndpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Both ends of a copy."""

    project_id: UUID
    slug: str
    root: str
    """As the project's storage shows it."""
    registered_root: str | None
    """As it is registered; None where it overlaps another project's."""
    bucket: str
    prefix: str
    """Of every key, with a slash at its end."""
    region: str | None
    profile: str | None
    endpoint_url: str | None

    @property
    def destination(self) -> str:
        """``s3://<bucket>/<prefix>/<project id>/``."""
        return f"s3://{self.bucket}/{self.prefix}"


def find_endpoints(stores: ProjectStores, project: Project, storage: ProjectStorage | None) -> SyncEndpoints:
    """The ends of a project's copy; the disk is not looked at.

    Raises:
        AlreadyInBucketError: This installation keeps no files on disks.
        SyncDisabledError: S3 is switched off for the project.
        BucketNotNamedError: It names no bucket.
        WrongPrefixError: Its prefix makes no key.
    """
    if stores.hosted:
        raise AlreadyInBucketError
    if storage is None or not storage.s3_enabled:
        raise SyncDisabledError
    if not storage.s3_bucket:
        raise BucketNotNamedError
    return SyncEndpoints(
        project_id=project.id,
        slug=project.slug,
        root=locate_project(stores, project.id, project.slug, storage),
        registered_root=storage.local_real_root,
        bucket=storage.s3_bucket,
        prefix=_prefix(storage.s3_prefix, project.id),
        region=storage.s3_region,
        profile=storage.s3_profile,
        endpoint_url=storage.s3_endpoint_url,
    )


async def check_root(stores: ProjectStores, endpoints: SyncEndpoints, kind: SyncKind) -> None:
    """Look whether the local end can be used; a restore makes what is missing.

    Raises:
        RootNotAllowedError: It lies where this installation keeps no projects.
        RootMovedError: It leads elsewhere than when it was set.
        RootNotRegisteredError: It overlaps that of another project.
        ProjectRootMissingError: There is none.
        ProjectRootNotFolderError: It is a file.
    """
    store = stores.open(endpoints.root, real_root=endpoints.registered_root)
    await refuse_unregistered(stores, store, endpoints.registered_root)
    if await store.is_folder(""):
        return
    if await asyncio.to_thread(os.path.lexists, endpoints.root):
        raise ProjectRootNotFolderError(endpoints.root)
    if kind is not SyncKind.RESTORE:
        raise ProjectRootMissingError(endpoints.root)


def _prefix(stored: str | None, project_id: UUID) -> str:
    text = (stored or DEFAULT_S3_PREFIX).strip("/")
    if text and any(segment in {"", ".", ".."} for segment in text.split("/")):
        raise WrongPrefixError
    return f"{text}/{project_id}/" if text else f"{project_id}/"
