"""What the library's decisions are worth, as ratios against the plain way, both measured in one run."""
