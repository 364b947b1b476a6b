"""The audit trail: who changed what, written in the transaction of the change.

Start at ``service.py``; every write that a person asks for calls it.
"""
