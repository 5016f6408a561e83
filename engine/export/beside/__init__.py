"""Files that run without flaxmill: TensorFlow's child, and how inputs are read, which lies beside
every export."""
