"""The device's side: opens a bundle and searches, recommends, scores and explains, without TensorFlow.

`EdgeNode`, which also syncs with a server, is imported when it is first named, so that nothing else loads the network's
libraries.
"""

import importlib
from typing import TYPE_CHECKING, Any

from edge_runtime.contract.product_columns import ProductRow
from edge_runtime.products.facets import FacetValue
from edge_runtime.recommender import Recommendations, Recommender
from edge_runtime.search.suggestions import Suggestion
from edge_runtime.search.user_profile import PersonalTaste

if TYPE_CHECKING:
    from edge_runtime.node import EdgeNode

__all__ = ["EdgeNode", "FacetValue", "PersonalTaste", "ProductRow", "Recommendations", "Recommender", "Suggestion"]


def __getattr__(name: str) -> Any:
    if name == "EdgeNode":
        return importlib.import_module("edge_runtime.node").EdgeNode
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
