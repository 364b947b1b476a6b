"""How requests are read and responses written, without knowing any route.

``strict_json``, ``multipart_form`` and ``buffered_body`` read; ``json_response``, ``file_response``,
``picture_response`` and ``event_stream`` write; ``etag``, ``prefer`` and ``pagination`` are for HTTP itself.
Start with ``errors``: it turns exceptions into responses. ``scope`` names what layers leave for each other.
"""
