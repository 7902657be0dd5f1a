"""A smaller vocabulary for a model: the pieces that a language uses, and nothing else changed.

What counts, chooses and rewrites pieces needs no torch; ``model`` and ``run`` do.
"""
