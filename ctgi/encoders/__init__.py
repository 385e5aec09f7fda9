"""Dual encoders: CLIP's two towers at 384x128, positional stretching, losses. Knows no other part of ctgi.

Every encoder puts out unit-norm vectors whose inner product is the model's similarity (design, 4.1).
"""
