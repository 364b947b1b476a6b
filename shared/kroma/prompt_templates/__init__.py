"""Prompt templates of a project; ``kroma.pipeline.planning.template`` renders them.

``models.py`` has the table, ``queries.py`` the reads, ``service.py`` the writes.
"""
