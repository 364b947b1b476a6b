"""The command line: one module per command, registered in ``main.py``.

Only ``console.py`` writes to the terminal. Commands import what they need when they run, so ``kroma
--help`` stays fast. To add a command, copy ``ingest.py`` and register it in ``main.py``.
"""
