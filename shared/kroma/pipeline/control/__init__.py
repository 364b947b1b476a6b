"""What people ask of the pipeline; each module is one request of the API.

Start at ``trigger.py``: check, plan, insert, commit, notify the workers. ``retry.py`` and ``rerun.py``
start from an earlier run (``derived_run.py``), ``select.py`` and ``baseline.py`` record a person's choice,
``cancel.py`` and ``pause.py`` stop work, ``progress.py`` and ``wait.py`` read how far it is.
"""
