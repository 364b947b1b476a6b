"""The local redraw engine: a photograph in, a drawing after the style references out.

Every module is one stage of one way through::

    order      what to draw, and what came of it (no picture library)
    profile    what the references look like: paper, ink, tones, line, hatching, colour
    recipe     which variation a candidate is
    light      the scene's tones by day or night
    weather    wet ground and haze before the drawing, streaks after it
    ink        lines, hatching, wash: the drawing itself
    colour     the references' palette laid over it
    engine     all of it, in order
    field      what they share: blurs, noise, the flow of the scene's edges

A tone is a perceived lightness, 0 black to 1 white, in a (height, width) float32 array.
"""
