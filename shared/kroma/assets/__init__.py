"""Pictures that are kept, and the links that say which was made from which.

``models.py`` has the tables, ``queries.py`` the reads; ``service.py`` writes links only. Runs create assets
through ``kroma.ingest``, uploads through ``kroma.library``.
"""
