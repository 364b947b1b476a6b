"""What a caller's path means inside a project, before any disk is asked."""

from collections.abc import Iterable

from kroma.storage.errors import OutsideProjectError, UnusableNameError


def relative_key(ref: str, *, roots: tuple[str, ...]) -> str:
    """The key of a path that is relative to the project, or absolute below one of ``roots``.

    The key names the same place with forward slashes and no ``.`` segments; the project itself is ``""``.

    Raises:
        OutsideProjectError: It is absolute elsewhere, or has a ``..`` segment or a NUL.
        UnusableNameError: It is no UTF-8, so that neither a row nor a reply could hold it.
    """
    refuse_undecodable(ref)
    if "\0" in ref:
        raise OutsideProjectError(ref.replace("\0", "\\0"))
    segments = [segment for segment in ref.split("/") if segment not in {"", "."}]
    # Even one that would stay inside: where `..` leads is the file system's answer, not the text's.
    if ".." in segments:
        raise OutsideProjectError(ref)
    if not ref.startswith("/"):
        return "/".join(segments)
    for root in roots:
        base = [segment for segment in root.split("/") if segment]
        if segments[: len(base)] == base:
            return "/".join(segments[len(base) :])
    raise OutsideProjectError(ref)


def in_listing_order(keys: Iterable[str]) -> list[str]:
    """By name in byte order, folder by folder: how a walk through a disk finds them."""
    return sorted(keys, key=lambda key: [name.encode() for name in key.split("/")])


def refuse_undecodable(name: str) -> None:
    """Pass only names that are UTF-8.

    Raises:
        UnusableNameError: The name holds bytes that are not.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UnusableNameError(name) from None
