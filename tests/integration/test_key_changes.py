"""Thresholds, rotation, renewal and delegation of keys, from the key folder over the server to the device."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from tuf.api.metadata import Metadata, Targets

from edge_runtime.contract.bundle import open_bundle
from edge_runtime.contract.errors import ConfigError, ExpiredReleaseError, SignatureError, UpdateError
from edge_runtime.contract.release import file_target, manifest_target
from pocketrec.publishing.api_client import ApiClient
from pocketrec.publishing.key_files import KeyCounts, create_keys, create_team_key, load_public_key
from pocketrec.publishing.key_push import delegate_channel, push
from pocketrec.publishing.key_rotation import renew_root, rotate
from pocketrec.publishing.key_status import key_status
from pocketrec.publishing.publisher import LocalTarget, publish
from sync_server.errors import PublicationError
from sync_server.hosting.home import copy_online_keys, prepare_home
from sync_server.repository.delegations import delegated_channels, role_of
from sync_server.repository.keys import load_root
from tests.support.browser import serving
from tests.support.fleet_bundles import write_bundle
from tests.support.server_simulator import ServerSimulator


@pytest.fixture
def bundles(tmp_path):
    return [write_bundle(tmp_path / words, words=words) for words in ("first", "second", "third")]


def target_of(server):
    return LocalTarget(server.repository, max_file_bytes=10_000_000)


def change(server, role, **options):
    return rotate(server.keys, role, expires_days=3650, passphrase=None, now=server.now, **options)


def hand_over(server, target=None):
    copy_online_keys(server.keys, server.config.home)
    return push(server.keys, target or target_of(server), passphrase=None, clock=lambda: server.now)


def publish_with(server, keys, bundle, channel, **options):
    return publish(
        bundle.folder, channel=channel, keys=keys, target=target_of(server), clock=lambda: server.now, **options
    )


def metadata_folder(server):
    return server.config.home / "repository" / "metadata"


# Thresholds


@pytest.fixture
def two_of_three(tmp_path):
    folder = tmp_path / "keys"
    counts = KeyCounts(keys=3, threshold=2)
    create_keys(folder, expires_days=100, passphrase=None, now=datetime.now(UTC), root_keys=counts, targets_keys=counts)
    return folder


def test_release_needs_as_many_keys_as_the_threshold_says(two_of_three, tmp_path, bundles):
    server = ServerSimulator(tmp_path / "sim", keys=two_of_three)
    elsewhere = tmp_path / "safe"
    elsewhere.mkdir()
    for name in ("targets-2.pem", "targets-3.pem"):
        (two_of_three / "offline" / name).rename(elsewhere / name)
    with pytest.raises(ConfigError, match=r"2 of the 3 targets keys that root\.json trusts are needed, 1 are here"):
        publish_with(server, two_of_three, bundles[0], "stable")
    published = publish_with(server, two_of_three, bundles[0], "stable", more_keys=[elsewhere / "targets-3.pem"])
    assert published.release == 1
    assert server.updater(tmp_path / "device").update().to_bundle_id == bundles[0].bundle_id
    server.close()


def test_one_stolen_key_of_several_forges_nothing(two_of_three, tmp_path, bundles):
    """Key compromise below the threshold: neither the server nor a device takes what one key alone signed."""
    server = ServerSimulator(tmp_path / "sim", keys=two_of_three)
    publish_with(server, two_of_three, bundles[0], "stable")
    home = tmp_path / "device"
    server.updater(home).update()
    forged = server.repository.targets()
    forged.signed.version += 1
    forged.signatures = dict(list(forged.signatures.items())[:1])
    from_one_key = Metadata(forged.signed)
    for signer in list(_signers(two_of_three, "targets"))[:1]:
        from_one_key.sign(signer, append=True)
    with pytest.raises(SignatureError, match="not signed by the targets keys"):
        server.repository.accept(from_one_key.to_bytes())
    (metadata_folder(server) / "2.targets.json").write_bytes(from_one_key.to_bytes())
    server.repository._sign_timestamp(server.repository._sign_snapshot(2, from_one_key.to_bytes()))
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()
    server.close()


def _signers(keys, role):
    from sync_server.repository.keys import find_signers

    root = load_root(keys / "root.json").signed
    return find_signers([keys / "offline"], trusted=root.roles[role], name=role)


@pytest.mark.parametrize(("keys", "threshold"), [(1, 2), (2, 0), (0, 0), (21, 1)])
def test_impossible_thresholds_are_refused(keys, threshold):
    with pytest.raises(ConfigError, match="threshold"):
        KeyCounts(keys=keys, threshold=threshold)


def test_lost_root_key_of_several_is_replaced_by_the_others(two_of_three, tmp_path, bundles):
    server = ServerSimulator(tmp_path / "sim", keys=two_of_three)
    publish_with(server, two_of_three, bundles[0], "stable")
    home = tmp_path / "device"
    server.updater(home).update()
    lost = load_root(two_of_three / "root.json").signed.roles["root"].keyids[2]
    (two_of_three / "offline" / "root-3.pem").unlink()
    done = change(server, "root", only=[lost[:12]])
    assert done.retired == [lost] and len(done.added) == 1
    hand_over(server)
    publish_with(server, two_of_three, bundles[1], "stable")
    assert server.updater(home).update().to_bundle_id == bundles[1].bundle_id
    with pytest.raises(ConfigError, match="0 root keys begin with"):
        change(server, "root", only=["nothing"])
    server.close()


# Rotation


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_devices_follow_rotated_keys(server, home, bundles, role):
    server.publish(bundles[0])
    server.updater(home).update()
    old_root = server.root
    done = change(server, role)
    assert hand_over(server).root_version == 2 == done.root_version
    assert server.updater(home).update().bytes_downloaded == 0
    server.publish(bundles[1])
    assert server.updater(home).update().to_bundle_id == bundles[1].bundle_id
    updater = server.updater(home.with_name("new"))
    updater._root = old_root
    assert updater.update().to_bundle_id == bundles[1].bundle_id, "a device with the first root follows as well"
    assert hand_over(server).new_roots == 0


def test_no_device_is_left_behind_at_any_step_of_a_rotation(server, home, bundles):
    """After each thing that a push hands over, a device that knows the old root and a new one can sync."""
    server.publish(bundles[0])
    server.updater(home).update()
    first_root, steps = server.root, []
    for role in ("targets", "timestamp", "snapshot", "root"):
        change(server, role)

    def sync():
        for device in (home, home.with_name(f"new-{len(steps)}")):
            updater = server.updater(device)
            updater._root = first_root
            steps.append(updater.update().to_bundle_id)

    class Watched(LocalTarget):
        def publish(self, targets, role="targets"):
            super().publish(targets, role)
            sync()

        def publish_root(self, data):
            super().publish_root(data)
            sync()

    hand_over(server, Watched(server.repository, max_file_bytes=1))
    assert steps == [bundles[0].bundle_id] * 10


def test_stolen_targets_key_is_void_once_rotated(server, home, bundles, tmp_path):
    """Key compromise: the old key signs a release; neither server, publisher nor device takes it after the rotation."""
    server.publish(bundles[0])
    server.updater(home).update()
    stolen = shutil.copytree(server.keys, tmp_path / "stolen")
    change(server, "targets")
    hand_over(server)
    forged = server.repository.targets().signed
    forged.version += 1
    metadata = Metadata(forged)
    metadata.sign(_signers(stolen, "targets")[0])
    with pytest.raises(SignatureError, match="not signed by the targets keys"):
        server.repository.accept(metadata.to_bytes())
    (metadata_folder(server) / f"{forged.version}.targets.json").write_bytes(metadata.to_bytes())
    server.repository._sign_timestamp(server.repository._sign_snapshot(forged.version, metadata.to_bytes()))
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home).update()
    with pytest.raises(SignatureError, match="was not signed by these keys"):
        server.publish(bundles[1])
    assert open_bundle(home / "current").bundle_id == bundles[0].bundle_id


def test_fast_forward_by_a_stolen_timestamp_key_ends_with_its_rotation(server, home, bundles):
    """Fast-forward: after a huge version number, new keys let devices accept lower numbers again."""
    server.publish(bundles[0])
    true = shutil.copytree(metadata_folder(server), home.with_name("true"))
    timestamp = server.repository._metadata.timestamp()
    timestamp.signed.version = 2**31
    for signer in server.repository._online_signers(server.repository.root())["timestamp"]:
        timestamp.sign(signer)
    (metadata_folder(server) / "timestamp.json").write_bytes(timestamp.to_bytes())
    server.updater(home).update()
    shutil.copytree(true, metadata_folder(server), dirs_exist_ok=True)
    with pytest.raises(UpdateError, match="older than was seen"):
        server.updater(home).update()
    change(server, "timestamp")
    hand_over(server)
    server.publish(bundles[1])
    assert server.updater(home).update().to_bundle_id == bundles[1].bundle_id


def test_lost_targets_key_is_replaced_without_it(server, home, bundles):
    server.publish(bundles[0])
    server.updater(home).update()
    (server.keys / "offline" / "targets.pem").unlink()
    change(server, "targets")
    assert hand_over(server).targets_signed_anew
    server.publish(bundles[1])
    assert server.updater(home).update().to_bundle_id == bundles[1].bundle_id


def test_root_that_skips_a_step_or_comes_from_a_thief_is_refused(server, bundles, tmp_path):
    server.publish(bundles[0])
    create_keys(tmp_path / "thief", expires_days=10, passphrase=None, now=server.now)
    rotate(tmp_path / "thief", "root", expires_days=10, passphrase=None, now=server.now)
    with pytest.raises(SignatureError, match="not signed by the keys of version 1"):
        server.repository.adopt_root((tmp_path / "thief" / "root.json").read_bytes())
    change(server, "root")
    change(server, "root")
    with pytest.raises(SignatureError, match="every version must be there"):
        server.repository.adopt_root(server.root)
    with pytest.raises(SignatureError, match="another fleet"):
        shutil.copy(server.keys / "roots" / "1.root.json", tmp_path / "thief" / "root.json")
        create_keys(tmp_path / "other", expires_days=10, passphrase=None, now=server.now)
        push(tmp_path / "other", target_of(server), passphrase=None)


def test_server_without_the_new_online_key_keeps_the_old_root(server, bundles):
    server.publish(bundles[0])
    change(server, "snapshot")
    with pytest.raises(PublicationError, match="online keys that this server does not have"):
        push(server.keys, target_of(server), passphrase=None)
    assert server.repository.root().signed.version == 1
    assert hand_over(server).root_version == 2


def test_other_workers_follow_the_new_root(server, home, bundles):
    from sync_server.hosting.home import open_repository

    server.publish(bundles[0])
    other = open_repository(server.config, clock=lambda: server.now)
    change(server, "timestamp")
    hand_over(server)
    server.pass_time(hours=40)
    assert other.renew()
    server.now -= timedelta(hours=40)
    assert server.updater(home).update().to_bundle_id == bundles[0].bundle_id


def test_new_server_serves_every_root(server, home, bundles, tmp_path):
    server.publish(bundles[0])
    server.updater(home).update()
    change(server, "targets")
    change(server, "root")
    moved = tmp_path / "moved"
    config = type(server.config)(home=moved)
    prepare_home(config, keys=server.keys)
    names = {path.name for path in (moved / "repository" / "metadata").glob("*.root.json")}
    assert names == {"1.root.json", "2.root.json", "3.root.json"}


def test_root_is_renewed_before_it_expires(server, home, bundles):
    server.publish(bundles[0])
    server.updater(home).update()
    renewed = renew_root(server.keys, expires_days=4000, passphrase=None, now=server.now)
    hand_over(server)
    assert renewed.signed.version == 2 == server.repository.root().signed.version
    assert server.updater(home).update().bytes_downloaded == 0
    lines = {line.role: line for line in key_status(server.keys, served=target_of(server), passphrase=None)}
    assert lines["root"].version == 2 and lines["root"].keys_here == 1
    assert lines["timestamp"].expires_at and lines["targets"].version == 1
    with pytest.raises(ConfigError, match="at least one day"):
        renew_root(server.keys, expires_days=0, passphrase=None, now=server.now)


# Delegation


@pytest.fixture
def team(server, tmp_path):
    """A team with a key of its own, to which channel toys was given."""
    return _team(server, tmp_path / "team", "toys")


def _team(server, folder, channel):
    public = create_team_key(folder, role_of(channel), root=server.keys / "root.json", passphrase=None)
    _delegate(server, channel, public)
    return folder


def _delegate(server, channel, *public, threshold=1):
    return delegate_channel(
        server.keys,
        target_of(server),
        channel,
        public_keys=[load_public_key(path) for path in public],
        threshold=threshold,
        passphrase=None,
        clock=lambda: server.now,
    )


def test_team_publishes_to_its_channel_and_devices_install_it(server, home, bundles, team):
    server.publish(bundles[0], channel="stable")
    assert publish_with(server, team, bundles[1], "toys").release == 1
    assert publish_with(server, team, bundles[2], "toys").release == 2
    report = server.updater(home, channel="toys").update()
    assert report.to_bundle_id == bundles[2].bundle_id
    assert server.updater(home.with_name("other")).update().to_bundle_id == bundles[0].bundle_id
    assert {name: note.release for name, note in server.repository.releases().items()} == {"stable": 1, "toys": 2}
    server.publish(bundles[2], channel="stable")
    assert server.updater(home, channel="toys").update().bytes_downloaded == 0, "the owner's releases keep the team's"


def test_team_cannot_publish_to_another_channel(server, bundles, team):
    server.publish(bundles[0], channel="stable")
    with pytest.raises(ConfigError, match="1 of the 1 targets keys"):
        publish_with(server, team, bundles[1], "stable")
    signed = server.repository.targets().signed
    metadata = Metadata(Targets(version=1, expires=signed.expires, targets=signed.targets))
    metadata.sign(_team_signer(team, "toys"))
    with pytest.raises(PublicationError, match="key of channel toys may not sign"):
        server.repository.accept(metadata.to_bytes(), role="channel-toys")
    with pytest.raises(SignatureError, match="not signed by the targets keys"):
        server.repository.accept(metadata.to_bytes())


def _team_signer(folder, channel):
    from sync_server.repository.keys import load_signer

    return load_signer(folder / "offline" / f"channel-{channel}.pem")


def test_release_of_one_channel_served_in_another_is_refused(server, home, bundles, team, tmp_path):
    """Cross-channel swap: a broken-into server serves a team's metadata in another channel's place."""
    games = _team(server, tmp_path / "games", "games")
    publish_with(server, team, bundles[0], "toys")
    publish_with(server, games, bundles[1], "games")
    server.updater(home, channel="toys").update()
    swapped = server.repository.targets("channel-games").to_bytes()
    folder = metadata_folder(server)
    (folder / "2.channel-toys.json").write_bytes(swapped)
    server.repository._sign_timestamp(server.repository._sign_snapshot(2, swapped, role="channel-toys"))
    with pytest.raises(SignatureError, match="not signed"):
        server.updater(home, channel="toys").update()
    assert open_bundle(home / "current").bundle_id == bundles[0].bundle_id


def test_team_cannot_name_another_channels_release_or_files(server, home, bundles, team):
    """Cross-channel swap by a team with a broken-into server: its role is not even asked about other channels."""
    server.publish(bundles[0], channel="stable")
    publish_with(server, team, bundles[1], "toys")
    server.updater(home, channel="stable").update()
    toys = server.repository.targets("channel-toys").signed
    evil = {manifest_target("stable"): toys.targets[manifest_target("toys")]}
    for artifact in bundles[0].manifest.artifacts:
        evil[file_target(artifact.sha256)] = next(iter(toys.targets.values()))
    metadata = Metadata(Targets(version=2, expires=toys.expires, targets=evil))
    metadata.sign(_team_signer(team, "toys"))
    (metadata_folder(server) / "2.channel-toys.json").write_bytes(metadata.to_bytes())
    server.repository._sign_timestamp(server.repository._sign_snapshot(2, metadata.to_bytes(), role="channel-toys"))
    assert server.updater(home, channel="stable").update().bytes_downloaded == 0
    fresh = server.updater(home.with_name("fresh"), channel="stable").update()
    assert fresh.to_bundle_id == bundles[0].bundle_id


def test_manifest_of_one_channel_served_in_another_is_refused(server, home, bundles):
    server.publish(bundles[0], channel="stable")
    server.publish(bundles[1], channel="beta")
    other = (bundles[1].folder / "manifest.json").read_bytes()

    def swap(_method, path, answer):
        return type(answer)(200, answer.headers, iter([other])) if "targets/channels/stable" in path else answer

    server.transport.fault = swap
    with pytest.raises(SignatureError, match="something else than what was signed"):
        server.updater(home, channel="stable").update()
    assert any("targets/channels/stable" in request for request in server.transport.requests)
    assert not (home / "current").exists()


def test_channel_that_was_taken_back_is_void(server, home, bundles, team):
    publish_with(server, team, bundles[0], "toys")
    server.updater(home, channel="toys").update()
    _delegate(server, "toys")
    assert "toys" not in server.repository.releases()
    with pytest.raises(UpdateError, match="no release in channel"):
        server.updater(home, channel="toys").update()
    assert open_bundle(home / "current").bundle_id == bundles[0].bundle_id
    with pytest.raises(ConfigError, match="is not delegated"):
        publish_with(server, team, bundles[1], "toys")
    with pytest.raises(ConfigError, match="is not delegated"):
        _delegate(server, "toys")


def test_team_with_a_new_key_goes_on_where_it_was(server, home, bundles, team):
    publish_with(server, team, bundles[0], "toys")
    server.updater(home, channel="toys").update()
    (team / "offline" / "channel-toys.pem").unlink()
    public = create_team_key(team, "channel-toys", root=server.keys / "root.json", passphrase=None)
    _delegate(server, "toys", public)
    assert publish_with(server, team, bundles[1], "toys").release == 2
    assert server.updater(home, channel="toys").update().to_bundle_id == bundles[1].bundle_id


def test_owner_does_not_sign_over_a_team(server, bundles, team):
    with pytest.raises(ConfigError, match="delegated to a team"):
        server.publish(bundles[0], channel="toys")
    server.publish(bundles[0], channel="stable")
    assert list(delegated_channels(server.repository.targets().signed)) == ["toys"]
    public = next(team.glob("*.public.pem"))
    with pytest.raises(ConfigError, match="has releases already"):
        _delegate(server, "stable", public)
    with pytest.raises(ConfigError, match="threshold"):
        _delegate(server, "games", public, threshold=2)


def test_team_follows_the_fleets_rotated_root(server, home, bundles, team):
    publish_with(server, team, bundles[0], "toys")
    change(server, "root")
    change(server, "targets")
    hand_over(server)
    assert publish_with(server, team, bundles[1], "toys").release == 2
    assert load_root(team / "root.json").signed.version == 3
    assert server.updater(home, channel="toys").update().to_bundle_id == bundles[1].bundle_id


def test_expired_team_stops_no_other_channel(server, home, bundles, team):
    server.now -= timedelta(days=30)
    server.publish(bundles[0], channel="stable")
    publish_with(server, team, bundles[1], "toys", expires_days=5)
    server.now = datetime.now(UTC)
    server.repository.renew()
    assert server.updater(home, channel="stable").update().to_bundle_id == bundles[0].bundle_id
    with pytest.raises(ExpiredReleaseError, match="out of date"):
        server.updater(home.with_name("toy"), channel="toys").update()


# Clocks


def test_device_whose_clock_lies_in_the_past_takes_nothing_for_fresh(server, home, bundles):
    """Freeze against a wrong clock: metadata that expired long ago would look fresh to it."""
    server.publish(bundles[0])
    updater = server.updater(home)
    updater._clock = lambda: datetime(2001, 1, 1, tzinfo=UTC)
    with pytest.raises(ExpiredReleaseError, match="clock says 2001-01-01"):
        updater.update()
    assert not (home / "current").exists()
    assert server.updater(home).update().to_bundle_id == bundles[0].bundle_id


def test_device_whose_clock_runs_ahead_keeps_its_bundle(server, home, bundles, monkeypatch):
    server.publish(bundles[0])
    server.updater(home).update()
    server.publish(bundles[1])

    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=4000)

    monkeypatch.setattr("tuf.ngclient._internal.trusted_metadata_set.datetime.datetime", Ahead)
    with pytest.raises(ExpiredReleaseError, match="clock is wrong"):
        server.updater(home).update()
    monkeypatch.undo()
    assert open_bundle(home / "current").bundle_id == bundles[0].bundle_id
    assert server.updater(home).update().to_bundle_id == bundles[1].bundle_id


def test_files_of_the_fleet_hold_the_whole_chain(server):
    change(server, "targets")
    change(server, "timestamp")
    assert [
        json.loads(path.read_bytes())["signed"]["version"] for path in sorted((server.keys / "roots").iterdir())
    ] == [
        1,
        2,
        3,
    ]
    retired = {path.name.split("-")[0] for path in server.keys.rglob("retired/*.pem")}
    assert retired == {"targets", "timestamp"}


def test_keys_are_handed_over_a_network(server, home, bundles, tmp_path):
    """The same over HTTP: rotation, delegation, a team's release, and what the audit log says of them."""
    with serving(server.app) as url:
        target = ApiClient(url, token=server.token)
        publish(bundles[0].folder, channel="stable", keys=server.keys, target=target)
        server.updater(home).update()
        change(server, "targets")
        change(server, "root")
        assert push(server.keys, target, passphrase=None).new_roots == 2
        team = tmp_path / "team"
        public = load_public_key(create_team_key(team, "channel-toys", root=server.keys / "root.json", passphrase=None))
        delegate_channel(server.keys, target, "toys", public_keys=[public], threshold=1, passphrase=None)
        assert publish(bundles[1].folder, channel="toys", keys=team, target=target).release == 1
        assert {line.role for line in key_status(server.keys, served=target, passphrase=None)} >= {"channel-toys"}
    assert server.updater(home).update().bytes_downloaded == 0
    assert server.updater(home.with_name("toy"), channel="toys").update().to_bundle_id == bundles[1].bundle_id
    said = [entry.action for entry in server.services.audit.newest(6)]
    assert said == ["channel-toys published", "targets published", "root published", "root published",
                    "targets published", "targets published"]  # fmt: skip
