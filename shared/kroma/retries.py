"""Retries, by stamina; import them from here.

Its own log line quotes the error and the arguments, which may hold what no log may hold. Whoever retries
logs in words of their own.
"""

from stamina import instrumentation, retry, retry_context

instrumentation.set_on_retry_hooks([])

__all__ = ["retry", "retry_context"]
