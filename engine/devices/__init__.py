"""Which device computes, whether it really does, and why."""
