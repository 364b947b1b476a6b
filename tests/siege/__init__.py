"""``make siege``: the real stack attacked from every side, then a search for what leaked.

``plan`` says how much of everything, ``stack`` starts ``kroma up`` and watches it, ``targets`` makes three
projects (an attacker's, a busy neighbor's and an untouched victim's) and tokens of every kind. Each attack
is a module that returns verdicts; a verdict is one rule with what was measured, what is allowed and what
was wrong. The rules themselves are pure functions on what was recorded, and ``tests/unit/siege`` shows each
of them failing.

``SIEGE=short`` is the form of ``make check``; ``SIEGE_SEED`` repeats the order of an earlier siege, and
``SIEGE_ONLY`` takes single attacks by name. The siege uses loopback alone.
"""
