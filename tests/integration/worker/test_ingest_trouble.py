"""A run whose log cannot be ingested at once: tried again, noted, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from kroma.db.engine import Database
from kroma.ingest.service import ingest_log
from kroma.leases.renewer import LeaseRenewer
from kroma.pipeline.execution.sweep import list_due
from kroma.quality.models import QualityReport
from kroma.runlog.ids import stable_id
from kroma.runs.models import Run
from kroma.storage.base import ObjectStore, StoredObject
from kroma.storage.directory import DirectoryStore, DirectoryStores
from support.builders.factories import make_project
from support.harness.worker_harness import Studio, url_of

pytestmark = pytest.mark.timeout(120)

PRICE = Decimal("0.04")


class Wire:
    """The way to PostgreSQL, which can be cut."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.Task[None]] = set()
        self.port = 0

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for end in self._ends:
            end.cancel()
        await asyncio.gather(*self._ends, return_exceptions=True)

    def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._carry(reader, writer))
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()
            await asyncio.sleep(0)  # the loop closes sockets in its next round


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


class CuttingStore(DirectoryStore):
    """Cuts the wire when the run log has been written."""

    wire: Wire

    async def put(self, key: str, data: bytes, *, sha256: str | None = None) -> StoredObject:
        stored = await super().put(key, data, sha256=sha256)
        if key.startswith("runs/run_"):
            await self.wire.cut()
        return stored


class CuttingStores(DirectoryStores):
    def __init__(self, wire: Wire) -> None:
        super().__init__(Path("/"), allow_any_root=True)
        self._wire = wire

    def open(self, location: str, *, real_root: str | None = None) -> ObjectStore:  # noqa: ARG002
        store = CuttingStore(Path(location))
        store.wire = self._wire
        return store


@pytest.fixture
async def wire(studio: Studio) -> AsyncIterator[Wire]:
    """A studio whose worker reaches PostgreSQL by a wire, and whose leases are short."""
    url = make_url(url_of(studio.db))
    opened = Wire(url.host or "", url.port or 0)
    await opened.mend()
    by_wire = url.set(host="127.0.0.1", port=opened.port).render_as_string(hide_password=False)
    own, studio.db = studio.db, Database.connect(by_wire)
    studio.renewer = LeaseRenewer(
        by_wire,
        lease=timedelta(seconds=1),
        renew_every=timedelta(seconds=0.3),
        look_every=timedelta(seconds=0.1),
    )
    yield opened
    await studio.db.close()
    await opened.cut()
    studio.db = own


async def test_a_run_ends_by_another_worker_when_postgres_goes_away_before_the_ingest(
    studio: Studio, wire: Wire
) -> None:
    provider = studio.script(cost_usd=PRICE)
    run = await studio.trigger(["harbor.png"], candidates=1)
    whole, studio.stores = studio.stores, CuttingStores(wire)

    await studio.work()

    await wire.mend()
    studio.stores = whole
    left = (await studio.rows(run)).run
    assert (left.status, left.finished_at) == ("running", None)
    async with asyncio.timeout(30):
        while not (await studio.rows(run)).run.finished_at:
            studio.queue.messages = await list_due(studio.db)
            await studio.work()
            await asyncio.sleep(0.05)
    rows = await studio.rows(run)
    assert (rows.run.status, rows.run.stderr, rows.run.attempt) == ("ok", "", 2)
    assert len(provider.calls) == len(provider.charged) == 1
    assert [cost.total_cost_usd for cost in rows.costs] == [PRICE]
    assert [asset.kind for asset in rows.assets if asset.run_id == run.id] == ["job_final_output"]
    assert len(rows.reports) == 2
    assert (studio.root / (rows.run.run_log_path or "")).is_file()


async def refuse_reports(studio: Studio, *, times: int) -> None:
    """Make the database refuse quality reports so many times, as if it stumbled."""
    async with studio.db.transaction() as session:
        await session.execute(text("CREATE SEQUENCE refused"))
        await session.execute(
            text(f"""
                CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    IF nextval('refused') <= {times} THEN RAISE EXCEPTION 'it stumbles'; END IF;
                    RETURN NULL;
                END $$
            """)
        )
        await session.execute(
            text("CREATE TRIGGER refuse BEFORE INSERT ON quality_reports EXECUTE FUNCTION refuse()")
        )


async def ingest_again(studio: Studio, run: Run) -> None:
    data = (studio.root / (run.run_log_path or "")).read_bytes()
    await ingest_log(studio.db, project_id=studio.project.id, log_path=run.run_log_path or "", data=data)


async def test_an_ingest_that_stumbles_is_tried_again_and_leaves_no_note(studio: Studio) -> None:
    await refuse_reports(studio, times=2)

    rows = await studio.run_to_end(["harbor.png"], candidates=1)

    assert (rows.run.status, rows.run.stderr) == ("ok", "")
    assert len(rows.reports) == 2


async def test_an_ingest_that_is_given_up_is_noted_and_can_be_done_later(studio: Studio) -> None:
    await refuse_reports(studio, times=3)

    rows = await studio.run_to_end(["harbor.png"], candidates=1)

    assert rows.run.status == "ok"
    assert rows.run.stderr == (
        "Ingest was tried 3 times and failed: internal error; `kroma ingest` takes the run log again"
    )
    assert (rows.reports, rows.assets) == ([], [])
    assert [candidate.status for candidate in rows.candidates["style_1_harbor"]] == ["done"]
    await ingest_again(studio, rows.run)
    later = await studio.rows(rows.run)
    assert len(later.reports) == 2
    assert any(asset.kind == "job_final_output" for asset in later.assets)


async def test_a_log_that_can_never_be_ingested_is_tried_once(studio: Studio) -> None:
    run = await studio.trigger(["harbor.png"], candidates=1)
    async with studio.db.transaction() as session:
        other = await make_project(session, slug="other")
        taken = QualityReport(id=stable_id(run.id, "report"), project_id=other.id, report_type="output_guard")
        session.add(taken)

    await studio.work()

    rows = await studio.rows(run)
    assert rows.run.status == "ok"
    assert "Ingest was tried once and failed: " in rows.run.stderr
    async with studio.db.transaction() as session:
        await session.delete(taken)
    await ingest_again(studio, rows.run)
    assert len((await studio.rows(run)).reports) == 2
