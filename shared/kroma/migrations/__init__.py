"""The database schema: Alembic revisions in ``versions``, applied by ``run.py`` (``kroma migrate``).

A revision is never changed after its release. ``drift.py`` fails in ``make check`` when models and
migrations disagree.
"""
