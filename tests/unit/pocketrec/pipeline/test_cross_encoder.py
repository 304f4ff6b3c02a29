"""A build's cross-encoder stage on a tiny BERT, from the teacher to the student's scored lists."""

from dataclasses import replace

import numpy as np

from pocketrec.pipeline.build import BundleBuild
from pocketrec.pipeline.settings import BuildSettings
from pocketrec.pipeline.stages import Stages
from tests.support.bert_checkpoint import CONFIG, random_weights, write_checkpoint
from tests.support.shops import make_shop
from tests.support.tiny_student import SETTINGS
from train.data.tables import Judgement, Product
from train.fine_tuning import TeacherSettings
from train.models.cross_encoder import CrossEncoderShape
from train.models.cross_encoder_training import CrossEncoderSettings
from train.models.history import HistorySettings
from train.models.projection import ProjectionSettings
from train.text.augmentation import TextSettings

ITEMS = [f"{color} {thing}" for color in ("red", "blue", "green") for thing in ("lamp", "table", "chair", "desk")]
SHOP = make_shop(
    [Product(f"p{row}", item) for row, item in enumerate(ITEMS)],
    judgements=[Judgement("small", 0, 1.0), Judgement("small", 1, 0.0), Judgement("oak", 5, 1.0)],
    queries=["red desk"],
)
SHAPE = CrossEncoderShape(query_tokens=4, pair_tokens=8, lists_per_step=2)


class Quiet:
    def started(self, stage):
        pass

    def progress(self, stage, done, total):
        pass

    def finished(self, stage, line, *, seconds, reused):
        pass


def settings_of(source, **changes):
    settings = BuildSettings(
        dim=8,
        holdout=0.0,
        teacher_source=str(source),
        teacher=TeacherSettings(steps=0),
        projection=ProjectionSettings(steps=2),
        texts=TextSettings(count=20),
        student=SETTINGS,
        history=HistorySettings(steps=0, items=4, heads=2, hidden=8),
        cross_encoder=CrossEncoderSettings(
            steps=2, rounds=1, mined=2, list_size=4, candidates=3, distill_into="student", shape=SHAPE
        ),
    )
    return replace(settings, **changes)


def test_the_stage_runs_where_it_is_asked_for_and_something_is_judged(tmp_path):
    one_layer = {**CONFIG, "num_hidden_layers": 1}
    source = write_checkpoint(tmp_path / "bert", config=one_layer, weights=random_weights(config=one_layer))

    def inputs(shop, name, **changes):
        stages = Stages(tmp_path / name, resume=True, reporter=Quiet())
        return BundleBuild(shop, settings_of(source, **changes), stages).inputs()

    asked = inputs(SHOP, "asked")
    assert list(asked.results)[:3] == ["teacher", "cross-encoder", "vectors"]
    assert asked.vectors.scored.texts == ["small", "oak", "red desk"]
    assert asked.vectors.scored.rows.shape == (3, 3)
    without = inputs(SHOP, "without", cross_encoder=CrossEncoderSettings())
    assert ("cross-encoder" in without.results, without.vectors.scored) == (False, None)
    assert not np.array_equal(without.vectors.items, asked.vectors.items)
    unjudged = replace(SHOP, judgements=())
    assert "cross-encoder" not in inputs(unjudged, "unjudged").results
