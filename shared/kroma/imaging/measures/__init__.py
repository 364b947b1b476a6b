"""What is measured of a candidate besides its color (docs/quality.md), each as a score from 0 to 1.

Every module is one measure or what they share::

    settings    thresholds, verdicts and weights, as the manifest has them
    report      what a check says, and what all of them say together
    gray        lightness, reduced and fitted from one picture's frame to another's
    blank       is there anything to see
    sharpness   is it as sharp as the scene
    structure   are the scene's edges still where they were
    style       how far is it from the references
    size        does it have the size that was asked for
    duplicate   is it the same picture as another candidate
    identity    are the faces those of the references, if the operator supplies a model
    facts       what is measured of scene, references and baseline, once per job
    facts_codec those facts as bytes
    candidate   all checks of one candidate
    request     what a picture process is asked

``settings``, ``report`` and ``request`` load no picture library by themselves. To add a check,
copy ``blank.py`` (the measure), then add its settings to ``settings.py`` and its call to ``candidate.py``.
"""
