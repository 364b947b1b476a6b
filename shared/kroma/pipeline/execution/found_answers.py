"""What the stores hold of calls whose worker was lost."""

from uuid import UUID

from sqlalchemy import select

from kroma.db.engine import Database
from kroma.ledger.outcomes import Answer
from kroma.ledger.reaper import FindAnswer
from kroma.pipeline.execution.answer_store import find_note
from kroma.runs.models import Run
from kroma.storage.base import ProjectStores


def answer_finder(db: Database, stores: ProjectStores) -> FindAnswer:
    """Finds the note beside a bought picture, where the run's plan says that its files are."""

    async def find(run_id: UUID, call_id: UUID) -> Answer | None:
        async with db.transaction() as session:
            statement = select(Run.plan_json["project_root"].astext, Run.plan_json["real_root"].astext).where(
                Run.id == run_id
            )
            planned = (await session.execute(statement)).one_or_none()
        if planned is None or planned[0] is None:
            return None
        note = await find_note(stores.open(planned[0], real_root=planned[1]), run_id, call_id)
        return None if note is None else note.answer

    return find
