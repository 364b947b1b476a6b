"""Secrets of projects, encrypted with a master key that the database does not hold.

``service.py`` stores, reads and re-encrypts, ``cipher.py`` is AES-256-GCM, ``keyring.py`` finds the master
keys. A value leaves only through ``read_secret``.
"""
