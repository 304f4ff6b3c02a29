"""Off-policy evaluation: the value of another ranking, estimated from the log of this one.

The value of a ranking is the expected clicks per list: the sum over places of examination times attraction. Let a
logged product stand at place k, and be on the page with probability P. Its value under a ranking with it at place k' is
examination(k') * click / (examination(k) * P). Three estimators:

- IPS: the mean of that (Horvitz and Thompson 1952; for clicks by position Joachims et al. 2017).
- SNIPS: divided by the expected sum of the weights (Swaminathan and Joachims, "The self-normalized estimator for
  counterfactual learning", 2015): less variance, a little bias.
- DR: a model of attraction gives the estimate, and weighted clicks correct it (Dudík et al., "Doubly robust policy
  evaluation and learning", 2011; for the position-based model Oosterhuis, "Doubly robust estimation for correcting
  position bias in click feedback", 2023). The model is trained on other devices than those it is applied to.

Weights are clipped. Intervals come from a bootstrap over devices that estimates the position bias again on each
resample, so they include its error. A product that the logging policy never shows (P is 0) counts as 0 for IPS and by
the model for DR. So the logging policy should explore (edge_runtime/feedback/exploration.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_runtime.contract.types import Float64
from train.clicks.click_model import (
    Attractions,
    ClickSettings,
    PositionBias,
    SwapCounts,
    estimate_attractions,
    estimate_position_bias,
)
from train.clicks.log import FeedbackLog
from train.evaluation.intervals import draw_rows

Rankings = Mapping[str, Sequence[str]]
"""query -> product ids, best first."""

ESTIMATORS = ("ips", "snips", "dr")
# Two halves: the model of each is taught by the other, and both keep as many devices as possible.
_FOLDS = 2
_BLOCKS = 2_000
"""Devices are drawn in at most so many groups, so that a large fleet costs no more."""


@dataclass(frozen=True)
class Estimate:
    """Wanted products per list, with a 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OffPolicyResult:
    """How a candidate ranking compares with a baseline on one log.

    Attributes:
        lists: logged lists.
        devices: that showed them.
        position_bias: examination by place.
        position_bias_is_estimated: False when it was assumed for want of swapped neighbors.
        support: share of the candidate's places whose product the log has shown for that query.
        baseline: estimator -> value of the baseline.
        candidate: estimator -> value of the candidate.
        gain: estimator -> candidate minus baseline, paired.
    """

    lists: int
    devices: int
    position_bias: list[float]
    position_bias_is_estimated: bool
    support: float
    baseline: dict[str, Estimate]
    candidate: dict[str, Estimate]
    gain: dict[str, Estimate]


def compare_off_policy(
    log: FeedbackLog,
    baseline: Rankings,
    candidate: Rankings,
    *,
    settings: ClickSettings,
    resamples: int = 200,
    seed: int = 0,
) -> OffPolicyResult:
    """Estimate what two rankings would earn on the queries of `log`.

    Args:
        log: impressions with propensities, of devices on which neither ranking was trained.
        baseline: the ranking to beat, for every query of the log.
        candidate: the other one.
        settings: clipping and priors.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    blocks = (log.device % _BLOCKS).astype(np.int32)
    parts = [_Part(log, ranking, settings, blocks) for ranking in (baseline, candidate)]
    swaps = SwapCounts(log, settings, blocks)
    bias = swaps.estimate()
    values = np.array([part.values(bias) for part in parts])
    count = int(blocks.max()) + 1
    draws = []
    for rows in draw_rows(count, resamples, seed):
        counts = np.bincount(rows, minlength=count).astype(np.float64)
        drawn = swaps.estimate(counts)
        draws.append([part.values(drawn, counts) for part in parts])
    spread = np.array(draws)
    gains = _estimates(values[1] - values[0], spread[:, 1] - spread[:, 0])
    return OffPolicyResult(
        lists=log.lists,
        devices=len(np.unique(log.device)),
        position_bias=[float(one) for one in bias.examination],
        position_bias_is_estimated=bias.is_estimated,
        support=parts[1].support,
        baseline=_estimates(values[0], spread[:, 0]),
        candidate=_estimates(values[1], spread[:, 1]),
        gain=gains,
    )


def _estimates(values: Float64, draws: Float64) -> dict[str, Estimate]:
    # The spread about the estimate, not the percentiles of the draws: those carry the bootstrap's own bias twice.
    deviation = draws.std(axis=0, ddof=1) * 1.959964
    return {
        name: Estimate(float(value), float(value - error), float(value + error))
        for name, value, error in zip(ESTIMATORS, values, deviation, strict=True)
    }


class _Part:
    """One ranking against one log, added up by block of devices: everything but the position bias, which is drawn anew."""

    def __init__(
        self, log: FeedbackLog, ranking: Rankings, settings: ClickSettings, blocks: npt.NDArray[np.int32]
    ) -> None:
        self._max_weight = settings.max_weight
        self._places = places = int(log.position.max())
        self._blocks = count = int(blocks.max()) + 1
        place_of = _places_under(ranking, log, places)
        model, seen = _cross_fitted(log, settings)
        asked = np.unique(log.query)
        self.support = float((place_of[asked] * seen[asked] > 0).sum() / (len(asked) * places))
        shown = np.minimum(1.0 / log.page_propensity, settings.max_inverse_propensity)
        new_place = place_of[log.query, log.product]
        # The model for a device's impressions is trained on the other half of the devices.
        modeled = shown * model[log.device % _FOLDS, log.query, log.product]
        cell = (blocks.astype(np.int64) * (places + 1) + new_place) * (places + 1) + log.position

        def table(values: Float64) -> Float64:
            summed = np.bincount(cell, weights=values, minlength=count * (places + 1) ** 2)
            return np.asarray(summed.reshape(count, places + 1, places + 1), dtype=np.float64)

        # float64 [blocks, new place, logged place]
        self._wanted, self._shown, self._modeled = table(shown * log.wanted), table(shown), table(modeled)
        first = np.unique(log.list_of, return_index=True)[1]
        self._lists = np.bincount(blocks[first], minlength=count).astype(np.float64)
        # float64 [blocks, new place]: the model's attraction of what this ranking shows there, over the block's lists.
        self._direct = np.zeros((count, places + 1))
        by_place = np.zeros((_FOLDS, len(log.queries), places + 1))
        for place in range(1, places + 1):
            by_place[:, :, place] = (model * (place_of == place)).sum(axis=2)
        np.add.at(self._direct, blocks[first], by_place[log.device[first] % _FOLDS, log.query[first]])

    def values(self, bias: PositionBias, counts: Float64 | None = None) -> list[float]:
        """Return IPS, SNIPS and DR, each block counted as often as `counts` float64 [blocks] says."""
        often = np.ones(self._blocks) if counts is None else counts
        look = np.concatenate([[0.0], bias.examination])
        unlooked = np.concatenate([[0.0], np.minimum(1.0 / bias.examination, self._max_weight)])
        lists = float(often @ self._lists)
        wanted, shown, modeled = (
            np.tensordot(often, sums, axes=1) for sums in (self._wanted, self._shown, self._modeled)
        )
        earned = float(look @ wanted @ unlooked)
        expected = float(look.sum()) * lists
        weights = float(look @ shown.sum(axis=1))
        correction = earned - float(look @ modeled.sum(axis=1))
        direct = float(often @ self._direct @ look)
        return [earned / lists, earned * expected / max(weights, 1e-12) / lists, (direct + correction) / lists]


def _places_under(ranking: Rankings, log: FeedbackLog, places: int) -> npt.NDArray[np.int64]:
    """Return int64 [queries, products]: the place of each product under `ranking`, 0 when it is not shown."""
    number_of = {name: number for number, name in enumerate(log.products)}
    place_of = np.zeros((len(log.queries), len(log.products)), dtype=np.int64)
    for query in np.unique(log.query):
        for place, product_id in enumerate(ranking[log.queries[query]][:places], 1):
            if product_id in number_of:
                place_of[query, number_of[product_id]] = place
    return place_of


def _cross_fitted(log: FeedbackLog, settings: ClickSettings) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return attraction float64 [folds, queries, products] as learned from the devices outside each fold, and what was shown."""
    model = np.zeros((_FOLDS, len(log.queries), len(log.products)))
    seen = np.zeros((len(log.queries), len(log.products)), dtype=np.bool_)
    seen[log.query, log.product] = True
    for fold in range(_FOLDS):
        others = log.part(log.device % _FOLDS != fold)
        if not len(others.query):
            continue
        bias = estimate_position_bias(others, settings)
        learned = estimate_attractions(others, bias, settings)
        model[fold] = _query_means(learned, log)[:, None] * seen
        model[fold, learned.query, learned.product] = learned.attraction
    return model, seen


def _query_means(learned: Attractions, log: FeedbackLog) -> Float64:
    shown = np.bincount(learned.query, weights=learned.impressions, minlength=len(log.queries))
    wanted = learned.impressions * learned.attraction
    total = np.bincount(learned.query, weights=wanted, minlength=len(log.queries))
    mean = total.sum() / max(shown.sum(), 1.0)
    return np.where(shown > 0, total / np.maximum(shown, 1.0), mean)
