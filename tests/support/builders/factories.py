"""Pictures and rows that many tests start from."""

import io
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from kroma.projects.models import AppUser, Project, ProjectStorage

Color = tuple[int, int, int] | tuple[int, int, int, int]

# What ``POST /api/projects`` with the name "Comic" leaves. A trigger wants a root to be there before its use.
_POSTED_PROJECT = (
    text("""
    WITH owner AS (
        INSERT INTO app_users (id, username, display_name) VALUES (gen_random_uuid(), 'local', 'Local User')
        ON CONFLICT (username) DO UPDATE SET updated_at = now() RETURNING id
    ), project AS (
        INSERT INTO projects (id, owner_user_id, slug, name)
        SELECT gen_random_uuid(), id, 'comic', 'Comic' FROM owner RETURNING id
    ), root AS (
        INSERT INTO project_roots (id, project_id, path)
        SELECT gen_random_uuid(), id, 'var/projects/comic' FROM project
    )
    INSERT INTO audit_events (id, project_id, event_code, payload_json)
    SELECT gen_random_uuid(), id, 'project.upsert', jsonb_build_object('project_id', id, 'slug', 'comic')
    FROM project
    """),
    text("""
    INSERT INTO project_storage (id, project_id, local_real_root)
    SELECT gen_random_uuid(), id, 'var/projects/comic' FROM projects WHERE slug = 'comic'
    """),
)


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    """The picture as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def png(width: int = 64, height: int = 48, color: Color = (128, 128, 128)) -> bytes:
    """A PNG of one color; four numbers give it an alpha channel."""
    return encoded(Image.new("RGB" if len(color) == 3 else "RGBA", (width, height), color))


def jpeg(width: int = 64, height: int = 48, color: tuple[int, int, int] = (128, 128, 128)) -> bytes:
    """A JPEG of one color."""
    return encoded(Image.new("RGB", (width, height), color), "JPEG", quality=92)


def noise_png(width: int = 64, height: int = 48, *, seed: int = 0) -> bytes:
    """A PNG of random pixels, the same for the same seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def scene_png(width: int = 192, height: int = 128, *, seed: int = 0) -> bytes:
    """A PNG with something to see: a sky, a ground, a sun and a few boxes."""
    random = np.random.default_rng(seed)
    rows = np.linspace(0, 1, height)[:, None]
    pixels = np.empty((height, width, 3), dtype=np.float64)
    pixels[:] = (1 - rows[..., None]) * np.array([120, 170, 230]) + rows[..., None] * np.array(
        [220, 220, 200]
    )
    pixels[height * 2 // 3 :] = (90, 120, 70)
    for _ in range(6):
        left, top = (
            int(random.integers(0, width * 3 // 4)),
            int(random.integers(height // 3, height * 3 // 4)),
        )
        pixels[top : top + height // 5, left : left + width // 7] = random.integers(30, 220, 3)
    y, x = np.ogrid[:height, :width]
    pixels[(y - height // 5) ** 2 + (x - width * 4 // 5) ** 2 < (height // 8) ** 2] = (250, 230, 120)
    return encoded(Image.fromarray(pixels.astype(np.uint8)))


async def make_user(session: AsyncSession, *, username: str | None = None) -> AppUser:
    """A user row."""
    name = username or f"user_{uuid4().hex[:8]}"
    user = AppUser(username=name, display_name=name)
    session.add(user)
    await session.flush()
    return user


async def make_project(
    session: AsyncSession, *, slug: str = "comic", root: Path | None = None, user: AppUser | None = None
) -> Project:
    """A project row with its owner; ``root`` is the folder of its files, else the contract's default."""
    owner = user or await make_user(session)
    project = Project(owner_user_id=owner.id, slug=slug, name=slug.title())
    session.add(project)
    await session.flush()
    session.add(ProjectStorage(project_id=project.id, local_project_root=None if root is None else str(root)))
    await session.flush()
    return project


async def insert_posted_project(session: AsyncSession) -> str:
    """The rows that a POST of the project "Comic" leaves; gives its slug."""
    for statement in _POSTED_PROJECT:
        await session.execute(statement)
    return "comic"
