"""Run logs: the record of one run, as a file in the project.

``schema.py`` defines version 2 and ``writer.py`` writes it. ``reader.py`` reads it (``current.py``) and both
generations of the original's logs (``legacy.py``) into the same ``entries.py``, for ``kroma.ingest``.
"""
