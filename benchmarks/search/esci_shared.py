"""The teacher that all folds of the ESCI benchmark share; no judged query, or near copy of one, trains it.

Training an encoder on the catalogue's words is the longest stage and does not depend on the fold, so it runs once: on
texts made from the products, and on those real queries of `esci_pairs` that overlap none of the 150 judged ones. Each
fold's build starts from this teacher and trains on the fold's own judgements.
"""

from pathlib import Path

from benchmarks.search.esci_bundle import write_fold_shop
from benchmarks.search.esci_protocol import EsciData, FoldShop
from edge_runtime.contract.types import Progress
from pocketrec.pipeline.stages import Reporter, Stages, digest_of
from train.data.reading import read_shop
from train.data.splits import NearCopies
from train.fine_tuning import TeacherSettings, fine_tune
from train.models.teacher import Teacher

SHARED_STEPS = 240
TEACHER_FOLDER = "teacher"


def shared_shop(data: EsciData) -> FoldShop:
    """Return a shop that may train every fold: all products, and the pairs whose query overlaps no judged one."""
    judged = NearCopies(data.judged)
    labelled = tuple(pair for pair in data.pairs if not judged.has(pair.query))
    return FoldShop(
        products=data.products + data.pair_products,
        labelled=labelled,
        queries=tuple(dict.fromkeys(pair.query for pair in labelled)),
    )


def shared_teacher(data: EsciData, work: Path, *, reporter: Reporter) -> Path:
    """Return the folder of the shared teacher below `work`; it is trained when it is not there yet.

    Raises:
        PocketrecError: training failed, or the disk did.
    """
    settings = TeacherSettings(steps=SHARED_STEPS)
    shop_folder = work / "shop"
    write_fold_shop(shared_shop(data), shop_folder)
    shop = read_shop(shop_folder)

    def train(folder: Path, progress: Progress) -> tuple[str, dict[str, int]]:
        teacher = Teacher.open("minilm")
        result = fine_tune(teacher, shop, settings, seed=0, checkpoint_folder=folder, progress=progress)
        teacher.save(folder / TEACHER_FOLDER)
        return result.summary, {"steps": result.steps}

    stages = Stages(work / "stages", resume=True, reporter=reporter)
    return stages.run("teacher", [digest_of(shop.digest, settings)], train).folder / TEACHER_FOLDER
