"""A run of many processes: joining, agreeing, leaving, missing the lost."""
