"""From a shop to training batches: the pairs and lists of a step. Does not use TensorFlow."""
