"""Projects, their owners and where their files are.

``service.py`` creates and changes projects, ``queries.py`` finds them, ``roots.py`` registers which folder
belongs to which project (docs/decisions/0030). ``contents.py`` has what all rows of a project share.
"""
