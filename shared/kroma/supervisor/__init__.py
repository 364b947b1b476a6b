"""``kroma up`` and ``kroma doctor``: the whole stack on one machine, under one process.

Start at ``stack.py``. ``components.py`` says how each part starts and when it is ready, ``child.py`` keeps
one process alive, ``checks.py`` is the doctor.
"""
