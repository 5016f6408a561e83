"""What a training run changes at random in its examples, one kind a file: `draw` says how, of a
random key, and `apply` does it; both are pure. H, W, C: a picture's height, width, channels."""

VIEWS = "flip", "shift"  # of --tta; told here, where no jax is imported
