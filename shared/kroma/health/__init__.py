"""Health checks and metrics, the same for the API and the worker.

Start at ``telemetry.py``, which starts all of it. ``components.py`` has one check per dependency,
``probe.py`` limits how often they run, ``server.py`` serves the metrics port from threads of its own, and
``state.py`` reads the gauges from the tables. To add a check, copy one in ``components.py``.
"""
