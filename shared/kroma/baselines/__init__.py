"""Baselines: the picture that was locked for a scene, found by the scene's content.

Tables and reads only; ``kroma.pipeline.control.baseline`` locks, ``kroma.pipeline.planning`` looks them up.
"""
