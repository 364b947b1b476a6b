"""The handlers, one module per resource: decode, call one function of ``kroma``, encode.

Each handler says everything about itself in its decorator (``kroma_api.route_facts``). To add a resource,
copy ``chat.py`` here and in ``schemas``, and add its router to ``ROUTERS`` in ``kroma_api.app``.
"""
