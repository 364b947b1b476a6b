"""The named texts of a project: style guides, characters, prompt templates and reference sets.

``models.py`` has the four tables, ``queries.py`` and ``service.py`` read and write any of them, and
``reference_items.py`` has what only reference sets have: their items.
"""
