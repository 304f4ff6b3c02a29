from edge_runtime.contract.text import normalize_text
from train.data.tables import Product
from train.text.synthetic_queries import synthetic_queries

PRODUCTS = [
    Product(
        "a", "Solid oak table for the kitchen", brand="Acme", category="Home > Tables", attributes={"color": "brown"}
    ),
    Product(
        "b", "Steel lamp", description="A lamp of brushed steel with a long cord, made to stand beside a bed. " * 9
    ),
    Product("c", "42"),
]


def test_texts_are_made_of_their_products_own_words():
    for text, row in synthetic_queries(PRODUCTS, 60, seed=0):
        product = PRODUCTS[row]
        own = (
            f"{product.title} {product.brand} {product.category} {product.attributes} {product.description}".casefold()
        )
        assert text
        assert text == normalize_text(text)
        # A passage may end within a word.
        assert all(word in own for word in text.casefold().split())


def test_every_product_is_drawn_before_any_is_drawn_again():
    rows = [row for _text, row in synthetic_queries(PRODUCTS, 7, seed=1)]
    assert sorted(rows[:3]) == sorted(rows[3:6]) == [0, 1, 2]
    assert len(rows) == 7


def test_equal_seeds_give_equal_texts():
    assert synthetic_queries(PRODUCTS, 20, seed=2) == synthetic_queries(PRODUCTS, 20, seed=2)
    assert synthetic_queries(PRODUCTS, 20, seed=2) != synthetic_queries(PRODUCTS, 20, seed=3)


def test_no_products_give_no_texts():
    assert synthetic_queries([], 5, seed=0) == []
