"""Calls to addresses that users choose: one guard, one client."""
