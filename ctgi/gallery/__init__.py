"""Named sets of pictures that can be searched, each bound to one release by fingerprint."""
