"""The bodies of requests and responses, one module per resource, named as its module in ``routes``.

Shape only: the contract's rules are checked in ``kroma``. ``reply.py`` has what all responses share.
"""
