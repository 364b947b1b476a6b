"""HTTP itself: reading bodies and headers, writing responses; nothing here knows a resource.

``strict_json.py`` and ``multipart_form.py`` read bodies, ``json_response.py``, ``file_response.py`` and
``event_stream.py`` write responses, ``errors.py`` maps errors to statuses and the envelope,
``pagination.py`` has ``limit`` and ``after``. ``request_slot.py`` limits concurrent requests, ``scope.py``
names what layers leave for each other.
"""
