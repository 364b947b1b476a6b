"""Kroma: the pictures of a comic, generated, checked, ranked and kept traceable.

This package is the product; ``kroma_api`` and ``kroma_worker`` are thin entry points over it. Imports go
downward only: docs/architecture.md draws the layers and follows one run. Start at ``pipeline``. A resource is
a package of the same modules: ``models`` (tables), ``queries`` (reads), ``service`` (writes), ``errors``.
"""

__version__ = "0.1.0"
