"""What a picture descends from and what descends from it, over all types of links."""

from typing import Final, NamedTuple
from uuid import UUID

from sqlalchemy import ARRAY, Integer, Uuid, any_, bindparam, select
from sqlalchemy.orm import InstrumentedAttribute

from kroma.assets.models import Asset, AssetLink
from kroma.db.prepared import Prepared
from kroma.db.reader import Query, Reader, RowMapper

MOST_RELATIVES: Final = 500
"""In each direction: a style reference has as many children as pictures were made after it."""
FARTHEST: Final = 32
"""Links between a picture and the last that is looked at."""


class Relative(NamedTuple):
    """A picture that is linked with another one, directly or over others."""

    asset: Asset
    link_type: str
    """Of the link to ``next_id``."""
    distance: int
    """Links between the two, from 1."""
    next_id: UUID
    """The asset on the way, one link nearer."""


class Family(NamedTuple):
    """All relatives in one direction, the nearest first."""

    relatives: list[Relative]
    is_cut: bool
    """Whether there are more than are listed."""


class _Edge(NamedTuple):
    asset_id: UUID
    link_type: str
    distance: int
    next_id: UUID


def _edges(near: InstrumentedAttribute[UUID], far: InstrumentedAttribute[UUID]) -> Prepared:
    return Prepared(
        select(far, near, AssetLink.link_type)
        .where(
            near == any_(bindparam("ids", type_=ARRAY(Uuid))),
            AssetLink.project_id == bindparam("project_id", type_=Uuid()),
        )
        .order_by(AssetLink.id)
        .limit(bindparam("most", type_=Integer()))
    )


_PARENTS: Final = _edges(AssetLink.child_asset_id, AssetLink.parent_asset_id)
_CHILDREN: Final = _edges(AssetLink.parent_asset_id, AssetLink.child_asset_id)
_rows = RowMapper(Asset)
_ASSETS: Final = Query(_rows, _rows.statement.where(Asset.id == any_(bindparam("ids", type_=ARRAY(Uuid)))))


async def list_ancestors(reader: Reader, asset: Asset) -> Family:
    """Everything that an asset was made of or after, the nearest first."""
    return await _family(reader, asset, _PARENTS)


async def list_descendants(reader: Reader, asset: Asset) -> Family:
    """Everything that was made of or after an asset, the nearest first."""
    return await _family(reader, asset, _CHILDREN)


async def _family(reader: Reader, asset: Asset, edges: Prepared) -> Family:
    # Level by level, each asset once: a circle of links comes to its end, and a long line is cut.
    found: dict[UUID, _Edge] = {}
    level: tuple[UUID, ...] = (asset.id,)
    distance, is_cut = 0, False
    while level and not is_cut:
        distance += 1
        rows = await reader.records(edges, ids=level, project_id=asset.project_id, most=MOST_RELATIVES + 1)
        new = {
            far: _Edge(far, link_type, distance, near)
            for far, near, link_type in reversed(rows)
            if far != asset.id and far not in found
        }
        is_cut = len(rows) > MOST_RELATIVES or len(found) + len(new) > MOST_RELATIVES
        is_cut = is_cut or (bool(new) and distance > FARTHEST)
        if distance <= FARTHEST:
            found |= dict(sorted(new.items(), key=lambda entry: entry[0].bytes))
        level = tuple(new)
    kept = list(found.values())[:MOST_RELATIVES]
    assets = {row.id: row for row in await _ASSETS.all(reader, ids=tuple(edge.asset_id for edge in kept))}
    relatives = [
        Relative(assets[edge.asset_id], edge.link_type, edge.distance, edge.next_id)
        for edge in kept
        if edge.asset_id in assets
    ]
    return Family(relatives, is_cut)
