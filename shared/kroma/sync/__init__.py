"""Copies of a project in S3: sync, restore and verify, each a leased job of its own.

Start at ``service.py`` (what people ask for) and ``runner.py`` (what a worker does). ``compare.py`` decides
what differs, ``mirror.py`` and ``upload.py`` copy to the bucket, ``restore.py`` copies back. docs/sync.md
is the manual.
"""
