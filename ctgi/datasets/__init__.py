"""Readers: pictures, the three annotation layouts, pseudo-captioned sets. Knows no other part of ctgi."""
