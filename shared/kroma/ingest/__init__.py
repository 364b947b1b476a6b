"""Turns run logs into rows: assets, candidates, quality reports and cost events.

Start at ``service.py``. Ingesting is idempotent, so a failed ingest is simply repeated. ``rows.py`` computes
the rows without I/O, ``write.py`` and ``tables.py`` write them with COPY.
"""
