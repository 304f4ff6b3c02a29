"""The columns of a product: the builder reads and stores them, the device shows, filters and sorts by them.

`contract/product_columns.ts` holds the same list for the browser; a test compares them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ColumnType = Literal["text", "number", "flag", "texts"]
"""`flag` is yes or no, stored as 1 or 0; `texts` are named texts, stored as a JSON object."""


@dataclass(frozen=True)
class ProductColumn:
    """One column.

    Attributes:
        name: of the shop's table, of the product in memory, and of the field in a filter.
        type: what a value is.
        stored: its name in table `products` of `catalogue.sqlite`.
        is_required: no product is without it.
        is_optional: stored only where some product of the shop has a value; a catalogue without it reads as empty.
        filters: `where` may name it.
        sorts: answers can be put in its order, lowest first, or with "-" before its name highest first.
        facets: products can be counted by it.
        is_model_text: part of the text that the model encodes (contract/text.py).
    """

    name: str
    type: ColumnType
    stored: str
    is_required: bool = False
    is_optional: bool = False
    filters: bool = False
    sorts: bool = False
    facets: bool = False
    is_model_text: bool = False


PRODUCT_COLUMNS = (
    ProductColumn("product_id", "text", "product_id", is_required=True, filters=True),
    ProductColumn("title", "text", "title", is_required=True, is_model_text=True),
    ProductColumn("description", "text", "description"),
    ProductColumn("brand", "text", "brand", filters=True, facets=True, is_model_text=True),
    ProductColumn("category", "text", "category", filters=True, facets=True, is_model_text=True),
    ProductColumn("attributes", "texts", "attributes", is_required=True, is_model_text=True),
    ProductColumn("price", "number", "price", filters=True, sorts=True, facets=True),
    ProductColumn("group", "text", "product_group", filters=True, facets=True),
    ProductColumn("url", "text", "url", is_optional=True),
    ProductColumn("image_url", "text", "image_url", is_optional=True),
    ProductColumn("currency", "text", "currency", is_optional=True),
    ProductColumn("in_stock", "flag", "in_stock", is_optional=True, filters=True),
    ProductColumn("rating", "number", "rating", is_optional=True, filters=True, sorts=True, facets=True),
    ProductColumn("extra", "texts", "extra", is_optional=True),
)
"""In the order of a product's fields. Single attributes filter and count as `attributes.NAME`; `extra` is only shown."""

SQL_TYPES: dict[ColumnType, str] = {"text": "TEXT", "number": "REAL", "flag": "INTEGER", "texts": "TEXT"}


@dataclass(frozen=True)
class ProductRow:
    """A product as an app shows it: a field for each of `PRODUCT_COLUMNS`, in their order.

    `group` is the seller or whatever exposure is reported by, `extra` holds the shop's own columns.
    """

    product_id: str
    title: str
    description: str | None = None
    brand: str | None = None
    category: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    price: float | None = None
    group: str | None = None
    url: str | None = None
    image_url: str | None = None
    currency: str | None = None
    in_stock: bool | None = None
    rating: float | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
