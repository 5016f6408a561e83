"""What a run keeps on the disk: its folder, config.json, checkpoints and their digests."""
