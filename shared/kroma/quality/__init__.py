"""Quality reports: what the checks, or a person, said of a picture. Tables and reads only.

``kroma.imaging.measures`` has the checks. ``kroma.ingest`` writes their reports, and
``kroma.pipeline.control.select`` those of a person.
"""
