"""Run logs become rows: assets, candidates, quality reports and cost events.

Start at ``service.py``. Ingesting a log again changes nothing, so a failed ingest is simply repeated.
``rows.py`` computes the rows without I/O, ``write.py`` and ``tables.py`` write them with COPY.
"""
