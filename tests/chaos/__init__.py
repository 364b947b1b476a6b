"""``make chaos``: the real stack under load while its parts are killed, then a check of what it wrote.

``plan`` draws from one seed what is asked for and what is broken when, ``stack`` starts and breaks the
processes, ``customers`` use the API as clients do that lose connections, ``history`` reads everything back
and ``checker`` holds it against the rules. ``CHAOS_RUNS``, ``CHAOS_KILLS`` and ``CHAOS_SEED`` choose the
size and the seed; with ``CHAOS_LEASE_S`` below 12, frozen workers come back to jobs that others took over.

The seed fixes the plan, not the interleaving: the machine's scheduling is part of the experiment.
"""
