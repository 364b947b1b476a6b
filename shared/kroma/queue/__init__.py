"""The queue: it wakes workers and stores nothing that matters; losing a message loses nothing.

``base.py`` is the protocol, ``messages.py`` all that may travel. ``arq.py`` is the implementation on Redis,
``postgres.py`` the one without.
"""
