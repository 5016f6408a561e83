"""Which examples of a set take part in what, and what is known of them."""
