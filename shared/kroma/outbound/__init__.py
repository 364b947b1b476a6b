"""Calls to addresses that users choose: one guard, one client.

``guard.py`` resolves and judges an address, ``client.py`` connects only to what was judged and follows no
redirect. Every request to a user's address goes through them.
"""
