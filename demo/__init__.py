"""What runs the library on one machine: rendered pedestrians, and the two small models trained on them."""
