"""What is typed, and what is printed for it besides a run."""
