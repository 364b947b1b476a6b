"""The ledger of paid calls: each is recorded before it is sent, then settled.

Start at the docstring of ``calls.py``, which says what is committed before what. ``states.py`` draws how a
call moves. ``admission.py`` and ``provider_limits.py`` decide when a call may leave, ``call_scheduler.py``
queues the calls of one worker, ``answers.py`` stores what came back, ``outcomes.py`` writes what it cost,
``reaper.py`` ends the calls of lost workers, ``service.py`` records a person's decision about a lost
response.
"""
