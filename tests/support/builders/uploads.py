"""Pictures on their way into a project over HTTP, and what they leave there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from httpx import AsyncClient, Response

BOUNDARY = "kroma-test"
FORM_TYPE = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}

NamedBytes = tuple[str, bytes]


async def upload(client: AsyncClient, slug: str, *files: NamedBytes, **fields: str) -> Response:
    """Send files as `file`; the fields come before them."""
    parts = [("file", (name, data)) for name, data in files]
    return await client.post(f"/api/projects/{slug}/assets", files=parts, data=fields)


async def uploaded(client: AsyncClient, slug: str, *files: NamedBytes, **fields: str) -> list[dict[str, Any]]:
    """The assets of an upload that succeeds."""
    response = await upload(client, slug, *files, **fields)
    assert response.status_code == 200, response.text
    return response.json()["assets"]


def part(name: str, data: bytes, *, filename: str | None = None, more: str = "") -> bytes:
    """One part of a form, as bytes."""
    named = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n{more}\r\n'
    return head.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


async def send_form(client: AsyncClient, slug: str, body: Any, **headers: str) -> Response:
    """Send a form that was made by hand, in one piece or several."""
    return await client.post(f"/api/projects/{slug}/assets", content=body, headers={**FORM_TYPE, **headers})


def files_in(root: Path, *, without: Sequence[str] = ()) -> list[str]:
    """Every file of a project's folder, hidden ones too."""
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(name for name in found if not name.startswith(tuple(without)))


def problem(response: Response) -> tuple[int, str, str]:
    """Status, code and text of a failure."""
    body = response.json()
    return response.status_code, body["error_code"], body["error"]
