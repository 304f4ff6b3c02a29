import json
from dataclasses import dataclass

import pytest

from pocketrec.pipeline.stages import DONE_FILE, KEY_FILE, Stages, digest_of
from train.errors import TrainingError


class Log:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.calls = []

    def started(self, stage):
        self.calls.append(("started", stage))

    def progress(self, stage, done, total):
        self.calls.append(("progress", stage, done, total))

    def finished(self, stage, line, *, seconds, reused):
        assert seconds >= 0
        self.calls.append(("finished", stage, line, reused))


class Stop(RuntimeError):
    pass


def work(text="made"):
    def run(folder, progress):
        progress(1, 2)
        (folder / "result.txt").write_text(text)
        (folder / "deeper").mkdir(exist_ok=True)
        (folder / "deeper" / "part.txt").write_text(text)
        return f"{text} it", {"text": text}

    return run


def stopped_work(folder, _progress):
    (folder / "checkpoint").write_text("halfway")
    raise Stop


def must_not_run(_folder, _progress):
    raise AssertionError("this stage was finished before")


def open_stages(folder, *, resume, reporter=None):
    return Stages(folder, resume=resume, reporter=reporter or Log())


@dataclass(frozen=True)
class Settings:
    steps: int = 3


def test_a_stage_reports_its_start_its_progress_and_its_line(tmp_path):
    log = Log()
    result = open_stages(tmp_path / "build", resume=False, reporter=log).run("teach", [1], work())
    assert log.calls == [("started", "teach"), ("progress", "teach", 1, 2), ("finished", "teach", "made it", False)]
    assert (result.folder, result.report) == (tmp_path / "build" / "teach", {"text": "made"})


def test_a_finished_stage_with_the_same_key_does_not_run_again(tmp_path):
    first = open_stages(tmp_path, resume=True).run("teach", [1, Settings()], work())
    log = Log()
    again = open_stages(tmp_path, resume=True, reporter=log).run("teach", [1, Settings()], must_not_run)
    assert again == first
    assert log.calls == [("finished", "teach", "made it", True)]


@pytest.mark.parametrize("parts", [[2, Settings()], [1, Settings(steps=4)], [1]])
def test_a_changed_key_runs_again_from_an_empty_folder(tmp_path, parts):
    open_stages(tmp_path, resume=True).run("teach", [1, Settings()], work())

    def from_nothing(folder, _progress):
        assert [path.name for path in folder.iterdir()] == [KEY_FILE]
        return "anew", {}

    assert open_stages(tmp_path, resume=True).run("teach", parts, from_nothing).report == {}


def test_a_stopped_stage_finds_its_own_files_again(tmp_path):
    with pytest.raises(Stop):
        open_stages(tmp_path, resume=True).run("teach", [1], stopped_work)

    def go_on(folder, _progress):
        return (folder / "checkpoint").read_text(), {}

    open_stages(tmp_path, resume=True).run("teach", [1], go_on)
    assert json.loads((tmp_path / "teach" / DONE_FILE).read_text())["line"] == "halfway"


def test_a_stopped_stage_with_another_key_leaves_no_checkpoint(tmp_path):
    with pytest.raises(Stop):
        open_stages(tmp_path, resume=True).run("teach", [1], stopped_work)
    open_stages(tmp_path, resume=True).run("teach", [2], work())
    assert not (tmp_path / "teach" / "checkpoint").exists()


def test_a_stage_that_stops_on_its_second_run_is_not_taken_for_finished(tmp_path):
    open_stages(tmp_path, resume=True).run("teach", [1], work())
    with pytest.raises(Stop):
        open_stages(tmp_path, resume=True).run("teach", [2], stopped_work)
    assert open_stages(tmp_path, resume=True).run("teach", [1], work("new")).report == {"text": "new"}


def test_without_resume_everything_starts_anew(tmp_path):
    open_stages(tmp_path, resume=False).run("teach", [1], work())
    open_stages(tmp_path, resume=False).run("other", [1], work())
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "other"}'])
def test_a_damaged_done_file_means_unfinished(tmp_path, content):
    open_stages(tmp_path, resume=True).run("teach", [1], work())
    (tmp_path / "teach" / DONE_FILE).write_text(content)
    assert open_stages(tmp_path, resume=True).run("teach", [1], work("new")).report == {"text": "new"}


@pytest.mark.parametrize("name", ["thesis.txt", "photos/cat.jpg"])
def test_files_of_a_stranger_are_refused_and_nothing_is_removed(tmp_path, name):
    open_stages(tmp_path, resume=False).run("teach", [1], work())
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("years of work")
    with pytest.raises(
        TrainingError, match=rf"{name.split('/')[0]} is nothing that a build wrote; give another --work"
    ):
        open_stages(tmp_path, resume=False)
    assert (tmp_path / name).read_text() == "years of work"
    assert (tmp_path / "teach" / DONE_FILE).exists()


def test_a_stranger_s_folder_with_the_name_of_a_stage_survives_resume(tmp_path):
    (tmp_path / "teach").mkdir()
    (tmp_path / "teach" / "lessons.txt").write_text("mine")
    with pytest.raises(TrainingError, match="nothing that a build wrote"):
        open_stages(tmp_path, resume=True).run("teach", [1], work())
    assert (tmp_path / "teach" / "lessons.txt").read_text() == "mine"


@pytest.mark.parametrize("resume", [True, False])
def test_a_stage_that_was_killed_before_its_key_was_written_is_no_stranger(tmp_path, resume):
    (tmp_path / "teach").mkdir()
    (tmp_path / "teach" / ".tmp-x").write_text("ke")
    assert open_stages(tmp_path, resume=resume).run("teach", [1], work()).report == {"text": "made"}


def test_a_removal_that_stops_halfway_leaves_a_stage_that_is_known_as_unfinished(tmp_path, monkeypatch):
    open_stages(tmp_path, resume=True).run("teach", [1], work())

    def stop(_path):
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr("pocketrec.pipeline.stages.shutil.rmtree", stop)
        with pytest.raises(Stop):
            open_stages(tmp_path, resume=False)
    assert open_stages(tmp_path, resume=True).run("teach", [1], work("new")).report == {"text": "new"}
    open_stages(tmp_path, resume=False)
    assert list(tmp_path.iterdir()) == []


def test_equal_parts_give_equal_digests_and_names_count():
    assert digest_of({"a": 1, "b": 2}, Settings()) == digest_of({"b": 2, "a": 1}, Settings())
    assert digest_of(Settings()) != digest_of(Settings(steps=4))
    assert len(digest_of()) == 64


def test_by_key_results_of_unlike_settings_stand_side_by_side(tmp_path):
    stages = Stages(tmp_path, resume=True, reporter=Log(), by_key=True)
    first, second = (stages.run("teach", [number], work(f"made {number}")) for number in (1, 2))
    assert first.folder != second.folder
    assert stages.run("teach", [1], must_not_run).report == {"text": "made 1"}
