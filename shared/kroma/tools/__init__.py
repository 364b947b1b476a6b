"""One-off work on pictures without a project: the same for the command line and ``POST /api/tools``.

Start at ``runner.py``; ``options.py`` lists what may be asked of each tool.
"""
