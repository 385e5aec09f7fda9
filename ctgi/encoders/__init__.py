"""Dual encoders: CLIP's two towers at 384x128, position stretching, token selection.

Knows no other part of ctgi. Every encoder puts out unit-norm vectors whose inner product is the model's
similarity (design, 4.1).
"""
