"""Leases: one worker at a time may work on a row, and only while it renews its right to.

``models.py`` has the columns of such a row, ``claim.py`` the SQL expressions every kind of work shares
(and the fence rule), ``renewer.py`` the thread that renews the leases of a process, ``sweep.py`` what
happens to work whose worker was lost, ``backoff.py`` when failed work is tried again.

To add a kind of work, give its model the ``Leased`` columns and its claim a ``lease_table``: that registers
it with the renewer. Its ending is one entry in the worker's sweep. docs/leases.md has the whole story.
"""
