"""Request and response bodies: one module per resource.

The docstring after a field becomes its description in the OpenAPI document. ``reply`` has what many share.
"""
