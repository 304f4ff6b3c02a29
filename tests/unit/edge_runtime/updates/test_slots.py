"""The slots: which bundle answers, the switch, and going back."""

import pytest

from edge_runtime.contract.bundle import MODEL_FILES
from edge_runtime.contract.errors import UpdateError
from edge_runtime.updates.slots import Installed, Slots
from edge_runtime.updates.staging import plan_update
from tests.support.fleet_bundles import write_bundle


@pytest.fixture
def slots(tmp_path):
    made = Slots(tmp_path / "home")
    made.create()
    return made


def install(slots, words, release=1):
    slots.clear_staging()
    bundle = write_bundle(slots.staging, words=words)
    record = Installed(bundle_id=bundle.bundle_id, channel="stable", release=release, installed_at="now")
    slots.adopt_staging(record)
    return record


def test_new_home_has_nothing(slots):
    assert slots.current is None and slots.installed is None and slots.previous is None
    assert slots.files_by_digest() == {}
    with pytest.raises(UpdateError, match="no previous bundle"):
        slots.roll_back()


def test_switch_keeps_the_bundle_before(slots):
    first, second = install(slots, "first"), install(slots, "second", release=2)
    assert (slots.installed, slots.previous) == (second, first)
    assert not slots.staging.exists()


def test_rolling_back_swaps_the_two(slots):
    first, second = install(slots, "first"), install(slots, "second", release=2)
    assert slots.roll_back() == first
    assert (slots.installed, slots.previous) == (first, second)


def test_files_of_both_bundles_can_be_reused_but_not_staged_ones(slots, tmp_path):
    install(slots, "first")
    install(slots, "second")
    write_bundle(slots.staging, words="third")
    assert len(slots.files_by_digest()) == 3 + 3 + 3
    third = write_bundle(tmp_path / "third", words="third")
    plan = plan_update(third.manifest, slots.files_by_digest())
    assert len(plan.reuse) == 3 and len(plan.download) == 3


def test_same_bundle_again_lies_beside_the_damaged_one(slots):
    record = install(slots, "first")
    damaged = slots.current
    (damaged / MODEL_FILES[0]).write_bytes(b"rot")
    assert install(slots, "first") == record
    assert slots.current != damaged
    install(slots, "first")
    assert slots.current == damaged


def test_only_current_and_previous_are_kept(slots):
    for words in ("first", "second", "third"):
        install(slots, words)
    (slots.partial / "broken").write_bytes(b"x")
    slots.remove_unused()
    assert len(list((slots.partial.parent / "slots").iterdir())) == 4
    assert not list(slots.partial.iterdir())


def test_link_to_nowhere_is_no_bundle(slots):
    slots.current_link.symlink_to("slots/gone")
    assert slots.current is None


def test_link_out_of_the_home_is_not_followed(slots, tmp_path):
    write_bundle(tmp_path / "elsewhere")
    slots.current_link.symlink_to(tmp_path / "elsewhere")
    assert slots.current is None


def test_lost_record_is_no_installed_bundle(slots):
    install(slots, "first")
    slots.current.with_name(f"{slots.current.name}.json").write_text("{")
    assert slots.installed is None and slots.current is not None


def test_folder_without_a_readable_manifest_offers_no_files(slots):
    install(slots, "first")
    (slots.current / "manifest.json").write_text("{")
    assert slots.files_by_digest() == {}
