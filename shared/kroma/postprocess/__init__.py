"""What is done to a picture that passed: background, refine, upscale, colour, and the check of the result.

Every tool works on bytes and needs no project; the pipeline records what they make.
"""
