"""How a picture came to be: its ancestors and descendants, run, prompt, seed, cost and scores.

Start at ``queries.py``; ``family.py`` walks the links between assets.
"""
