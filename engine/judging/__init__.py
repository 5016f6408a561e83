"""What a trained model is worth, after its training and again from its folder."""
