"""One-off work on pictures without a project: the same for the command line and for ``POST /api/tools``."""
