"""The HTTP API: a thin layer over ``kroma`` that decodes requests and encodes responses.

Start at ``app.py``, which lists the routers and the order of the middleware. A route is a handler in
``routes`` and its structs in ``schemas``. ``middleware`` runs before a handler, ``http`` reads bodies and
writes responses, ``openapi`` describes the routes. ``route_facts.py`` is what a handler says about itself,
``main.py`` starts the server.
"""
