"""From a shop to training batches: which pairs and lists a step sees. Knows nothing of TensorFlow."""
