"""Imports every ``models.py``, so that the mappings are complete."""

from kroma.assets import models as assets
from kroma.audit import models as audit
from kroma.auth import models as auth
from kroma.costs import models as costs
from kroma.db.base import Base
from kroma.projects import models as projects
from kroma.quality import models as quality
from kroma.queue import models as queue
from kroma.runs import models as runs

__all__ = ["assets", "audit", "auth", "costs", "metadata", "projects", "quality", "queue", "runs"]

metadata = Base.metadata
