"""What stands around the router; ``kroma_api.app.create_app`` gives the order.

Start with ``authentication`` (who calls), ``path_rules`` (what reaches the router), ``authorization`` (what
the caller may do) and ``idempotency``. The others log requests, limit them, or check where they come from.
What they need to know of a route, they ask ``kroma_api.route_facts``.
"""
