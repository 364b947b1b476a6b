"""A worker's dispatcher and an API beside an agent, all real, in one process."""

from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import func, select, update

from kroma.config import Settings
from kroma.cpu import CpuPool
from kroma.db.engine import Database
from kroma.instructions import service
from kroma.instructions.dispatch import Dispatcher
from kroma.instructions.models import AgentInstruction, AgentInstructionEvent
from kroma.instructions.signature import callback_signer
from kroma.instructions.sweep import fail_spent_instructions, list_due_instructions
from kroma.leases.sweep import end_spent
from kroma.outbound.client import OutboundClient
from kroma.outbound.guard import UrlGuard
from kroma.projects.models import Project
from kroma.providers import open_providers
from kroma.resources import Resources
from kroma.secrets.keyring import Keyring
from kroma.secrets.service import read_secret, upsert_secret
from kroma.storage.directory import DirectoryStores
from kroma_api.app import create_app
from support.doubles.agent_server import AgentServer
from support.doubles.memory_queue import MemoryTaskQueue


class AgentHarness:
    """A project with hands to send its instructions."""

    def __init__(self, db: Database, project: Project, agent: AgentServer, data_dir: Path) -> None:
        self.db = db
        self.project = project
        self.agent = agent
        self.data_dir = data_dir
        self.queue = MemoryTaskQueue()
        self.variables: dict[str, str] = {}
        self.configure(KROMA_AGENT_API_URL=agent.url, KROMA_AGENT_API_TOKEN="global-token")
        self._clients: list[OutboundClient] = []

    def configure(self, **variables: str) -> None:
        """The environment from now on; nothing waits long, and loopback may be called."""
        self.variables = {
            "KROMA_URL_ALLOW": "127.0.0.1",
            "KROMA_PUBLIC_URL": "http://kroma.test",
            "KROMA_AGENT_RETRY_PAUSE_S": "0.1",
            **variables,
        }

    @property
    def settings(self) -> Settings:
        return Settings.from_environment(self.variables, data_dir=self.data_dir)

    def dispatcher(self) -> Dispatcher:
        settings = self.settings
        client = OutboundClient(UrlGuard(settings.url_allow))
        self._clients.append(client)
        return Dispatcher(
            db=self.db,
            client=client,
            options=settings.agent,
            public_url=settings.public_url,
            signer=callback_signer(settings),
            read_secret=partial(read_secret, keyring=Keyring(settings.master_key)),
        )

    def api(self) -> httpx.AsyncClient:
        """A client without a token of an API that demands one."""
        settings = self.settings
        cpu = CpuPool(1)
        app = create_app(
            Resources(
                settings=settings,
                db=self.db,
                queue=self.queue,
                stores=DirectoryStores(self.data_dir, allow_any_root=True),
                keyring=Keyring(settings.master_key),
                cpu=cpu,
                providers=open_providers(cpu, settings),
            )
        )
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://kroma.test")

    async def store(self, name: str, value: str) -> None:
        """A secret of the project, for its agent."""
        await upsert_secret(
            self.db,
            Keyring(self.settings.master_key),
            slug=self.project.slug,
            code="agent_api",
            name=name,
            value=value,
            actor=None,
        )

    async def confirmed(self, text: str = "Darken scene 3") -> UUID:
        """A confirmed instruction."""
        made = await service.create_instruction(
            self.db, slug=self.project.slug, instruction_text=text, actor=None
        )
        await self.confirm(made.instruction.id)
        return made.instruction.id

    async def confirm(self, instruction_id: UUID) -> None:
        await service.confirm_instruction(
            self.db,
            self.queue,
            slug=self.project.slug,
            instruction_id=str(instruction_id),
            message=None,
            actor=None,
        )

    async def cancel(self, instruction_id: UUID) -> None:
        await service.cancel_instruction(
            self.db, slug=self.project.slug, instruction_id=str(instruction_id), message=None, actor=None
        )

    async def send(self, instruction_id: UUID) -> AgentInstruction:
        """One attempt of a worker."""
        await self.dispatcher().dispatch(instruction_id, worker="worker-1")
        return await self.row(instruction_id)

    async def sweep(self) -> list[UUID]:
        """What a sweep finds due."""
        options = self.settings.agent
        await end_spent(self.db, partial(fail_spent_instructions, options=options))
        return [message.instruction_id for message in await list_due_instructions(self.db, options)]

    async def put(self, instruction_id: UUID, **values: Any) -> None:
        async with self.db.transaction() as session:
            await session.execute(
                update(AgentInstruction).where(AgentInstruction.id == instruction_id).values(**values)
            )

    async def let_pass(self, instruction_id: UUID, column: str) -> None:
        """Move a stamp of the row into the past."""
        await self.put(instruction_id, **{column: func.now() - func.make_interval(0, 0, 0, 1)})

    async def row(self, instruction_id: UUID) -> AgentInstruction:
        async with self.db.transaction() as session:
            return await session.get_one(AgentInstruction, instruction_id, populate_existing=True)

    async def events(self, instruction_id: UUID) -> list[tuple[str, str | None]]:
        """What happened after the confirmation."""
        async with self.db.transaction() as session:
            rows = await session.scalars(
                select(AgentInstructionEvent)
                .where(AgentInstructionEvent.instruction_id == instruction_id)
                .order_by(AgentInstructionEvent.seq)
            )
            listed = [(row.event_type, row.message) for row in rows]
        assert [kind for kind, _ in listed[:2]] == ["created", "confirmed"]
        return listed[2:]

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
