"""Picture code without I/O, which runs in picture processes (``kroma.cpu``).

``codec.py`` and ``high_bit_depth.py`` decode and encode, ``header.py`` reads a picture without decoding it,
``color_check.py`` is the color guard, ``measures`` has the quality checks, ``restyle`` draws for the provider
``local``, ``provenance.py`` is the record inside every picture, ``contact_sheet.py`` the sheet of a run.
"""
