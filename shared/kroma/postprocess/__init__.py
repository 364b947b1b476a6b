"""Post-processing: remove and refine the background, upscale, grade colors, and check the result.

Start at ``toolbox.py``, which has every tool by name. ``work.py`` runs in picture processes;
``removers.py``, ``upscalers.py`` and ``services.py`` are the backends, ``compare.py`` is the final check.
The tools need no project.
"""
