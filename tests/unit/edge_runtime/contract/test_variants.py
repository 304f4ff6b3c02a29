"""Variants of an experiment keep the field names `arm` and `arms` in files and on the wire, which older devices read."""

import json

import msgspec

from edge_runtime.contract.offer import ExperimentOffer, VariantOffer
from edge_runtime.contract.reports import DeviceReport
from edge_runtime.updates.slots import Installed


def test_variants_keep_their_names_in_files_and_on_the_wire():
    place = {"channel": "stable", "release": 1, "bundle_id": "b"}
    report = DeviceReport(number=1, kind="installed", timestamp_s=1.0, variant="new", **place)
    installed = Installed(installed_at="now", variant="new", **place)
    for one in (report, installed):
        data = msgspec.json.encode(one)
        assert json.loads(data)["arm"] == "new" and "variant" not in json.loads(data)
        assert msgspec.json.decode(data, type=type(one)) == one
    offer = ExperimentOffer(id="e", seed="s", variants=[VariantOffer("new", 1, 1.0)])
    assert json.loads(msgspec.json.encode(offer))["arms"] == [{"name": "new", "release": 1, "weight": 1.0}]
