"""flaxmill: a training run as one pure function of (config, hyper, key, data)."""
