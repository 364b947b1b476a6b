"""Chat sessions of a project and their messages; they are stored, and no model answers them here.

``models.py`` has the tables, ``queries.py`` the reads, ``service.py`` the writes.
"""
