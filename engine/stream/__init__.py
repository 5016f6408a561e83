"""Sets that lie on no device: chunks of them, read ahead along the run's own order."""
