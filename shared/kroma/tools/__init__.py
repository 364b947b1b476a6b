"""Picture tools that need no project, shared by the command line and ``POST /api/tools``.

Start at ``runner.py``; ``options.py`` lists each tool's options.
"""
