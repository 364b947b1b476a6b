"""Imports every ``models.py``, so that the mappings are complete."""

from kroma.assets import models as assets
from kroma.audit import models as audit
from kroma.auth import models as auth
from kroma.baselines import models as baselines
from kroma.bootstrap import models as bootstrap
from kroma.characters import models as characters
from kroma.chat import models as chat
from kroma.costs import models as costs
from kroma.db.base import Base
from kroma.exports import models as exports
from kroma.idempotency import models as idempotency
from kroma.instructions import models as instructions
from kroma.ledger import models as ledger
from kroma.projects import models as projects
from kroma.prompt_templates import models as prompt_templates
from kroma.provider_accounts import models as provider_accounts
from kroma.quality import models as quality
from kroma.queue import models as queue
from kroma.reference_sets import models as reference_sets
from kroma.runs import models as runs
from kroma.secrets import models as secrets
from kroma.spend import models as spend
from kroma.style_guides import models as style_guides
from kroma.sync import models as sync
from kroma.workers import models as workers

__all__ = [
    "assets",
    "audit",
    "auth",
    "baselines",
    "bootstrap",
    "characters",
    "chat",
    "costs",
    "exports",
    "idempotency",
    "instructions",
    "ledger",
    "metadata",
    "projects",
    "prompt_templates",
    "provider_accounts",
    "quality",
    "queue",
    "reference_sets",
    "runs",
    "secrets",
    "spend",
    "style_guides",
    "sync",
    "workers",
]

metadata = Base.metadata
