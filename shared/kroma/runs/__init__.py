"""Runs, jobs, candidates, recorded steps and events: tables and reads.

``states.py`` draws how statuses move; database triggers enforce it. ``events.py`` is the history of a run.
``kroma.pipeline`` has everything that moves a run.
"""
