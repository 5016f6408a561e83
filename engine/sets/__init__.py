"""A set on the host: its examples, columns and pictures as arrays, its splits; what may be held."""
