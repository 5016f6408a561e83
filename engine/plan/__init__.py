"""A run on devices that aren't here, by compiling for them."""
