"""A run behind an address: a page for people, JSON for programs."""
