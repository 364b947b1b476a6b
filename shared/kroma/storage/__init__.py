"""Where the files of projects are: one protocol, two stores.

``base.py`` is the protocol and ``keys.py`` the names of objects. ``directory.py`` is a local folder,
``s3.py`` a bucket (over ``bucket.py`` and ``client.py``). ``errors.py`` has
what callers see. To add a store, implement ``base.py`` and join
tests/integration/storage/test_store_conformance.py.
"""
