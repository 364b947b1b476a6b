"""From a trigger to a finished run, in three layers; each imports only the ones below it.

``control`` is what people ask for: trigger, cancel, retry, rerun, select, lock a baseline, pause.
``execution`` is what workers do: claim a job, apply its steps, finish the run.
``planning`` turns a request into a frozen plan, and stores nothing.

docs/architecture.md follows one run through all of them. Start at ``control/trigger.py``.
"""
