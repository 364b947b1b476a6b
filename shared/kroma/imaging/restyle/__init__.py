"""The local redraw engine: a photograph in, a drawing after the style references out.

Every module is one stage of one way through::

    spec       what to draw, and what came of it (no picture library)
    profile    what the references look like: paper, ink, tones, line, hatching, color
    recipe     which way of drawing a candidate is
    lights     which light, and which rain, it has
    light      the scene's tones by day; what of it is open sky or ground
    night      the tones in that light: it falls off, and by night lamps glow
    ink        lines, hatching, wash: the drawing itself, or a drawing in another light
    weather    over the drawing: haze, wet ground, streaks
    color      the references' palette laid over it
    engine     all of it, in order
    field      what they share: blurs, noise, the flow of the scene's edges

A tone is a perceived lightness, 0 black to 1 white, in a (height, width) float32 array.
"""
