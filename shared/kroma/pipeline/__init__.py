"""From a trigger to a finished run, in three layers; each imports only those below it.

``control`` has what users request: trigger, cancel, retry, rerun, select, lock a baseline, pause.
``execution`` has what workers do: claim a job, apply its steps, finish the run.
``planning`` turns a request into a frozen plan and stores nothing.

docs/architecture.md follows one run through all three. Start at ``control/trigger.py``.
"""
