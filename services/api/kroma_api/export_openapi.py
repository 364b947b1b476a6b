"""``python -m kroma_api.export_openapi``: the OpenAPI document, as the repository keeps it.

With ``--served`` as ``/schema`` answers it: a line of JSON, and behind it the page for browsers.
"""

import sys

import msgspec

from kroma_api.app import ROUTERS
from kroma_api.openapi.document import document
from kroma_api.openapi.reference_page import reference_page


def described() -> str:
    """The document of all routes as text."""
    encoded = msgspec.json.encode(document(ROUTERS), order="sorted")
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


def served() -> str:
    """The document on one line, then the page."""
    made = document(ROUTERS)
    return f"{msgspec.json.encode(made).decode()}\n{reference_page(made)}"


if __name__ == "__main__":
    sys.stdout.write(served() if "--served" in sys.argv[1:] else described())
