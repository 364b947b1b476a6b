"""The quality checks besides color (docs/quality.md), each with a score from 0 to 1.

Measures::

    blank       does the picture show anything
    sharpness   is it as sharp as the scene
    structure   are the scene's edges still in place
    style       how similar is it to the references
    size        does it have the requested size
    duplicate   is it the same picture as another candidate
    identity    do the faces match the references (needs the operator's face model)

The other modules::

    settings    thresholds, verdicts and weights from the manifest
    report      results of the checks
    gray        lightness, resizing and framing
    facts       measures scene, references and baseline once per job
    facts_codec encodes these facts
    candidate   runs all checks on one candidate
    request     requests to a picture process

``settings``, ``report`` and ``request`` import no picture library. To add a check, copy ``blank.py``, then
add its settings to ``settings.py`` and its call to ``candidate.py``.
"""
