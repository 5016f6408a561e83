"""What learns, a kind a file."""
