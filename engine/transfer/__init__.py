"""What a run begins with of another: its parameters and statistics, by their names."""
