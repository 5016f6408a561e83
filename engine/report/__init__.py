"""What a run leaves to look at: pictures and one self-contained page."""
