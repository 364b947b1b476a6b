"""Run logs: the record of one run, as a file in the project.

``schema.py`` is version 2, ``writer.py`` writes it, ``reader.py`` reads it and both generations of the
original's logs (``legacy.py``) as the same ``entries.py``. Pure code: ``kroma.ingest`` makes rows of it.
"""
