"""API tokens and their scopes, and the caller that a request comes from.

``service.py`` creates, checks and revokes tokens (only a hash is stored), ``scopes.py`` lists the rights,
``caller.py`` answers whether a caller has one.
"""
