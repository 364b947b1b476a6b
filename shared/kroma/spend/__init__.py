"""Budgets: what was spent, what is reserved for work under way, and whether more fits.

Start at ``service.py``. A run is confirmed against the budget when it is inserted, a call before it is
sent.
"""
