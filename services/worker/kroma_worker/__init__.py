"""The worker: takes messages, runs jobs, and sweeps for work whose message was lost.

``main.py`` starts it, ``registry.py`` maps each message to its one task and turns errors into retries,
``slots.py`` limits what runs at once. Start at ``tasks/runs.py``.
"""
