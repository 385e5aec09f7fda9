"""CTGI: text-based person search without human captions (MTG, training, MTI)."""

__version__ = "0.1.0"
