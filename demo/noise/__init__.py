"""What each signal about uncertain captions buys: captions corrupted on purpose, both models, one table."""
