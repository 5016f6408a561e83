"""What an update does to weights, and what is kept of them."""
