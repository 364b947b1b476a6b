"""The prompt with which a chat model fills in settings (contract 3.5)."""

from datetime import datetime
from typing import Any, Final

import msgspec

from kroma.aside import aside
from kroma.bootstrap.content import Settings
from kroma.bootstrap.importer import get_import_project
from kroma.bootstrap.rows import read_settings
from kroma.bootstrap.snapshot import (
    SCHEMA_VERSION,
    ProjectSnapshot,
    SettingsSnapshot,
    shown_stamp,
    snapshot,
)
from kroma.db.base import utc_now
from kroma.db.engine import Database
from kroma.projects.models import Project

_SAMPLES: Final[dict[str, Any]] = {
    "provider_accounts": [
        {
            "provider_code": "openai",
            "display_name": "OpenAI",
            "account_ref": "[optional account or organization]",
            "base_url": "[optional address]",
            "enabled": True,
            "config_json": {},
        }
    ],
    "style_guides": [
        {
            "name": "Ink and wash",
            "instructions": "Soft ink lines, muted watercolour, paper texture.",
            "notes": "[optional notes]",
        }
    ],
    "characters": [
        {
            "name": "Mira",
            "description": "[optional description]",
            "prompt_text": "[optional text for prompts]",
        }
    ],
    "reference_sets": [
        {
            "name": "Mira's face",
            "description": "[optional description]",
            "items": [
                {
                    "label": "Front view",
                    "content_uri": "[optional address of a picture]",
                    "content_text": "[optional text; one of the two contents is needed]",
                    "sort_order": 0,
                    "metadata_json": {},
                }
            ],
        }
    ],
    "secrets": [{"provider_code": "openai", "secret_name": "api_key"}],
    "prompt_templates": [
        {"name": "Establishing shot", "template_text": "Wide view of {place} at {time}, no people."}
    ],
}
_RULES: Final = """\
- Provider codes are lower case: letters, digits, dash and underscore only.
- Leave out every section that should stay as it is.
- Keep arrays short: only what this project needs.
- Never write secret values, API keys or passwords anywhere.
- Secrets are metadata only, a provider code and a name. Leaving one out never deletes it.
- Every reference set needs an explicit "items" array, which replaces all items of that set; [] empties it.
- Keep the "id" of an item that stays; leave "id" out for a new one.
- "mode" is "merge" to add and overwrite by name, or "replace" to also delete what a section does not list."""


class BootstrapExport(msgspec.Struct, frozen=True, kw_only=True):
    """A project's settings, and the prompt that asks for better ones."""

    schema_version: str = SCHEMA_VERSION
    generated_at: str
    project: ProjectSnapshot
    settings: SettingsSnapshot
    expected_response: dict[str, Any]
    """An example of what to import."""
    prompt: str
    """For any chat model."""


async def export_settings(db: Database, *, slug: str) -> BootstrapExport:
    """The settings of a project with their prompt; no value of a secret is in it.

    Raises:
        ProjectNotFoundError: No project has this slug.
    """
    async with db.transaction() as session:
        project = await get_import_project(session, slug, lock=False)
        settings = await read_settings(session, project.id)
    return await aside(settings.count, _export, project, settings, utc_now())


def _export(of: Project, stored: Settings, now: datetime) -> BootstrapExport:
    project, settings = ProjectSnapshot.of(of), snapshot(stored, project_id=str(of.id))
    example: dict[str, Any] = {
        "mode": "merge",
        "settings": {
            "project": {"name": project.name, "description": project.description or "[optional description]"},
            **_SAMPLES,
        },
    }
    current = b'{"project":' + msgspec.json.encode(project) + b"," + msgspec.json.encode(settings)[1:]
    prompt = (
        f'You help to set up the comic project "{project.name}". Ask the author for what is missing.\n'
        "Return ONLY valid JSON, without any text around it, in this form:\n\n"
        f"{_pretty(msgspec.json.encode(example))}\n\n"
        f"Rules:\n{_RULES}\n\n"
        f"Current settings:\n\n{_pretty(current)}\n"
    )
    return BootstrapExport(
        generated_at=shown_stamp(now),
        project=project,
        settings=settings,
        expected_response=example,
        prompt=prompt,
    )


def _pretty(encoded: bytes) -> str:
    return msgspec.json.format(encoded, indent=2).decode()
