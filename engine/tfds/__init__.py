"""Sets as tensorflow-datasets lays them out: prepared where needed, read without TensorFlow."""
