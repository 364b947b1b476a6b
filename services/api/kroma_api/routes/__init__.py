"""The handlers: one module per resource, each with a ``router`` that ``kroma_api.app`` mounts.

A handler reads the request, calls a service or query of ``kroma``, and returns a body of ``schemas``.
What else is known of a route stands in its ``opt=route(...)``. Start with ``chat``.
"""
