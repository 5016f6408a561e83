"""Networks, one a file, in plain Flax: the class of a file has its name."""
