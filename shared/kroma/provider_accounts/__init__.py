"""Provider accounts: how a project reaches a provider, and whether it may.

``service.py`` has the writes; ``access.py`` finds a project's key and address when a call is made.
"""
