"""The OpenAPI document: generated from the routes, completed with what Litestar cannot know.

Start at ``document.py``. ``examples.py`` has the example bodies, ``files.py`` the routes with files,
``contract_routes.py`` says which routes belong to the contract, ``reference_page.py`` is the page for
browsers. After a change, run ``make openapi``.
"""
