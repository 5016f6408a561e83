"""Files that are whole or not there, and caches that are trimmed."""
