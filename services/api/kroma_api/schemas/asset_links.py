"""Bodies of ``/api/projects/{slug}/asset-links``."""

import msgspec
from msgspec import UNSET

from kroma_api.schemas.reply import Id, ListReply, Reply, RequiredText, RowView, Stamp


class CreateAssetLinkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``POST /api/projects/{slug}/asset-links``."""

    parent_asset_id: RequiredText = UNSET
    """The asset it came from, of the same project."""
    child_asset_id: RequiredText = UNSET
    """The asset it led to, of the same project; not the parent."""
    link_type: str | None = None
    """``derived_from`` (when absent), ``variant_of``, ``mask_for`` or ``reference_of``."""


class ChangeAssetLinkRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Body of ``PUT /api/projects/{slug}/asset-links/{link_id}``; at least one field."""

    parent_asset_id: str | None = None
    """The asset it came from."""
    child_asset_id: str | None = None
    """The asset it led to."""
    link_type: str | None = None
    """``derived_from``, ``variant_of``, ``mask_for`` or ``reference_of``."""


class AssetLinkView(RowView, frozen=True, kw_only=True):
    """A typed edge from a parent picture to its child."""

    id: Id
    project_id: Id
    parent_asset_id: Id
    child_asset_id: Id
    link_type: str
    """``derived_from``, ``variant_of``, ``mask_for`` or ``reference_of``."""
    created_at: Stamp
    updated_at: Stamp


class ListAssetLinksResponse(ListReply, frozen=True, kw_only=True):
    """Asset links, last changed first."""

    asset_links: list[AssetLinkView]


class AssetLinkResponse(Reply, frozen=True, kw_only=True):
    """One asset link."""

    asset_link: AssetLinkView
