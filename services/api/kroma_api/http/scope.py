"""Keys and marks that one layer leaves in a request's scope for another."""

from typing import Final

IS_HEAD: Final = "kroma.is_head"
"""Where a request's scope says that nobody wants the body of the answer."""
SLASH_IN_NAME: Final = "\0"
"""Stands for a slash in the name of a secret, the one thing in a path that may hold slashes."""
ON_STOP: Final = "kroma.on_stop"
"""Where a request's scope has the set of what is called when the server is told to stop."""
