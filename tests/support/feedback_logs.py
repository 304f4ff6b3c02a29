"""Small simulated feedback logs with known true values."""

import random

import numpy as np

from edge_runtime.feedback.exploration import LoggingPolicy, show_page
from train.clicks.log import FeedbackLog

PLACES = 5
LOOK = np.arange(1, PLACES + 1) ** -0.8
QUERIES, PRODUCTS = 12, 15
POLICY = LoggingPolicy(swap=0.5, guest=0.5, reserve=5)


def attractions(seed=0):
    """Return float64 [QUERIES, PRODUCTS]."""
    return np.random.default_rng(seed).beta(1.5, 3.0, (QUERIES, PRODUCTS))


def rankings(scores):
    """Return query -> product ids by falling score."""
    return {f"q{query:02d}": [f"p{one:02d}" for one in np.argsort(-row)] for query, row in enumerate(scores)}


def true_value(truth, ranked):
    """Return the clicked or bought products per list, queries asked alike."""
    worth = [
        sum(LOOK[k] * truth[int(q[1:]), int(p[1:])] for k, p in enumerate(ps[:PLACES])) for q, ps in ranked.items()
    ]
    return float(np.mean(worth))


def simulated_log(truth, ranked, *, lists=4_000, devices=200, seed=0, policy=POLICY):
    """Return a log of people who look at places by LOOK and click what is attractive."""
    chance = random.Random(seed)
    rows = []
    for number in range(lists):
        query, device = chance.randrange(QUERIES), chance.randrange(devices)
        for one in show_page(ranked[f"q{query:02d}"], PLACES, policy, chance):
            product = int(one.product_id[1:])
            wanted = chance.random() < LOOK[one.position - 1] * truth[query, product]
            place = (one.position, one.rank, one.propensity, one.page_propensity)
            rows.append((query, product, device, number, *place, wanted))
    columns = np.array(rows, dtype=np.float64).T
    whole = columns[:6].astype(np.int32)
    return FeedbackLog(
        tuple(f"q{query:02d}" for query in range(QUERIES)),
        tuple(f"p{product:02d}" for product in range(PRODUCTS)),
        devices,
        *whole,
        *columns[6:],
        {},
    )


def exported_events(seen, device="d1", query="lamp", name="l1", clicked=()):
    """Return the lines of an export: products of one list in their order."""
    common = {"device_id": device, "list_id": name, "query": query, "bundle_id": "b"}
    events = []
    for position, product in enumerate(seen, 1):
        place = {"position": position, "rank": position, "propensity": 0.5, "page_propensity": 0.9}
        events.append({**common, "kind": "impression", "product_id": product, "sequence": len(events) + 1, **place})
    for product in clicked:
        events.append({**common, "kind": "click", "product_id": product, "sequence": len(events) + 1, "position": 1})
    return events
