"""What is done to a picture that passed: background, refine, upscale, color, and the check of the result.

Start at ``toolbox.py``, which has every tool by its name. ``work.py`` is what picture processes run;
``removers.py``, ``upscalers.py`` and ``services.py`` are the backends behind ``base.py``, ``compare.py`` is
the final check. Every tool works on bytes and needs no project; the pipeline records what they make.
"""
