"""Files of assets: uploads, downloads, thumbnails and deletion.

Start at ``upload.py``: ``spool.py`` keeps the files of an upload on disk until all are there,
``deduplication.py`` finds content that the project has, ``delivery.py`` decodes the rest. ``content.py``
and ``thumbnails.py`` serve files, ``removal.py`` deletes an asset that nothing refers to.
"""
