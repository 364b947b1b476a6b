"""PostgreSQL: transactions, the base of all models, and reads that bypass the ORM.

Start at ``engine.py``: ``Database.transaction`` for writes, ``Database.reading`` for reads. ``base.py`` has
the columns that tables share, ``keyset.py`` pagination, ``prepared.py`` and ``reader.py`` the fast reads
(docs/decisions/0013). ``wait_for_database.py``, ``schema.py`` and ``app_role.py`` belong to start-up.
"""
