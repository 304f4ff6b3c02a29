"""Keys, the server's home, its settings and its tables."""

import stat
from datetime import UTC, datetime

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_runtime.contract.errors import ConfigError, SignatureError, StorageError
from edge_runtime.settings import load_toml
from pocketrec.publishing.key_files import create_keys, key_path, read_passphrase
from pocketrec.publishing.key_rotation import rotate
from sync_server.app import create_app
from sync_server.config import ServerConfig
from sync_server.database.engine import migrate, open_database
from sync_server.database.schema import METADATA
from sync_server.hosting.home import open_repository, prepare_home
from sync_server.repository.keys import PASSPHRASE_VARIABLE, load_root, load_signer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def make_keys(folder, passphrase=None):
    return create_keys(folder, expires_days=10, passphrase=passphrase, now=NOW)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_root_trusts_one_key_per_role(tmp_path):
    root = make_keys(tmp_path / "keys").signed
    assert root.consistent_snapshot and root.version == 1
    assert str(root.expires) == "2026-01-11 00:00:00+00:00"
    keyids = [keyid for role in root.roles.values() for keyid in role.keyids]
    assert len(set(keyids)) == 4 and all(role.threshold == 1 for role in root.roles.values())


def test_private_keys_are_readable_to_their_owner_only(tmp_path):
    make_keys(tmp_path / "keys")
    files = list((tmp_path / "keys").rglob("*.pem"))
    assert len(files) == 4 and all(mode(path) == 0o600 for path in files)
    assert mode(tmp_path / "keys" / "offline") == 0o700


def test_passphrase_encrypts_the_offline_keys_only(tmp_path):
    keys = tmp_path / "keys"
    make_keys(keys, passphrase=b"open sesame")
    encrypted = {path.stem for path in keys.rglob("*.pem") if b"ENCRYPTED" in path.read_bytes()}
    assert encrypted == {"root", "targets"}
    assert load_signer(key_path(keys, "targets"), passphrase=b"open sesame").public_key
    with pytest.raises(ConfigError, match="passphrase is wrong"):
        load_signer(key_path(keys, "targets"), passphrase=b"wrong")
    with pytest.raises(ConfigError, match=PASSPHRASE_VARIABLE):
        load_signer(key_path(keys, "targets"))


def test_keys_are_never_overwritten(tmp_path):
    make_keys(tmp_path / "keys")
    with pytest.raises(ConfigError, match="never overwritten"):
        make_keys(tmp_path / "keys")


def test_validity_must_be_positive(tmp_path):
    with pytest.raises(ConfigError, match="at least one day"):
        create_keys(tmp_path / "keys", expires_days=0, passphrase=None, now=NOW)


def test_passphrase_comes_from_the_named_file(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("open sesame\n")
    assert read_passphrase({PASSPHRASE_VARIABLE: str(path)}) == b"open sesame"
    assert read_passphrase({}) is None
    path.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        read_passphrase({PASSPHRASE_VARIABLE: str(path)})
    with pytest.raises(ConfigError, match="cannot read"):
        read_passphrase({PASSPHRASE_VARIABLE: str(tmp_path / "none")})


def test_file_that_is_no_key_is_named(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match="not a private key"):
        load_signer(path)
    with pytest.raises(ConfigError, match="pocketrec keys init"):
        load_signer(tmp_path / "none.pem")
    other = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ConfigError, match="ed25519"):
        load_signer(path)


def test_changed_root_is_refused(tmp_path):
    make_keys(tmp_path / "keys")
    path = tmp_path / "keys" / "root.json"
    path.write_bytes(
        path.read_bytes().replace(b'"threshold": 1', b'"threshold": 1 ').replace(b"2026-01-11", b"2036-01-11")
    )
    with pytest.raises(SignatureError, match="not signed by its own keys"):
        load_root(path)
    path.write_text("{}")
    with pytest.raises(ConfigError, match=r"not a root\.json"):
        load_root(path)


def test_first_start_needs_keys(tmp_path):
    with pytest.raises(ConfigError, match="--keys"):
        prepare_home(ServerConfig(home=tmp_path / "server"), keys=None)


def test_server_never_gets_the_offline_keys(tmp_path):
    make_keys(tmp_path / "keys")
    home = tmp_path / "server"
    prepare_home(ServerConfig(home=home), keys=tmp_path / "keys")
    offline = [key_path(tmp_path / "keys", role).read_bytes() for role in ("root", "targets")]
    copies = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert not any(key in copy for key in offline for copy in copies)
    assert mode(home / "publisher.token") == 0o600
    assert all(mode(path) == 0o600 for path in (home / "keys").iterdir())


def test_second_start_keeps_token_and_keys(tmp_path):
    make_keys(tmp_path / "keys")
    config = ServerConfig(home=tmp_path / "server")
    assert prepare_home(config, keys=tmp_path / "keys").token_is_new
    before = {path: path.read_bytes() for path in (config.home / "keys").iterdir()}
    token = (config.home / "publisher.token").read_text()
    assert not prepare_home(config, keys=None).token_is_new
    assert (config.home / "publisher.token").read_text() == token
    assert {path: path.read_bytes() for path in (config.home / "keys").iterdir()} == before


def test_keys_of_two_fleets_do_not_mix(tmp_path):
    make_keys(tmp_path / "one")
    make_keys(tmp_path / "two")
    (tmp_path / "one" / "online" / "snapshot.pem").write_bytes((tmp_path / "two/online/snapshot.pem").read_bytes())
    with pytest.raises(ConfigError, match="snapshot keys that root"):
        prepare_home(ServerConfig(home=tmp_path / "server"), keys=tmp_path / "one")
    assert not (tmp_path / "server" / "root.json").exists()


def test_later_start_says_that_newer_keys_are_not_taken(tmp_path):
    make_keys(tmp_path / "keys")
    config = ServerConfig(home=tmp_path / "server")
    assert prepare_home(config, keys=tmp_path / "keys").keys_note == ""
    assert prepare_home(config, keys=tmp_path / "keys").keys_note == ""
    rotate(tmp_path / "keys", "timestamp", expires_days=10, passphrase=None, now=NOW)
    note = prepare_home(config, keys=tmp_path / "keys").keys_note
    assert "root version 2, the server has 1" in note and "keys push" in note
    assert open_repository(config).root().signed.version == 1


def test_keys_of_another_fleet_are_refused_by_a_later_start(tmp_path):
    make_keys(tmp_path / "one")
    make_keys(tmp_path / "two")
    config = ServerConfig(home=tmp_path / "server")
    prepare_home(config, keys=tmp_path / "one")
    with pytest.raises(ConfigError, match="another fleet"):
        prepare_home(config, keys=tmp_path / "two")


def test_home_that_was_never_started_is_named(tmp_path):
    with pytest.raises(ConfigError, match="not a server's home yet"):
        create_app(ServerConfig(home=tmp_path))
    with pytest.raises(ConfigError, match="not a server's home yet"):
        open_repository(ServerConfig(home=tmp_path))


def test_migrations_make_the_tables_of_the_models(tmp_path):
    engine = open_database(tmp_path / "db.sqlite")
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


def test_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "db.sqlite").write_bytes(b"nonsense" * 1_000)
    engine = open_database(tmp_path / "db.sqlite")
    with pytest.raises(StorageError, match="database cannot be used"):
        migrate(engine)
    engine.dispose()


def test_settings_come_from_toml_and_are_checked(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text('home = "there"\nport = 9000\n')
    assert load_toml(path, ServerConfig).port == 9000
    for line, named in [("port = 70000", "port"), ("workers = 0", "workers"), ("color = 1", "color")]:
        path.write_text(line)
        with pytest.raises(ConfigError, match=named):
            load_toml(path, ServerConfig)
