"""A project that uses the paid provider, and the provider's double, which responds after a fixed delay."""

import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from stack import Stack

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.pipeline.control.trigger import trigger_run
from kroma.pipeline.planning.run_spec import RunSpec
from kroma.projects.service import ProjectDraft, upsert_project
from kroma.provider_accounts.service import upsert_provider_account
from kroma.providers import open_providers
from kroma.queue.arq import ArqTaskQueue
from kroma.runs.models import Run, RunMode
from kroma.storage.directory import DirectoryStores, resolve_root
from style_references import style_reference

DOUBLE: Final = Path(__file__).parent.parent / "tests" / "support" / "doubles" / "openai_double.py"
SLUG: Final = "bench"
ENVIRONMENT: Final = {"OPENAI_API_KEY": "sk-bench", "KROMA_URL_ALLOW": "127.0.0.1"}


class Double:
    """The provider's double, running in a separate process."""

    def __init__(self, url: str, bills: Path) -> None:
        self.url = url
        self._bills = bills

    def accepted_at(self) -> list[float]:
        """When each call was accepted, as Unix times in order."""
        lines = self._bills.read_bytes().splitlines()
        return [datetime.fromisoformat(msgspec.json.decode(line)["at"]).timestamp() for line in lines]


@contextmanager
def running_double(folder: Path, *, delay_s: float) -> Generator[Double]:
    """Start a double that responds to every call after ``delay_s``."""
    bills, script = folder / "bills.jsonl", folder / "script.json"
    script.write_bytes(msgspec.json.encode([{"times": None, "delay_after_s": delay_s}]))
    command = [sys.executable, str(DOUBLE), "--port", "0", "--state", str(bills), "--script", str(script)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield Double(process.stdout.readline().split()[-1], bills)
    finally:
        process.terminate()
        process.wait(timeout=20)
        process.stdout.close()


class Buyer:
    """Triggers runs of the project."""

    def __init__(self, stack: Stack) -> None:
        self.db = Database.connect(stack.database_url)
        self._queue = ArqTaskQueue(stack.redis_url)
        self._settings = Settings.from_environment(ENVIRONMENT, data_dir=stack.folder)
        self._stores = DirectoryStores(stack.folder, allow_any_root=False)
        self._providers = open_providers(CpuPool(1), self._settings)

    async def prepare(self, scenes: Sequence[str], *, base_url: str) -> None:
        """Create the project with its pictures and the URL of the double."""
        await upsert_project(self.db, self._stores, ProjectDraft.checked(name=SLUG), actor=None)
        await upsert_provider_account(self.db, slug=SLUG, code="openai", base_url=base_url, actor=None)
        root = resolve_root(self._settings.data_dir, SLUG, None)
        root.mkdir(parents=True, exist_ok=True)
        for scene in scenes:
            (root / scene).write_bytes(style_reference("noir ink", size=(160, 200)))

    async def trigger(self, scenes: Sequence[str], *, candidates: int) -> Run:
        """Trigger one run with the spend confirmed."""
        spec = RunSpec(
            mode=RunMode.RUN,
            scene_refs=tuple(scenes),
            candidates=candidates,
            provider="openai",
            quality="low",
            size="1024x1024",
        )
        return await trigger_run(
            self.db,
            self._queue,
            self._stores,
            self._settings,
            slug=SLUG,
            spec=spec,
            providers=self._providers,
            cpu=CpuPool(1),
        )

    async def close(self) -> None:
        for provider in self._providers.values():
            await provider.close()
        await self._queue.close()
        await self.db.close()
