"""The history head: its data, its start, what it learns, what its quality figures say."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from compress.quantization import calibrate, quantize
from train.backend import keras, tf
from train.data.tables import Basket, Product, Shop
from train.evaluation.next_basket import buy_again_scores, next_basket_quality, rule_qualities
from train.losses.next_item import next_basket_loss
from train.models.history import HistorySettings, NextBasket, build_history_head
from train.sampling.next_basket_batches import (
    NO_ITEM,
    NextBasketBatches,
    history_batch,
    history_data,
    history_inputs,
    history_slots,
)
from train.tasks.next_basket import (
    history_scores,
    measured_demand,
    train_history_head,
    training_batches,
    training_data,
)

PRODUCTS = 24
DIM = 8
SMALL = HistorySettings(items=8, heads=2, hidden=16, steps=150, batch=32, learning_rate=1e-2, held_out_share=0.3)


def unit_vectors(seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(PRODUCTS, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_shop(baskets: dict[str, list[list[int]]]) -> Shop:
    products = tuple(Product(f"p{row}", f"title {row}") for row in range(PRODUCTS))
    users = {
        user: tuple(Basket(float(day), np.array(rows, dtype=np.int32)) for day, rows in enumerate(days))
        for user, days in baskets.items()
    }
    return Shop("toy", products, (), users, (), {}, None, (), "digest")


def loyal_shop(*, repeats: bool) -> Shop:
    """Users who buy their own two products each time, or each time the next product of a ring."""
    random = np.random.default_rng(5)
    baskets = {}
    for user in range(60):
        start = int(random.integers(20))
        if repeats:
            baskets[f"u{user:02}"] = [[start, (start * 7 + 3) % 20]] * 4
        else:
            baskets[f"u{user:02}"] = [[(start + day) % 20] for day in range(4)]
    return make_shop(baskets)


def train(shop: Shop, folder: Path, settings: HistorySettings = SMALL):
    return train_history_head(shop, unit_vectors(), settings, seed=3, checkpoint_folder=folder)


def quality_of(result) -> dict:
    return {one.name: one for one in result.report.validation}


def test_newest_items_stand_last_with_padding_in_front() -> None:
    slots = history_slots([[1, 2], [], [1, 2, 3, 4, 5]], 3)
    assert slots.tolist() == [[NO_ITEM, 1, 2], [NO_ITEM] * 3, [3, 4, 5]]


def test_inputs_hold_vectors_and_zeros_for_padding() -> None:
    vectors = unit_vectors()
    items, mask = history_batch([[4, 4, 9]], vectors, 5)
    assert mask.tolist() == [[0, 0, 1, 1, 1]]
    np.testing.assert_array_equal(items[0, 2:], vectors[[4, 4, 9]])
    assert not items[0, :2].any()


def test_every_later_basket_is_a_target_and_the_last_may_be_held_out() -> None:
    shop = make_shop({"a": [[1], [2, 3], [1]], "b": [[4, 5, 6, 7]], "c": [[8], [9]]})
    everything = history_data(shop.baskets, products=PRODUCTS, held_out_share=0.0, seed=0)
    assert [(pair.history.tolist(), pair.basket.tolist()) for pair in everything.pairs] == [
        ([1], [2, 3]),
        ([1, 2, 3], [1]),
        ([8], [9]),
    ]
    assert [(one.rows.tolist(), one.timestamp_s) for one in everything.baskets] == [([4, 5, 6, 7], 0.0)]
    assert everything.popularity[[1, 2, 8, 10]].tolist() == [2, 1, 1, 0]
    held = history_data(shop.baskets, products=PRODUCTS, held_out_share=1.0, seed=0)
    assert [(pair.history.tolist(), pair.basket.tolist()) for pair in held.held_out] == [([1, 2, 3], [1])]
    assert [pair.basket.tolist() for pair in held.pairs] == [[2, 3], [9]]
    assert held.popularity[1] == 1


def batches_of(shop: Shop, *, max_candidates: int = 1_000, split_share: float = 0.5) -> NextBasketBatches:
    data = history_data(shop.baskets, products=PRODUCTS, held_out_share=0.0, seed=0)
    return NextBasketBatches(data, length=6, batch=16, split_share=split_share, max_candidates=max_candidates, seed=4)


def test_batches_depend_on_the_step_alone() -> None:
    shop = make_shop({"a": [[1, 2, 3, 4], [5]], "b": [[6], [7, 8]]})
    first, again, other = batches_of(shop)(7), batches_of(shop)(7), batches_of(shop)(8)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any((one != two).any() for one, two in zip(first, other, strict=True))


def test_batch_says_where_targets_and_history_stand_among_candidates() -> None:
    shop = make_shop({"a": [[1, 2, 3, 4], [5, 6]], "b": [[6], [7, 8]]})
    slots, places, repeatable, candidates, targets, signals = batches_of(shop, max_candidates=12)(0)
    assert not signals.any()
    assert len(candidates) == len(set(candidates.tolist())) == 12
    np.testing.assert_allclose(targets.sum(axis=1), 1.0)
    for slot, place in zip(slots.ravel(), places.ravel(), strict=True):
        if slot == NO_ITEM:
            assert place == NO_ITEM
        elif place != NO_ITEM:
            assert candidates[place] == slot
        else:
            assert slot not in candidates
    assert set(repeatable.tolist()) == {0.0, 1.0}
    for row in np.flatnonzero(repeatable == 0):
        told, asked = set(slots[row].tolist()) - {NO_ITEM}, set(candidates[targets[row] > 0].tolist())
        assert told | asked == {1, 2, 3, 4}
        assert not told & asked


def test_shop_of_single_baskets_trains_on_cut_baskets() -> None:
    _, _, repeatable, *_ = batches_of(make_shop({"a": [[1, 2, 3, 4]]}), split_share=0.0)(0)
    assert not repeatable.any()


def test_batch_has_the_demand_from_before_its_baskets_which_are_of_one_period() -> None:
    shop = make_shop({user: [[1, 2], [3, 4], [5, 6], [7, 8]] for user in "ab"})
    data = history_data(shop.baskets, products=PRODUCTS, held_out_share=0.0, seed=0)
    demand = measured_demand(data, SMALL)
    batches = training_batches(data, SMALL, seed=0, demand=demand)
    seen = set()
    for step in range(12):
        *_, candidates, targets, signals = batches(step)
        bought = candidates[targets.sum(axis=0) > 0].tolist()
        day = bought[0] // 2
        assert bought == [day * 2 + 1, day * 2 + 2]
        assert signals[bought].tolist() == [[0.0] * 3] * 2
        # On the second day all that was bought sold equally well.
        assert signals[day * 2].any() == (day > 1)
        seen.add(day)
    assert seen == {1, 2, 3}


def test_untrained_head_is_a_mean_that_favors_recent_items() -> None:
    head, vectors = build_history_head(SMALL, dim=DIM), unit_vectors()
    items, mask = history_batch([[3, 3, 11]], vectors, SMALL.items)
    vector, repeat = (part.numpy() for part in head([items, mask]))
    weight = 0.5 ** (np.arange(3)[::-1] / 16)
    expected = (weight[:, None] * vectors[[3, 3, 11]]).sum(axis=0) / weight.sum()
    cosine = float(vector[0] @ expected / np.linalg.norm(vector[0]) / np.linalg.norm(expected))
    assert cosine > 0.999
    assert not np.any(repeat)


def test_padding_does_not_change_the_answer() -> None:
    head, vectors = build_history_head(SMALL, dim=DIM), unit_vectors()
    items, mask = history_batch([[3, 11]], vectors, SMALL.items)
    noisy = items.copy()
    noisy[0, 0] = vectors[7]
    np.testing.assert_allclose(head([items, mask])[0], head([noisy, mask])[0], atol=1e-3)


def test_head_is_small() -> None:
    assert build_history_head(HistorySettings(), dim=128).count_params() < 150_000


@pytest.mark.parametrize("baskets", [{}, {"a": [[1]], "b": [[2, 3]]}], ids=["no purchases", "single small baskets"])
def test_shop_without_lessons_keeps_its_vectors_and_says_so(tmp_path: Path, baskets: dict) -> None:
    result = train(make_shop(baskets), tmp_path)
    assert not result.report.trained
    assert result.report.loss is None
    assert result.report.validation == ()
    np.testing.assert_array_equal(result.item_vectors, unit_vectors())


def test_repeats_are_learned_where_people_repeat(tmp_path: Path) -> None:
    shop = loyal_shop(repeats=True)
    result = train(shop, tmp_path)
    assert result.report.trained
    assert quality_of(result)["history head"].recall10 >= quality_of(result)["popularity"].recall10
    scores = history_scores(result.model, result.item_vectors, [np.array([22, 23], np.int32)], length=SMALL.items)[0]
    plain = history_scores(
        build_history_head(SMALL, dim=DIM), result.item_vectors, [np.array([22, 23], np.int32)], length=SMALL.items
    )[0]
    assert scores[22] - np.median(scores) > 0.5
    assert plain.shape == scores.shape == (PRODUCTS,)


def test_the_next_in_a_sequence_is_learned_and_repeats_are_unlearned(tmp_path: Path) -> None:
    result = train(loyal_shop(repeats=False), tmp_path, dataclasses.replace(SMALL, steps=300))
    histories = [np.array([row, row + 1], np.int32) for row in range(17)]
    scores = history_scores(result.model, result.item_vectors, histories, length=SMALL.items)
    ranks = [int((row > row[history[-1] + 1]).sum()) for row, history in zip(scores, histories, strict=True)]
    assert np.mean(ranks) < 2
    assert all(row[history[0]] < row[history[-1] + 1] for row, history in zip(scores, histories, strict=True))


def test_product_that_nobody_bought_keeps_its_vector(tmp_path: Path) -> None:
    result = train(loyal_shop(repeats=True), tmp_path, dataclasses.replace(SMALL, steps=30))
    np.testing.assert_allclose(result.item_vectors[20:], unit_vectors()[20:], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result.item_vectors, axis=1), 1.0, atol=1e-5)
    assert 0.5 < result.report.mean_cosine < 0.9999


def test_higher_penalty_keeps_items_nearer_to_their_texts(tmp_path: Path) -> None:
    shop = loyal_shop(repeats=False)
    cosines = [
        train(
            shop, tmp_path / str(penalty), dataclasses.replace(SMALL, steps=40, correction_penalty=penalty)
        ).report.mean_cosine
        for penalty in (0.1, 10.0)
    ]
    assert cosines[0] < cosines[1]


def test_training_that_was_stopped_goes_on_to_the_same_head(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop_halfway(done: int, total: int) -> None:
        if done == total // 2:
            raise Stopped

    shop, settings = loyal_shop(repeats=True), dataclasses.replace(SMALL, steps=20)
    whole = train(shop, tmp_path / "whole", settings)
    with pytest.raises(Stopped):
        train_history_head(
            shop, unit_vectors(), settings, seed=3, checkpoint_folder=tmp_path / "cut", progress=stop_halfway
        )
    resumed = train(shop, tmp_path / "cut", settings)
    np.testing.assert_allclose(whole.item_vectors, resumed.item_vectors, atol=1e-6)


def test_quantized_head_answers_like_the_float_one(tmp_path: Path) -> None:
    shop = loyal_shop(repeats=True)
    result = train(shop, tmp_path, dataclasses.replace(SMALL, steps=30))
    data = training_data(shop, SMALL, seed=3)
    batches = training_batches(data, SMALL, seed=9)
    quantized = quantize(result.model)
    calibrate(quantized, lambda step: history_inputs(batches(step)[0], result.item_vectors))
    inputs = [tf.constant(part) for part in history_inputs(batches(0)[0], result.item_vectors)]
    vector, repeat = (part.numpy() for part in result.model(inputs, training=False))
    rounded, rounded_repeat = (part.numpy() for part in quantized(inputs, training=False))
    cosine = np.sum(vector * rounded, axis=1) / np.linalg.norm(vector, axis=1) / np.linalg.norm(rounded, axis=1)
    assert cosine.mean() > 0.99
    present = inputs[1].numpy() > 0
    assert np.abs(repeat - rounded_repeat)[present].max() < 0.05 * np.abs(repeat).max()
    trainee = NextBasket(quantized, result.item_vectors)
    assert np.isfinite(float(next_basket_loss(trainee)(*map(tf.constant, batches(0)))))
    assert not any("correction" in variable.name for variable in trainee.trainable_variables)


def test_split_basket_teaches_nothing_about_repeats() -> None:
    vectors = unit_vectors()
    head = build_history_head(SMALL, dim=DIM)
    model = NextBasket(head, vectors)
    shop = make_shop({"a": [[1, 2, 3, 4]]})
    data = history_data(shop.baskets, products=PRODUCTS, held_out_share=0.0, seed=0)
    batch = [tf.constant(part) for part in training_batches(data, SMALL, seed=0)(0)]
    with tf.GradientTape() as tape:
        loss = next_basket_loss(model)(*batch)
    recency = head.get_layer("history_repeat_recency").trainable_variables[0]
    assert not np.any(tape.gradient(loss, recency))


def test_buy_again_weighs_recent_baskets_more() -> None:
    scores = buy_again_scores([np.array([1]), np.array([2]), np.array([1])], 4, decay=0.5)
    assert scores.tolist() == [0.0, 1.25, 0.5, 0.0]


def test_new_products_are_ranked_among_unbought_ones_only() -> None:
    scores = np.linspace(1.0, 0.0, PRODUCTS)[None]
    history, basket = np.array([0, 1, 2], np.int32), np.array([0, 11], np.int32)
    quality = next_basket_quality("x", scores, [history], [basket])
    assert quality.recall10 == 0.5
    assert quality.new_recall10 == 1.0
    assert quality.new_ndcg10 == pytest.approx(1 / np.log2(10))
    with pytest.raises(ValueError, match="at least one user"):
        next_basket_quality("x", scores, [], [])


def test_rules_are_judged_on_the_held_out_users() -> None:
    data = history_data(loyal_shop(repeats=True).baskets, products=PRODUCTS, held_out_share=0.5, seed=1)
    popularity, again = rule_qualities(data)
    assert again.name == "buy again"
    assert again.users == popularity.users == len(data.held_out) > 0
    assert again.recall10 == 1.0
    assert popularity.recall10 < 1.0


def test_models_hold_only_layers_that_quantize() -> None:
    head = build_history_head(SMALL, dim=DIM)
    assert isinstance(head, keras.Model)
    assert quantize(head).count_params() > head.count_params()
