"""What the interaction beyond the paper is worth on rendered people: ``python -m demo.interaction``."""
