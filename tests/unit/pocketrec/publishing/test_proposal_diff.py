"""What a holder of a key is shown: each change that a device would act on, however well it hides."""

from datetime import UTC, datetime, timedelta

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, SuccinctRoles, TargetFile, Targets

from pocketrec.publishing.key_files import create_keys
from pocketrec.publishing.proposal_diff import root_changes, targets_changes

PATH = "files/" + "a" * 64
LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)


def targets(*files, delegations=None):
    return Targets(version=1, expires=LATER, targets={one.path: one for one in files}, delegations=delegations)


def file(path=PATH, digest="a", **custom):
    return TargetFile(5, {"sha256": digest * 64}, path, custom)


@pytest.fixture
def key():
    return CryptoSigner.generate_ed25519().public_key


def delegated(key, *, name="channel-team", paths=("channels/team/*",), threshold=1):
    return Delegations({key.keyid: key}, {name: DelegatedRole(name, [key.keyid], threshold, True, list(paths))})


def test_nothing_is_said_where_nothing_changes(key):
    same = targets(file(), delegations=delegated(key))
    assert list(targets_changes(same, targets(file(), delegations=delegated(key)))) == []


@pytest.mark.parametrize(
    "new", [file(digest="b"), TargetFile(6, {"sha256": "a" * 64}, PATH), file(custom={"base": "x"})]
)
def test_file_that_changes_under_its_old_name_is_shown_with_its_digest(new):
    (line,) = targets_changes(targets(file()), targets(new))
    assert line.startswith(f"CHANGES file {PATH}: ")
    assert new.hashes["sha256"] in line


def test_files_that_come_and_go_are_named(key):
    lines = list(targets_changes(targets(file()), targets(file("files/new", "c"))))
    assert lines == [f"adds file files/new: 5 bytes, sha256 {'c' * 64}", f"removes file {PATH}"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"paths": ("channels/*",)}, "for channels/*"),
        ({"name": "helper", "paths": ("channels/stable/*",)}, "role helper: is given to 1 of the keys"),
    ],
)
def test_delegation_that_reaches_further_is_shown(key, change, said):
    lines = list(targets_changes(targets(delegations=delegated(key)), targets(delegations=delegated(key, **change))))
    assert any(said in line and key.keyid in line for line in lines)


def test_delegation_to_hashed_bins_and_one_that_ends_are_shown(key):
    bins = Delegations({key.keyid: key}, succinct_roles=SuccinctRoles([key.keyid], 1, 2, "bin"))
    lines = list(targets_changes(targets(delegations=delegated(key)), targets(delegations=bins)))
    assert lines == [
        "channel team: is taken back",
        "CHANGES delegations to hashed bins, which no command of Pocketrec makes",
    ]


def test_other_key_under_an_old_id_is_shown(key, tmp_path):
    other = CryptoSigner.generate_ed25519().public_key
    other.keyid = key.keyid
    (line,) = targets_changes(targets(delegations=delegated(key)), targets(delegations=delegated(other)))
    assert line == f"CHANGES what key {key.keyid} is, under the same id"
    old = create_keys(tmp_path / "keys", expires_days=9, passphrase=None, now=datetime.now(UTC))
    new = Metadata[Root].from_bytes(old.to_bytes())
    keyid = new.signed.roles["targets"].keyids[0]
    other.keyid = keyid
    new.signed.keys[keyid] = other
    assert list(root_changes(old.signed, new.signed)) == [f"CHANGES what key {keyid} is, under the same id"]


def test_threshold_and_consistent_snapshots_of_a_root_are_shown(tmp_path):
    old = create_keys(tmp_path / "keys", expires_days=9, passphrase=None, now=datetime.now(UTC))
    assert list(root_changes(old.signed, old.signed)) == ["no key changes: it says the same for longer"]
    new = Metadata[Root].from_bytes(old.to_bytes())
    new.signed.roles["targets"].threshold, new.signed.consistent_snapshot = 2, False
    assert list(root_changes(old.signed, new.signed)) == [
        "targets: 2 of 1 keys must sign, until now 1",
        "CHANGES consistent snapshots to False",
    ]
