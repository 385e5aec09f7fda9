"""Fine-tuning of a dual encoder on captions: a small engine that can be killed at any moment and goes on."""
