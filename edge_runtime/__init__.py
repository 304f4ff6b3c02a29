"""The device's side: opens a bundle and searches, recommends, scores and explains, without TensorFlow."""

from edge_runtime.product_rows import ProductRow
from edge_runtime.recommender import Recommendations, Recommender

__all__ = ["ProductRow", "Recommendations", "Recommender"]
