"""Characters of a project: name, description and prompt text.

``models.py`` has the table, ``queries.py`` the reads, ``service.py`` the writes.
"""
