"""What lets the whole stack run on a laptop: a rendered world of pedestrians and small models trained on it."""
