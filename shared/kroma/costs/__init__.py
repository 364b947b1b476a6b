"""Cost events: what each call cost, as ingested from run logs and settled calls.

Tables and reads only. ``kroma.ledger`` has the calls themselves, ``kroma.spend`` the budgets.
"""
