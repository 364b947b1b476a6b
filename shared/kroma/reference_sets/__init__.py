"""Reference sets of a project and their items: texts and pictures that guide a run.

``models.py`` has the tables, ``queries.py`` the reads, ``service.py`` the writes.
"""
