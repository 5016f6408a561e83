"""What a person sees while something is done."""
