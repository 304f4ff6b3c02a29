"""The device's side: opens a bundle and searches, recommends, scores and explains, without TensorFlow."""

from edge_runtime.facets import FacetValue
from edge_runtime.personal import PersonalTaste
from edge_runtime.product_rows import ProductRow
from edge_runtime.recommender import Recommendations, Recommender
from edge_runtime.suggestions import Suggestion

__all__ = ["FacetValue", "PersonalTaste", "ProductRow", "Recommendations", "Recommender", "Suggestion"]
