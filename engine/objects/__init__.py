"""The user's own objects: arrays, and sequences of examples."""
