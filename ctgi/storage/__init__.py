"""Where things are kept: writes that are either whole or absent."""
