"""The private PostgreSQL and Valkey that ``kroma up`` and the tests run, from wheels.

Start at ``postgres.py`` and ``valkey.py``; both are a ``server_process.py``. ``parent_death.py`` and
``orphans.py`` make sure that no server outlives its supervisor.
"""
