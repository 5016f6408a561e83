"""Scores of predictions, on the host: wider than an epoch's row, with their intervals."""
