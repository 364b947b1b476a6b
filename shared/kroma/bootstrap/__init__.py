"""Exporting a project's settings as a prompt for a chat model, and importing its answer.

Start at ``importer.py``: ``answer.py`` finds the JSON in the answer, ``inputs.py`` and ``payload.py`` check
it, ``diff.py`` computes what would change (the preview shows the same plan), ``rows.py`` writes it, and
``undo.py`` reverts it. ``prompt.py`` and ``snapshot.py`` export.
"""
