"""The OpenAPI document and its HTML page.

Start with ``document``: it adds to Litestar's schema what Litestar cannot know. ``files`` describes routes
that take or return files, ``examples`` makes responses from schemas, ``reference_page`` renders the result.
"""
