"""Where the rows of a run's history go besides its file."""
