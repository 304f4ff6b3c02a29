from dataclasses import replace

import numpy as np
import pytest

from tests.support.tiny_student import DIM, SETTINGS, VOCABULARY, random_ids, tiny_distillation_set, tiny_student
from train.backend import keras, tf
from train.distillation import DistillSettings, distillation_batches
from train.losses.distillation import distillation_loss
from train.models.layers import LAYERS, ContextWindow, attention_block, attention_pool
from train.models.student import StudentSettings, architectures, build_student, start_from_teacher

LONG = StudentSettings(vocabulary=VOCABULARY, hidden=16, layers=2, heads=2, feed_forward=32)


def new_student(architecture, **changes):
    keras.utils.set_random_seed(0)
    return build_student(replace(LONG, architecture=architecture, **changes), vocabulary=VOCABULARY, dim=DIM)


@pytest.fixture(scope="module", params=architectures())
def student(request):
    return new_student(request.param)


def padded(ids, length):
    return np.pad(ids, ((0, 0), (0, length - ids.shape[1])))


def test_padding_changes_nothing(student):
    ids = random_ids(5, 10, padded=False)
    short, long = (student(padded(ids, length)).numpy() for length in (16, 48))
    np.testing.assert_allclose(short, long, atol=1e-5)
    assert short.shape == (5, DIM)


@pytest.mark.parametrize(("architecture", "counts"), [("bag", False), ("mixer", True), ("bert", True)])
def test_the_order_of_words_counts_except_in_a_bag(architecture, counts):
    student, ids = new_student(architecture), random_ids(1, 8, padded=False)
    assert (np.abs(student(ids).numpy() - student(ids[:, ::-1]).numpy()).max() > 1e-4) == counts


def test_a_text_without_a_token_has_a_finite_vector(student):
    assert np.isfinite(student(np.zeros((1, 16), np.int32)).numpy()).all()


def test_the_student_can_be_cloned_from_its_configuration(student):
    with keras.utils.custom_object_scope(LAYERS):
        clone = keras.Model.from_config(student.get_config())
    clone.set_weights(student.get_weights())
    ids = random_ids(3, 12)
    np.testing.assert_allclose(clone(ids).numpy(), student(ids).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"architecture": "lstm"}, {"heads": 3}, {"hidden": 0}, {"layers": 0}, {"item_tokens": -1}]
)
def test_a_shape_that_cannot_be_built_is_refused(change):
    name, value = next(iter(change.items()))
    with pytest.raises(ValueError, match=f"{name} is {value!r}, expected"):
        StudentSettings(**change)


def test_attention_is_that_of_the_formula():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5, 8))
    bias = keras.Input((1, 1, 5))
    model = keras.Model([inputs, bias], attention_block(inputs, bias, hidden=8, heads=2, feed_forward=12, name="block"))
    x = np.random.default_rng(0).standard_normal((1, 5, 8)).astype(np.float32)
    mask = np.array([0, 0, 0, -12, -12], np.float32).reshape(1, 1, 1, 5)
    w = {layer.name.removeprefix("block_"): layer.get_weights() for layer in model.layers if layer.get_weights()}

    def dense(name, value):
        return value @ w[name][0] + w[name][1]

    context = []
    for head in (slice(0, 4), slice(4, 8)):
        query, key, value = (dense(name, x[0])[:, head] for name in ("query", "key", "value"))
        logits = np.exp(query @ key.T + mask[0, 0])
        context.append(logits / logits.sum(axis=-1, keepdims=True) @ value)
    attended = x[0] + dense("output", np.concatenate(context, axis=-1))
    expected = attended + dense("outer", np.maximum(dense("inner", attended), 0))
    np.testing.assert_allclose(model([x, mask]).numpy()[0], expected, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_pooling_weighs_what_is_not_masked(heads):
    keras.utils.set_random_seed(4)
    x, bias = keras.Input((4, 3)), keras.Input((1, 4))
    model = keras.Model([x, bias], attention_pool(x, bias, heads=heads, name="pooled"))
    values = np.arange(12, dtype=np.float32).reshape(1, 4, 3) / 12
    (kernel,) = model.get_layer("pooled_logits").get_weights()
    logits = np.exp(values[0, :2] @ kernel)
    expected = (logits / logits.sum(axis=0)).T @ values[0, :2]
    found = model([values, np.array([[[0, 0, -12, -12]]], np.float32)]).numpy()
    np.testing.assert_allclose(found[0], expected.ravel(), atol=1e-3)


def test_a_token_is_laid_beside_its_neighbors():
    inputs = keras.Input((3, 2))
    found = keras.Model(inputs, ContextWindow()(inputs))(np.arange(1, 7, dtype=np.float32).reshape(1, 3, 2)).numpy()
    np.testing.assert_array_equal(found[0], [[0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 0, 0]])


def test_the_word_table_starts_with_the_teacher_s_cosines():
    student = tiny_student()
    random = np.random.default_rng(3)
    # A teacher whose words lie in 16 of its 40 dimensions: the reduction loses nothing.
    teacher = (random.standard_normal((100, 16)) @ random.standard_normal((16, 40))).astype(np.float32)
    ids = random.permutation(100)[:VOCABULARY]
    start_from_teacher(student, teacher, teacher_ids=ids)
    table = student.get_layer("word").embeddings.numpy()
    rows = teacher[ids] - teacher[ids].mean(axis=0)
    assert not table[0].any()
    table, rows = table[1:], rows[1:]
    assert table.std() == pytest.approx(0.05, rel=0.01)
    np.testing.assert_allclose(np.corrcoef((table @ table.T).ravel(), (rows @ rows.T).ravel())[0, 1], 1.0, atol=1e-4)


def test_a_narrow_teacher_fills_what_it_can():
    student = tiny_student()
    teacher = np.random.default_rng(3).standard_normal((100, 4)).astype(np.float32)
    start_from_teacher(student, teacher, teacher_ids=np.arange(VOCABULARY))
    table = student.get_layer("word").embeddings.numpy()[1:]
    assert (table[:, 4:] == 0).all()
    assert (table[:, :4] != 0).any(axis=0).all()


def test_batches_are_the_same_for_the_same_step_only():
    batches = distillation_batches(tiny_distillation_set(), DistillSettings(batch=4, ranking_items=6), seed=1)
    for first, second in zip(batches(3)[:3], batches(3)[:3], strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(not np.array_equal(batches(3)[0], batches(step)[0]) for step in (4, 5))


@pytest.mark.parametrize(("share", "tokens"), [(0.0, SETTINGS.query_tokens), (1.0, SETTINGS.item_tokens)])
def test_a_batch_is_all_queries_or_all_items(share, tokens):
    data = tiny_distillation_set()
    batches = distillation_batches(data, DistillSettings(batch=4, ranking_items=6, item_share=share), seed=1)
    for step in range(5):
        ids, targets, items, _extras = batches(step)
        assert (ids.shape, targets.shape, items.shape) == ((4, tokens), (4, DIM), (6, DIM))


def fixed_output(vectors):
    return lambda ids, training: tf.constant(vectors)


def test_the_loss_of_a_perfect_student_is_zero():
    data = tiny_distillation_set()
    loss = distillation_loss(fixed_output(4 * data.query_targets), DistillSettings())
    assert float(loss(None, data.query_targets, data.item_targets, {})) == pytest.approx(0.0, abs=1e-4)


def test_the_loss_is_that_of_its_formula():
    data = tiny_distillation_set()
    settings = DistillSettings(ranking_weight=0.5, temperature=0.2)
    raw = np.random.default_rng(1).standard_normal((len(data.query_ids), DIM)).astype(np.float32)
    student = raw / np.linalg.norm(raw, axis=1, keepdims=True)

    def ranking(vectors):
        weights = np.exp(vectors @ data.item_targets.T / settings.temperature)
        return weights / weights.sum(axis=1, keepdims=True)

    wanted, given = ranking(data.query_targets), ranking(student)
    divergence = (wanted * np.log(wanted / given)).sum(axis=1)
    norm = (np.linalg.norm(raw, axis=1) - 4) ** 2
    expected = (1 - (student * data.query_targets).sum(axis=1) + 0.5 * divergence + 0.01 * norm).mean()
    found = distillation_loss(fixed_output(raw), settings)(None, data.query_targets, data.item_targets, {})
    assert float(found) == pytest.approx(expected, rel=1e-4)
