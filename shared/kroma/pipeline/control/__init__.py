"""What users request of the pipeline; each module serves one request of the API.

Start at ``trigger.py``: check, plan, insert, commit, notify the workers. ``retry.py`` and ``rerun.py``
start from an earlier run (``derived_run.py``), ``select.py`` and ``baseline.py`` record a user's choice,
``cancel.py`` and ``pause.py`` stop work, ``progress.py`` and ``wait.py`` read a run's progress.
"""
