"""Style guides of a project: instructions that become part of prompts.

``models.py`` has the table, ``queries.py`` the reads, ``service.py`` the writes.
"""
