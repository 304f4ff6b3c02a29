"""Accounts, logins, sessions, API keys: on SQLite and on a real PostgreSQL."""

import pytest
from argon2 import PasswordHasher

from edge_runtime.contract.errors import ConfigError
from sync_server.errors import LoginError
from sync_server.operators.accounts import Operators
from sync_server.operators.api_keys import ApiKeys
from sync_server.operators.audit_log import AuditLog

PASSWORD = "correct horse battery"
FAST = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Clock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def operators(engine, clock):
    operators = Operators(engine, clock, session_s=3_600, idle_s=600, hasher=FAST)
    operators.add("anna", role="admin", password=PASSWORD, actor="test")
    return operators


@pytest.fixture
def keys(engine, clock):
    return ApiKeys(engine, clock)


def actions(engine, clock):
    return [entry.action for entry in reversed(AuditLog(engine, clock).newest(50))]


def test_login_gives_a_session_with_the_role(operators):
    principal = operators.principal_of(operators.log_in("anna", PASSWORD))
    assert (principal.name, principal.role) == ("anna", "admin")
    assert operators.principal_of("another token") is None


@pytest.mark.parametrize(
    ("name", "password"), [("anna", "wrong"), ("nobody", PASSWORD), ("Anna\0", PASSWORD), ("", "")]
)
def test_wrong_name_and_wrong_password_are_told_alike(operators, name, password):
    with pytest.raises(LoginError, match=r"^name or password is wrong$"):
        operators.log_in(name, password)


class Counting(PasswordHasher):
    """Counts what takes time."""

    def __init__(self):
        super().__init__(time_cost=1, memory_cost=8, parallelism=1)
        self.done = []

    def hash(self, password, **options):
        self.done.append("hash")
        return super().hash(password, **options)

    def verify(self, hashed, password):
        self.done.append("verify")
        return super().verify(hashed, password)


def test_wrong_name_costs_the_same_work_as_a_wrong_password(operators):
    hasher = Counting()
    object.__setattr__(operators, "hasher", hasher)
    work = {}
    for name in ("warm-up", "anna", "nobody", "Anna\0"):
        hasher.done.clear()
        with pytest.raises(LoginError):
            operators.log_in(name, "wrong")
        work[name] = list(hasher.done)
    assert work["anna"] == work["nobody"] == work["Anna\0"] == ["verify"]


def test_password_is_kept_as_argon2id_only(operators, engine):
    with engine.connect() as connection:
        (hashed,) = connection.exec_driver_sql("SELECT password_hash FROM operators").one()
    assert hashed.startswith("$argon2id$") and PASSWORD not in hashed


def test_tokens_are_kept_as_digests_only(operators, keys, engine):
    secrets = [operators.log_in("anna", PASSWORD)]
    secrets.append(keys.create("anna", role="viewer", label="x", actor="t").secret)
    with engine.connect() as connection:
        stored = [
            str(connection.exec_driver_sql(f"SELECT * FROM {table}").all())
            for table in ("operator_sessions", "api_keys")
        ]
    assert not any(secret in text for secret in secrets for text in stored)


@pytest.mark.parametrize("name", ["", "Anna", "a b", "<b>", "a" * 65, "ann\0a"])
def test_names_are_plain(operators, name):
    with pytest.raises(ConfigError, match="lower-case"):
        operators.add(name, role="viewer", password=PASSWORD, actor="test")


def test_name_is_taken_once_and_short_passwords_are_refused(operators):
    with pytest.raises(ConfigError, match="already"):
        operators.add("anna", role="viewer", password=PASSWORD, actor="test")
    with pytest.raises(ConfigError, match="at least 12"):
        operators.add("berta", role="viewer", password="short", actor="test")


def test_account_rests_after_five_wrong_passwords_and_longer_each_time(operators, clock, engine):
    for _ in range(5):
        with pytest.raises(LoginError, match="wrong"):
            operators.log_in("anna", "wrong password")
    with pytest.raises(LoginError, match="try again in") as caught:
        operators.log_in("anna", PASSWORD)
    assert caught.value.status_code == 429 and operators.everyone()[0].locked
    clock.now += 31
    with pytest.raises(LoginError, match="wrong"):
        operators.log_in("anna", "wrong password")
    clock.now += 31
    with pytest.raises(LoginError, match="try again"):
        operators.log_in("anna", PASSWORD)
    clock.now += 60
    operators.log_in("anna", PASSWORD)
    assert "login locked" in actions(engine, clock)
    operators.log_in("anna", PASSWORD)


def test_reset_lifts_the_lock_and_ends_sessions(operators, clock):
    token = operators.log_in("anna", PASSWORD)
    for _ in range(5):
        with pytest.raises(LoginError):
            operators.log_in("anna", "wrong password")
    operators.set_password("anna", password="another good password", actor="test")
    assert operators.principal_of(token) is None
    operators.log_in("anna", "another good password")
    with pytest.raises(LoginError):
        operators.log_in("anna", PASSWORD)


def test_session_ends_with_logout_idleness_and_age(operators, clock):
    token = operators.log_in("anna", PASSWORD)
    operators.log_out(token)
    assert operators.principal_of(token) is None
    idle = operators.log_in("anna", PASSWORD)
    clock.now += 601
    assert operators.principal_of(idle) is None
    old = operators.log_in("anna", PASSWORD)
    for _ in range(7):
        clock.now += 500
        assert operators.principal_of(old)
    clock.now += 500
    assert operators.principal_of(old) is None


def test_disabled_account_has_no_sessions_no_logins_and_no_keys(operators, keys):
    token = operators.log_in("anna", PASSWORD)
    key = keys.create("anna", role="publisher", label="ci", actor="test")
    operators.disable("anna", actor="test")
    assert operators.principal_of(token) is None and keys.principal_of(key.secret) is None
    with pytest.raises(LoginError):
        operators.log_in("anna", PASSWORD)
    operators.enable("anna", actor="test")
    assert operators.principal_of(token) is None
    assert keys.principal_of(key.secret).role == "publisher"
    operators.log_in("anna", PASSWORD)


def test_role_changes_hold_at_once(operators, keys):
    token = operators.log_in("anna", PASSWORD)
    key = keys.create("anna", role="admin", label="ci", actor="test")
    operators.set_role("anna", role="viewer", actor="test")
    assert operators.principal_of(token).role == "viewer"
    assert keys.principal_of(key.secret).role == "viewer", "a key may not do more than its operator"


def test_roles_include_the_lower_ones(operators):
    principal = operators.principal_of(operators.log_in("anna", PASSWORD))
    assert principal.may("viewer") and principal.may("publisher") and principal.may("admin")
    operators.set_role("anna", role="publisher", actor="test")
    principal = operators.principal_of(operators.log_in("anna", PASSWORD))
    assert principal.may("viewer") and principal.may("publisher") and not principal.may("admin")


def test_key_ends_by_revocation_and_by_date(operators, keys, clock):
    revoked = keys.create("anna", role="viewer", label="one", actor="test")
    dated = keys.create("anna", role="viewer", label="two", valid_days=2, actor="test")
    assert keys.principal_of(revoked.secret).name == f"anna (key {revoked.key_id})"
    keys.revoke(revoked.key_id, actor="test")
    assert keys.principal_of(revoked.secret) is None and keys.principal_of(dated.secret)
    clock.now += 2 * 86_400
    assert keys.principal_of(dated.secret) is None
    assert [key.active for key in keys.every_key()] == [False, False]


def test_server_key_that_was_revoked_stays_revoked(keys):
    keys.adopt_server_key("s" * 43)
    keys.adopt_server_key("s" * 43)
    (key,) = keys.every_key()
    assert keys.principal_of("s" * 43).role == "publisher"
    keys.revoke(key.key_id, actor="test")
    keys.adopt_server_key("s" * 43)
    assert keys.principal_of("s" * 43) is None


def test_things_that_do_not_exist_are_named(operators, keys):
    with pytest.raises(ConfigError, match="no operator 'zoe'"):
        operators.disable("zoe", actor="test")
    with pytest.raises(ConfigError, match="no operator 'zoe'"):
        keys.create("zoe", role="viewer", label="x", actor="test")
    with pytest.raises(ConfigError, match="no API key"):
        keys.revoke("none", actor="test")
    with pytest.raises(ConfigError, match="label"):
        keys.create("anna", role="viewer", label="\x1b[31m", actor="test")


def test_everything_is_in_the_audit_log(operators, keys, engine, clock):
    operators.log_out(operators.log_in("anna", PASSWORD))
    key = keys.create("anna", role="viewer", label="x", actor="anna")
    keys.revoke(key.key_id, actor="anna")
    assert actions(engine, clock) == ["operator added", "logged in", "logged out", "API key made", "API key revoked"]


@pytest.mark.parametrize("days", [0, 10**9, 9 * 10**399], ids=["none", "a billion", "endless"])
def test_key_that_is_valid_for_ages_is_refused(operators, keys, days):
    with pytest.raises(ConfigError, match="1 to 3650 days"):
        keys.create("anna", role="viewer", label="x", actor="test", valid_days=days)
