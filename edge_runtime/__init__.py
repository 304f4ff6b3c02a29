"""The device's side: opens a bundle and searches, recommends, scores and explains, without TensorFlow."""
