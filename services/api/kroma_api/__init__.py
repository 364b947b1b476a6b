"""The HTTP API: a thin layer over ``kroma``.

Start with ``app``, which puts everything together; ``main`` runs it.
Rooms, from the outside in: ``middleware``, ``routes``, ``schemas``; ``http`` and ``openapi`` serve them.
``route_facts`` has what a route says about itself, ``dependencies`` what handlers can ask for.
"""
