"""Rendered pedestrians: people made from attributes, seen by several cameras."""
