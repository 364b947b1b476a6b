"""``python -m kroma_api.describe``: the OpenAPI document, as the repository keeps it."""

import sys

import msgspec

from kroma_api.app import ROUTERS
from kroma_api.openapi import document


def described() -> str:
    """The document of all routes as text."""
    encoded = msgspec.json.encode(document(ROUTERS), order="sorted")
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


if __name__ == "__main__":
    sys.stdout.write(described())
