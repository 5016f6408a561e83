"""Many runs as one: what is tried, how it went, and what came of it."""
