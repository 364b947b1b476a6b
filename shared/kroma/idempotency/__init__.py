"""``Idempotency-Key``: a repeated request gets the first response again and changes nothing.

Start at ``service.py``. Large responses are files (``answers.py``). The HTTP side is
``kroma_api.middleware.idempotency``.
"""
