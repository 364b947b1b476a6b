"""A project on a disk with a bucket, and hands to copy it, for tests."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select, text

from kroma.assets.models import Asset
from kroma.audit.models import AuditEvent
from kroma.config import Settings
from kroma.db.engine import Database
from kroma.leases.renewer import LeaseRenewer
from kroma.projects.models import Project, ProjectStorage
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import upsert_secret
from kroma.storage.directory import DirectoryStores
from kroma.sync.claim import claim_sync
from kroma.sync.models import SyncJob
from kroma.sync.runner import Synchronizer
from kroma.sync.service import SyncRequest, prepare_sync, request_sync
from support.builders.factories import make_project
from support.doubles.s3_double import S3Double
from support.harness.worker_harness import url_of
from support.servers.s3_server import KEY

LEASE = timedelta(seconds=30)


class Office:
    """Asks for syncs and carries them, as a worker would."""

    def __init__(self, db: Database, settings: Settings, project: Project) -> None:
        self.db = db
        self.settings = settings
        self.project = project
        self.root = settings.data_dir / project.slug
        self.stores = DirectoryStores(settings.data_dir, allow_any_root=False)
        self.keyring = Keyring(settings.master_key)
        self.renewer = LeaseRenewer(url_of(db), look_every=timedelta(milliseconds=50))
        self.syncs = self.synchronizer()

    def synchronizer(self, **options: Any) -> Synchronizer:
        return Synchronizer(
            db=self.db,
            stores=self.stores,
            keyring=self.keyring,
            settings=self.settings,
            write_every=timedelta(milliseconds=20),
            **options,
        )

    async def ask(self, **options: Any) -> SyncJob:
        notice = await prepare_sync(
            self.db, self.stores, slug=self.project.slug, request=SyncRequest(**options)
        )
        async with self.db.transaction() as session:
            return await request_sync(session, notice, actor=None)

    async def carry(self, row: SyncJob, *, worker: str = "worker-test") -> timedelta | None:
        claim = await claim_sync(self.db, row.id, worker=worker, lease=LEASE)
        assert claim is not None
        return await self.syncs.carry(self.renewer, claim)

    async def row(self, row: SyncJob) -> SyncJob:
        async with self.db.transaction() as session:
            return (await session.scalars(select(SyncJob).where(SyncJob.id == row.id))).one()

    async def synced(self, **options: Any) -> SyncJob:
        row = await self.ask(**options)
        await self.carry(row)
        return await self.row(row)

    async def set_storage(self, **values: Any) -> None:
        async with self.db.transaction() as session:
            storage = await session.scalar(
                select(ProjectStorage).where(ProjectStorage.project_id == self.project.id)
            )
            assert storage is not None
            for name, value in values.items():
                setattr(storage, name, value)

    async def own_key(self, **secrets: str) -> None:
        for name, value in (secrets or {"access_key_id": KEY, "secret_access_key": KEY}).items():
            await upsert_secret(
                self.db,
                self.keyring,
                slug=self.project.slug,
                code="s3",
                name=name,
                value=value,
                actor=None,
            )

    async def asset(self, rel_path: str) -> Asset:
        async with self.db.transaction() as session:
            return (await session.scalars(select(Asset).where(Asset.rel_path == rel_path))).one()

    async def trail(self) -> list[tuple[str, dict[str, Any]]]:
        async with self.db.transaction() as session:
            events = await session.scalars(select(AuditEvent).order_by(AuditEvent.created_at))
            return [
                (event.event_code, event.payload_json)
                for event in events
                if event.event_code.startswith("storage.sync")
            ]

    async def execute(self, sql: str) -> None:
        async with self.db.transaction() as session:
            await session.execute(text(sql))


async def open_office(db: Database, data_dir: Path, double: S3Double, bucket: str, **more: str) -> Office:
    """A project ``comic`` with two files, whose bucket is behind the double."""
    settings = Settings.from_environment(
        {"KROMA_URL_ALLOW": "127.0.0.1", "KROMA_BACKEND_BIND": "0.0.0.0:8788", **more}, data_dir=data_dir
    )
    root = data_dir / "comic"
    (root / "scenes").mkdir(parents=True)
    (root / "scenes" / "a.png").write_bytes(b"one")
    (root / "scenes" / "b.png").write_bytes(b"two")
    async with db.transaction() as session:
        project = await make_project(session, slug="comic", root=root)
        for name in ("a", "b"):
            path = f"scenes/{name}.png"
            session.add(
                Asset(
                    project_id=project.id,
                    kind="input",
                    rel_path=path,
                    storage_uri=(root / path).as_uri(),
                )
            )
    office = Office(db, settings, project)
    await office.set_storage(
        s3_enabled=True, s3_bucket=bucket, s3_region="us-east-1", s3_endpoint_url=double.endpoint
    )
    await office.own_key()
    return office


def with_buckets(settings: Settings, *names: str) -> Settings:
    """The operator's own credentials, for these buckets."""
    sync = msgspec.structs.replace(settings.sync, buckets=frozenset(names))
    return msgspec.structs.replace(settings, sync=sync)
