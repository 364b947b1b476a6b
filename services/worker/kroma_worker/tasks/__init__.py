"""Entry points of the worker; each task is one call into ``kroma``.

``runs.py``, ``instructions.py`` and ``sync.py`` have one task per message. ``sweep.py``, ``calls.py`` and
``answers.py`` are loops beside them. To add a task, copy ``sync.py`` and add its message to
``kroma.queue.messages``.
"""
