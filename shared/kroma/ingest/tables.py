"""Bulk writes over asyncpg, since SQLAlchemy has no COPY."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, Protocol, TypeAlias
from uuid import UUID

import msgspec

Row: TypeAlias = tuple[Any, ...]
"""Values in the order of ``Table.columns``; JSON already encoded to text."""


class BulkConnection(Protocol):
    """The used part of an asyncpg connection; the driver ships no types."""

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetch(self, query: str, *args: object) -> list[tuple[Any, ...]]: ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Sequence[Row], columns: Sequence[str]
    ) -> str: ...


class Table(msgspec.Struct, frozen=True):
    """The columns of a table that ingest writes, with their PostgreSQL types; the first is ``id``."""

    name: str
    columns: dict[str, str]

    @property
    def unnested(self) -> str:
        """One array parameter per column, as rows named ``n``."""
        # An array of jsonb has no codec in the driver, so it travels as text.
        types = ["text" if kind == "jsonb" else kind for kind in self.columns.values()]
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1))
        return f"unnest({arrays}) AS n({', '.join(self.columns)})"

    def incoming(self, column: str) -> str:
        """SQL for the new value of ``column``, in its own type."""
        return f"n.{column}::jsonb" if self.columns[column] == "jsonb" else f"n.{column}"


JOBS = Table(
    "run_jobs",
    {
        "id": "uuid",
        "run_id": "uuid",
        "ordinal": "int",
        "job_key": "text",
        "status": "text",
        "prompt_text": "text",
        "selected_candidate_index": "int",
        "final_asset_id": "uuid",
        "final_output": "text",
        "meta_json": "jsonb",
        "attempt": "int",
        "error": "text",
        "error_kind": "text",
        "error_code": "text",
        "started_at": "timestamptz",
        "finished_at": "timestamptz",
    },
)
CANDIDATES = Table(
    "run_candidates",
    {
        "id": "uuid",
        "job_id": "uuid",
        "candidate_index": "int",
        "status": "text",
        "output_asset_id": "uuid",
        "final_asset_id": "uuid",
        "output_path": "text",
        "final_output_path": "text",
        "rank_hard_failures": "int",
        "rank_soft_warnings": "int",
        "rank_avg_chroma_exceed": "numeric",
        "meta_json": "jsonb",
    },
)
ASSETS = Table(
    "assets",
    {
        "id": "uuid",
        "project_id": "uuid",
        "kind": "text",
        "storage_uri": "text",
        "rel_path": "text",
        "storage_backend": "text",
        "mime_type": "text",
        "width": "int",
        "height": "int",
        "size_bytes": "bigint",
        "sha256": "text",
        "run_id": "uuid",
        "job_id": "uuid",
        "candidate_id": "uuid",
        "metadata_json": "jsonb",
    },
)
LINKS = Table(
    "asset_links",
    {
        "id": "uuid",
        "project_id": "uuid",
        "parent_asset_id": "uuid",
        "child_asset_id": "uuid",
        "link_type": "text",
    },
)
REPORTS = Table(
    "quality_reports",
    {
        "id": "uuid",
        "project_id": "uuid",
        "run_id": "uuid",
        "job_id": "uuid",
        "candidate_id": "uuid",
        "asset_id": "uuid",
        "report_type": "text",
        "hard_failures": "int",
        "soft_warnings": "int",
        "avg_chroma_exceed": "numeric",
        "summary_json": "jsonb",
    },
)
COSTS = Table(
    "cost_events",
    {
        "id": "uuid",
        "project_id": "uuid",
        "run_id": "uuid",
        "job_id": "text",
        "provider_code": "text",
        "model_name": "text",
        "event_type": "text",
        "units": "numeric",
        "unit_cost_usd": "numeric",
        "total_cost_usd": "numeric",
        "currency": "text",
        "meta_json": "jsonb",
    },
)


async def insert_rows(connection: BulkConnection, table: Table, rows: Sequence[Row]) -> None:
    """COPY new rows in order."""
    if rows:
        await connection.copy_records_to_table(table.name, records=rows, columns=list(table.columns))


async def update_rows(
    connection: BulkConnection,
    table: Table,
    rows: Sequence[Row],
    *,
    replace: Sequence[str] = (),
    fill: Sequence[str] = (),
) -> None:
    """Update existing rows by id; unchanged rows are not written.

    Args:
        connection: Inside the caller's transaction.
        table: The table.
        rows: New values, one row per id.
        replace: Columns to overwrite.
        fill: Columns to write only if they are NULL.
    """
    if not rows:
        return
    values = {column: table.incoming(column) for column in replace}
    values |= {column: f"COALESCE(t.{column}, {table.incoming(column)})" for column in fill}
    changes = ", ".join(f"{column} = {value}" for column, value in values.items())
    before = ", ".join(f"t.{column}" for column in values)
    sql = (
        f"UPDATE {table.name} AS t SET {changes} FROM {table.unnested} "  # noqa: S608 - names from this module
        f"WHERE t.id = n.id AND ROW({before}) IS DISTINCT FROM ROW({', '.join(values.values())})"
    )
    await connection.execute(sql, *zip(*rows, strict=True))


# An input has no run id: it never takes a picture away from the run that made it, only adds what is missing.
# A stored checksum is never lost, and `storage_uri` stays, since the file may have been moved.
_MERGED_ASSETS = """
INSERT INTO assets AS a ({columns})
SELECT {values} FROM {rows}
ON CONFLICT (project_id, rel_path) DO UPDATE SET
  kind = CASE WHEN excluded.run_id IS NULL THEN a.kind ELSE excluded.kind END,
  mime_type = COALESCE(excluded.mime_type, a.mime_type),
  width = COALESCE(excluded.width, a.width),
  height = COALESCE(excluded.height, a.height),
  size_bytes = COALESCE(excluded.size_bytes, a.size_bytes),
  sha256 = COALESCE(excluded.sha256, a.sha256),
  run_id = COALESCE(excluded.run_id, a.run_id),
  job_id = CASE WHEN excluded.run_id IS NULL THEN a.job_id ELSE excluded.job_id END,
  candidate_id = CASE WHEN excluded.run_id IS NULL THEN a.candidate_id ELSE excluded.candidate_id END,
  metadata_json = a.metadata_json || excluded.metadata_json
RETURNING a.rel_path, a.id, a.xmax = 0
""".format(
    columns=", ".join(ASSETS.columns),
    values=", ".join(ASSETS.incoming(column) for column in ASSETS.columns),
    rows=ASSETS.unnested,
)

_MERGED_LINKS = (
    f"INSERT INTO asset_links ({', '.join(LINKS.columns)}) SELECT * FROM {LINKS.unnested} "  # noqa: S608 - as above
    "ON CONFLICT (project_id, parent_asset_id, child_asset_id, link_type) DO NOTHING"
)


class StoredAssets(NamedTuple):
    """The assets of a run."""

    ids: dict[str, UUID]
    """By path; an existing row keeps its id."""
    new: frozenset[UUID]
    """Ids of the inserted rows."""


async def merge_assets(connection: BulkConnection, rows: Sequence[Row]) -> StoredAssets:
    """Insert or update assets by path; paths must be distinct."""
    if not rows:
        return StoredAssets({}, frozenset())
    stored = await connection.fetch(_MERGED_ASSETS, *zip(*rows, strict=True))
    return StoredAssets(
        {path: asset_id for path, asset_id, _ in stored},
        frozenset(asset_id for _, asset_id, is_new in stored if is_new),
    )


async def merge_links(
    connection: BulkConnection, rows: Sequence[Row], *, new_assets: AbstractSet[UUID]
) -> None:
    """Insert missing links; those of a new child are certainly missing."""
    child = list(LINKS.columns).index("child_asset_id")
    await insert_rows(connection, LINKS, [row for row in rows if row[child] in new_assets])
    possibly_stored = [row for row in rows if row[child] not in new_assets]
    if possibly_stored:
        await connection.execute(_MERGED_LINKS, *zip(*possibly_stored, strict=True))
