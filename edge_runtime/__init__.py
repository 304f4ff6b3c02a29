"""The device's side: opens a bundle and searches, recommends, scores and explains, without TensorFlow."""

from edge_runtime.contract.product_columns import ProductRow
from edge_runtime.products.facets import FacetValue
from edge_runtime.recommender import Recommendations, Recommender
from edge_runtime.search.suggestions import Suggestion
from edge_runtime.search.user_profile import PersonalTaste

__all__ = ["FacetValue", "PersonalTaste", "ProductRow", "Recommendations", "Recommender", "Suggestion"]
