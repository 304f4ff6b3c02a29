"""Writes tests/data/toy/*.tflite, the models of the toy bundle, with TensorFlow; the tests themselves need none of it.

Run from the repository's root: python tests/data/make_toy_models.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from compress.catalogue.vector_index import convert_catalogue
from compress.tflite import convert_encoder
from tests.support.toy_shop import DIM, PIECES, SPEC, piece_vectors, toy_item_vectors, toy_products
from train.backend import keras, tf

TOY = Path(__file__).parent / "toy"


def make_encoder() -> bytes:
    ids = keras.Input((None,), dtype="int32")
    table = keras.layers.Embedding(len(PIECES), DIM, name="pieces")
    said = tf.cast(tf.not_equal(ids, 0), tf.float32)[:, :, None]
    encoder = keras.Model(ids, tf.reduce_sum(table(ids) * said, axis=1))
    table.set_weights([piece_vectors()])
    items, mask = keras.Input((SPEC.history_items, DIM)), keras.Input((SPEC.history_items,))
    history = keras.Model([items, mask], tf.reduce_sum(items * mask[:, :, None], axis=1))
    return convert_encoder(encoder, history, SPEC, dim=DIM)


def main() -> None:
    TOY.mkdir(exist_ok=True)
    (TOY / "encoder.tflite").write_bytes(make_encoder())
    vectors = toy_item_vectors(toy_products())
    (TOY / "catalogue.tflite").write_bytes(convert_catalogue(vectors, candidates=20))


if __name__ == "__main__":
    main()
