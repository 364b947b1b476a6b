"""What runs around every handler; ``kroma_api.app.create_app`` lists the order.

``request_log.py`` is outermost, then ``origins.py``, ``bodies.py``, ``authentication.py``, ``path_rules.py``,
``authorization.py`` (scopes), ``request_slots.py``, ``body_budget.py`` and ``idempotency.py``. To add one,
copy ``security_headers.py`` and put it into ``create_app``.
"""
