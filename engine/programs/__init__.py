"""Programs compiled ahead of time: what they need, where their time goes."""
