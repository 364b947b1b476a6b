"""Kroma: the pictures of a comic, generated, checked, ranked and kept traceable."""

__version__ = "0.1.0"
