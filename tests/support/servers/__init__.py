"""Processes that tests talk to: PostgreSQL, Valkey, S3, the API, and ``kroma up``."""
