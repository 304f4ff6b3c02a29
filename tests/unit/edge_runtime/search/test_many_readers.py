"""Many threads, several processes and an update under way: every reader gets whole answers of one bundle."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import PersonalTaste, Recommender
from edge_runtime.contract.bundle import CATALOGUE_ROWS_FILE, ITEM_VECTORS_FILE, MANIFEST_FILE
from edge_runtime.contract.errors import DigestMismatchError, GoldenMismatchError, PocketrecError
from edge_runtime.inference.interpreter import Model
from tests.support.toy_bundle import make_toy_bundle

QUERIES = ["red lamp", "blue mug", "white chair", "acme table", "gren lmap", "furniture", "small wooden chair"] * 4
ROOT = Path(__file__).parents[4]


def answers(shop: Recommender) -> list[tuple[str, ...]]:
    return [
        shop.search(query, k=5, where={"price": {"gte": 6}} if number % 3 == 0 else None).product_ids
        for number, query in enumerate(QUERIES)
    ]


def in_threads(count: int, work) -> list[object]:
    found: list[object] = [None] * count

    def run(number: int) -> None:
        try:
            found[number] = work(number)
        except (PocketrecError, OSError) as error:  # the test compares it with an answer
            found[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_threads_of_different_tasks_share_one_recommender(tmp_path: Path) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    with Recommender.open(folder) as alone:
        expected = [
            answers(alone),
            [alone.suggest(query[:3]) for query in QUERIES],
            [alone.facets(query) for query in QUERIES],
            [alone.recommend(["p1", "p7"]).product_ids for _ in QUERIES],
        ]
    with Recommender.open(folder) as shop:

        def work(number: int) -> object:
            return (
                lambda: answers(shop),
                lambda: [shop.suggest(query[:3]) for query in QUERIES],
                lambda: [shop.facets(query) for query in QUERIES],
                lambda: [shop.recommend(["p1", "p7"]).product_ids for _ in QUERIES],
            )[number % 4]()

        for number, found in enumerate(in_threads(12, work)):
            assert found == expected[number % 4]


def test_threads_open_the_same_bundle_at_once(tmp_path: Path) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder

    def work(_: int) -> object:
        with Recommender.open(folder) as shop:
            return answers(shop)

    found = in_threads(6, work)
    assert all(one == found[0] for one in found)
    assert isinstance(found[0], list)


def test_processes_share_one_bundle_on_a_read_only_folder(tmp_path: Path) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o555)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from edge_runtime import Recommender; "
        "print([Recommender.open(sys.argv[2]).search(q, k=3).product_ids for q in ('red lamp', 'gren lmap')])"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(ROOT), str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = [child.communicate(timeout=120)[0] for child in children]
    folder.chmod(0o755)
    assert printed[0] == printed[1] == printed[2] != ""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_reader_keeps_its_bundle_when_another_takes_its_place(tmp_path: Path) -> None:
    place, old = tmp_path / "current", tmp_path / "old"
    make_toy_bundle(place)
    stop = threading.Event()
    with Recommender.open(place) as shop:
        expected = answers(shop)
        changed: list[object] = []

        def ask() -> None:
            while not stop.is_set():
                found = answers(shop)
                if found != expected:
                    changed.append(found)

        readers = [threading.Thread(target=ask) for _ in range(3)]
        for reader in readers:
            reader.start()
        make_toy_bundle(tmp_path / "new", version=2)
        place.rename(old)
        (tmp_path / "new").rename(place)
        shutil.rmtree(old)
        assert answers(shop) == expected
        stop.set()
        for reader in readers:
            reader.join(60)
        assert changed == []
        assert shop.product("p0").price == 5.0
    with Recommender.open(place) as newer:
        assert newer.product("p0").price == 10.0


def test_opening_maps_the_vectors_and_copies_nothing(tmp_path: Path) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    with Recommender.open(folder) as shop:
        vectors = shop._catalogue._vectors
        while isinstance(vectors.base, np.ndarray) and not isinstance(vectors, np.memmap):
            vectors = vectors.base
        assert isinstance(vectors, np.memmap)
        assert not vectors.flags.writeable


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux alone says what is resident")
def test_answer_leaves_no_page_of_the_vectors_in_this_process(tmp_path: Path) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    with Recommender.open(folder) as shop:
        expected = shop.search("red lamp").product_ids
        assert resident_bytes(folder / ITEM_VECTORS_FILE) == 0
        assert shop.search("red lamp").product_ids == expected
        assert resident_bytes(folder / ITEM_VECTORS_FILE) > 0  # searches that follow each other fast keep them
        shop._catalogue._released_at -= 1.0
        assert shop.search("red lamp").product_ids == expected
        assert resident_bytes(folder / ITEM_VECTORS_FILE) == 0


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux alone says what is resident")
def test_loaded_model_gives_its_mapped_file_back_and_reads_it_again(tmp_path: Path) -> None:
    path = make_toy_bundle(tmp_path / "bundle").folder / "encoder.tflite"
    model = Model(path)
    assert resident_bytes(path) == 0
    shape = model.input_shape("encode_query", "ids")
    assert np.isfinite(model.run("encode_query", {"ids": np.ones(shape, np.int32)})["vector"]).all()


def resident_bytes(path: Path) -> int:
    """How much of the mappings of a file lies in this process's memory."""
    found, counted = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and not words[0].endswith(":"):
            counted = words[-1] == str(path.resolve())
        elif counted and words[0] == "Rss:":
            found += int(words[1]) * 1024
    return found


@pytest.mark.parametrize(
    "name",
    [CATALOGUE_ROWS_FILE, ITEM_VECTORS_FILE, "catalogue.tflite", "encoder.tflite", "tokenizer.json", "golden.json"],
)
@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_damage_of_any_file_is_caught_on_opening(tmp_path: Path, name: str, damage: str) -> None:
    path = make_toy_bundle(tmp_path / "bundle").folder / name
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        del content[-7:]
    path.write_bytes(content)
    with pytest.raises(DigestMismatchError, match=name):
        Recommender.open(path.parent)


@pytest.mark.parametrize("signature", ["encode_query", "encode_history"])
def test_kernel_that_computes_something_else_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str
) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    honest = Model.run

    def wrong(self: Model, name: str, inputs):
        outputs = honest(self, name, inputs)
        return {
            key: value[..., ::-1] if name == signature and key == "vector" else value for key, value in outputs.items()
        }

    monkeypatch.setattr(Model, "run", wrong)
    with Recommender.open(folder) as shop, pytest.raises(GoldenMismatchError, match="cosine"):
        shop.prove()


def test_layer_that_proposes_the_wrong_rows_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    honest = Model.run

    def wrong(self: Model, name: str, inputs):
        outputs = honest(self, name, inputs)
        return {**outputs, "rows": 29 - outputs["rows"]} if name == "top" else outputs

    monkeypatch.setattr(Model, "run", wrong)
    with Recommender.open(folder) as shop, pytest.raises(GoldenMismatchError, match="golden products are found"):
        shop.prove()


def test_events_of_many_threads_are_all_kept(tmp_path: Path) -> None:
    taste = PersonalTaste(tmp_path / "taste.json")
    in_threads(8, lambda number: [taste.add([f"p{number}-{one}"], "view") for one in range(5)])
    assert len(PersonalTaste(tmp_path / "taste.json").events) == 40


def test_manifest_is_what_makes_a_bundle(tmp_path: Path) -> None:
    folder = make_toy_bundle(tmp_path / "bundle").folder
    manifest = (folder / MANIFEST_FILE).read_bytes()
    (folder / MANIFEST_FILE).write_bytes(manifest.replace(b'"toy-1"', b'"toy-X"'))
    with Recommender.open(folder) as shop:
        assert shop.bundle.manifest.name == "toy-X", "names are not digests: what signs the manifest protects them"
