"""Two of three keys on three machines: a proposal goes round, and devices take what enough holders have signed."""

import json
import shutil
from datetime import UTC, datetime

import pytest
from tuf.api.metadata import Metadata

from edge_runtime.contract.errors import SignatureError
from pocketrec import verbs
from pocketrec.publishing.key_files import KeyCounts, create_keys, write_key
from pocketrec.publishing.key_push import push
from pocketrec.publishing.publisher import LocalTarget
from sync_server.hosting.home import copy_online_keys
from sync_server.repository.keys import load_root, load_signer
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator

COUNTS = KeyCounts(keys=3, threshold=2)


@pytest.fixture
def holders(tmp_path):
    """Folders of keys of three people, each with one root key and one targets key; the first has the online keys too."""
    together = tmp_path / "together"
    create_keys(
        together, expires_days=400, passphrase=None, now=datetime.now(UTC), root_keys=COUNTS, targets_keys=COUNTS
    )
    folders = [tmp_path / name for name in ("anna", "ben", "carla")]
    for number, folder in enumerate(folders, start=1):
        (folder / "offline").mkdir(parents=True)
        shutil.copy(together / "root.json", folder)
        for role in ("root", "targets"):
            name = role if number == 1 else f"{role}-{number}"
            shutil.copy(together / "offline" / f"{name}.pem", folder / "offline")
    shutil.copytree(together / "online", folders[0] / "online")
    return folders


@pytest.fixture
def server(tmp_path, holders):
    simulator = ServerSimulator(tmp_path / "sim", keys=holders[0])
    yield simulator
    simulator.close()


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = verbs.main([*map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def propose(run, server, holders, bundle, path):
    home = server.config.home
    code, out, err = run(
        "publish", bundle.folder, "--keys", holders[0], "--store", home, "--propose", path, "--no-deltas"
    )
    assert code == 0, err
    return out


def test_release_that_two_of_three_holders_signed_reaches_devices(run, server, holders, tmp_path):
    bundle, file = write_bundle(tmp_path / "first", words="first"), tmp_path / "release.json"
    assert "as release 1 of channel stable; the holders" in propose(run, server, holders, bundle, file)
    assert server.repository.targets() is None
    code, _, err = run("keys", "finish", file, "--keys", holders[0], "--store", server.config.home)
    assert code == 1
    assert "1 more needed" in err

    code, out, err = run("keys", "sign", file, "--keys", holders[1], "--yes")
    assert code == 0, err
    assert f"channel stable: adds release 1, bundle {bundle.bundle_id}" in err
    assert "enough" in out
    code, out, err = run("keys", "finish", file, "--keys", holders[0], "--store", server.config.home)
    assert (code, out) == (0, "targets version 1 are published\n"), err
    assert server.updater(tmp_path / "device").update().to_bundle_id == bundle.bundle_id

    second = write_bundle(tmp_path / "second", words="second")
    propose(run, server, holders, second, file)
    code, _, err = run("keys", "sign", file, "--keys", holders[0], "--show")
    assert code == 0
    assert "adds release 2" in err
    assert "adds release 1" not in err


def test_device_refuses_what_one_holder_alone_signed(run, server, holders, tmp_path):
    """The server refuses it; so does a device to which a server that was broken into serves it all the same."""
    file = tmp_path / "release.json"
    first = write_bundle(tmp_path / "first", words="first")
    propose(run, server, holders, first, file)
    run("keys", "sign", file, "--keys", holders[1], "--yes")
    run("keys", "finish", file, "--keys", holders[0], "--store", server.config.home)
    assert server.updater(tmp_path / "device").update().to_bundle_id == first.bundle_id

    propose(run, server, holders, write_bundle(tmp_path / "second", words="second"), file)
    data = file.read_bytes()
    assert len(Metadata.from_bytes(data).signatures) == 1
    with pytest.raises(SignatureError, match="not signed by the targets keys"):
        server.repository.accept(data)
    (server.config.home / "repository" / "metadata" / "2.targets.json").write_bytes(data)
    server.repository._sign_timestamp(server.repository._sign_snapshot(2, data))
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(tmp_path / "device").update()


def test_holder_is_shown_only_what_is_new_and_signs_no_older_version(run, server, holders, tmp_path):
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    old = write_bundle(tmp_path / "one", words="one")
    propose(run, server, holders, old, first)
    run("keys", "sign", first, "--keys", holders[1], "--yes")
    run("keys", "finish", first, "--keys", holders[0], "--store", server.config.home)
    bundle = write_bundle(tmp_path / "two", words="two")
    propose(run, server, holders, bundle, second)
    code, _, err = run("keys", "sign", second, "--keys", holders[1], "--yes")
    assert code == 0, err
    assert "adds release 2" in err
    assert "adds release 1" not in err
    known, digests = ({one.sha256 for one in each.manifest.artifacts} for each in (old, bundle))
    assert digests - known
    assert all(f"sha256 {digest}" in err for digest in digests - known)
    assert not any(digest in err for digest in known & digests)
    code, _, err = run("keys", "sign", first, "--keys", holders[1], "--yes")
    assert code == 1
    assert "is older than version 2" in err


def test_holder_is_warned_of_a_second_proposal_of_the_same_version(run, server, holders, tmp_path):
    for words in ("one", "two"):
        propose(run, server, holders, write_bundle(tmp_path / words, words=words), tmp_path / f"{words}.json")
    _, _, err = run("keys", "sign", tmp_path / "one.json", "--keys", holders[1], "--yes")
    assert "WARNING" not in err
    _, _, err = run("keys", "sign", tmp_path / "two.json", "--keys", holders[1], "--show")
    assert "WARNING: these keys signed another version 1" in err


def test_root_goes_round_until_the_old_and_the_new_keys_suffice(run, server, holders, tmp_path):
    bundle, file = write_bundle(tmp_path / "first", words="first"), tmp_path / "release.json"
    propose(run, server, holders, bundle, file)
    run("keys", "sign", file, "--keys", holders[1], "--yes")
    run("keys", "finish", file, "--keys", holders[0], "--store", server.config.home)
    updater = server.updater(tmp_path / "device")
    updater.update()

    root = tmp_path / "root.next.json"
    stolen = load_root(holders[0] / "root.json").signed.roles["root"].keyids[2]
    code, _, err = run("keys", "rotate", "root", "--only", stolen[:8], "--keys", holders[0], "--propose", root)
    assert code == 0, err
    assert load_root(holders[0] / "root.json").signed.version == 1
    code, out, err = run("keys", "sign", root, "--keys", holders[1], "--yes", "--json")
    assert code == 0, err
    assert f"removes root key {stolen[:8]}" in err
    assert json.loads(out)["progress"]["missing"] == 0
    code, _, err = run("keys", "finish", root, "--keys", holders[0])
    assert code == 0, err
    newest = load_root(holders[0] / "root.json").signed
    assert newest.version == 2
    assert stolen not in newest.roles["root"].keyids
    copy_online_keys(holders[0], server.config.home)
    push(holders[0], LocalTarget(server.repository, max_file_bytes=10_000_000), passphrase=None)
    second = write_bundle(tmp_path / "second", words="second")
    propose(run, server, holders, second, file)
    run("keys", "sign", file, "--keys", holders[1], "--yes")
    run("keys", "finish", file, "--keys", holders[0], "--store", server.config.home)
    assert server.updater(tmp_path / "device").update().to_bundle_id == second.bundle_id


def test_proposal_that_was_changed_after_a_signature_is_refused(run, server, holders, tmp_path):
    file = tmp_path / "release.json"
    propose(run, server, holders, write_bundle(tmp_path / "first", words="first"), file)
    metadata = Metadata.from_bytes(file.read_bytes())
    next(iter(metadata.signed.targets.values())).length += 1
    file.write_bytes(metadata.to_bytes())
    code, _, err = run("keys", "sign", file, "--keys", holders[1], "--yes")
    assert code == 1
    assert "was changed after key" in err


def test_holder_signs_no_version_twice_and_only_with_a_key_of_the_role(run, server, holders, tmp_path):
    bundle, file = write_bundle(tmp_path / "first", words="first"), tmp_path / "release.json"
    propose(run, server, holders, bundle, file)
    (holders[2] / "offline" / "targets-3.pem").unlink()
    code, _, err = run("keys", "sign", file, "--keys", holders[2], "--yes")
    assert code == 1
    assert "none of the keys here is a targets key" in err
    code, _, err = run("keys", "sign", file, "--keys", holders[1])
    assert code == 1
    assert "sign with --yes" in err
    run("keys", "sign", file, "--keys", holders[1], "--yes")
    run("keys", "finish", file, "--keys", holders[0], "--store", server.config.home)
    code, _, err = run("keys", "sign", file, "--keys", holders[0], "--yes")
    assert code == 1
    assert "is not newer than version 1" in err


def test_file_that_is_no_proposal_is_named(run, holders, tmp_path):
    (tmp_path / "note.json").write_text("{}")
    code, _, err = run("keys", "sign", tmp_path / "note.json", "--keys", holders[0], "--yes")
    assert code == 1
    assert "is no proposal" in err


def test_encrypted_key_without_its_passphrase_is_named_and_no_new_key_is_left_unencrypted(
    run, server, holders, tmp_path, monkeypatch
):
    file = tmp_path / "release.json"
    propose(run, server, holders, write_bundle(tmp_path / "first", words="first"), file)
    for holder in holders[:2]:
        for path in (holder / "offline").glob("*.pem"):
            signer = load_signer(path)
            path.unlink()
            write_key(path, signer, b"open sesame")
    code, _, err = run("keys", "sign", file, "--keys", holders[1], "--yes")
    assert code == 1
    assert "POCKETREC_KEY_PASSPHRASE_FILE" in err
    before = sorted((holders[0] / "offline").iterdir())
    code, _, err = run("keys", "rotate", "targets", "--keys", holders[0], "--propose", tmp_path / "root.json")
    assert code == 1
    assert "POCKETREC_KEY_PASSPHRASE_FILE" in err
    assert sorted((holders[0] / "offline").iterdir()) == before

    (tmp_path / "passphrase").write_text("open sesame")
    monkeypatch.setenv("POCKETREC_KEY_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    code, out, err = run("keys", "sign", file, "--keys", holders[1], "--yes")
    assert code == 0, err
    assert "enough" in out
