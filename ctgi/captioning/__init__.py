"""Multi-turn text generation (MTG, Sec. 3.1 and 3.4): from a picture to its pseudo-caption."""
