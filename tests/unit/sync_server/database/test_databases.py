"""SQLite and PostgreSQL: the same tables, errors as sentences, passwords nowhere."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from edge_runtime.contract.errors import ConfigError, StorageError
from sync_server.config import DATABASE_URL_VARIABLE, ServerConfig, with_secrets
from sync_server.database.engine import is_postgresql, migrate, open_database, reading
from sync_server.database.schema import METADATA


def test_migrations_make_the_tables_of_the_models_in_postgresql(postgres_databases):
    engine = open_database(postgres_databases.fresh())
    migrate(engine)
    migrate(engine)
    with engine.connect() as connection:
        assert is_postgresql(connection)
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_readers_see_what_was_committed_in_both(tmp_path, database_url):
    engine = open_database(database_url or tmp_path / "db.sqlite")
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS seen")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE seen (a INTEGER)")
        connection.exec_driver_sql("INSERT INTO seen VALUES (7)")
    with reading(engine).connect() as connection:
        assert connection.exec_driver_sql("SELECT a FROM seen").scalar() == 7
    engine.dispose()


def test_database_that_is_not_there_is_named_without_its_password(tmp_path):
    engine = open_database(f"postgresql://me:hidden-word@/shop?host={tmp_path}")
    with pytest.raises(StorageError, match="database cannot be used") as caught:
        migrate(engine)
    assert "hidden-word" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["mysql://a/b", "postgresql://a", "hidden-word", "postgresql://x:hidden-word@h:port/d"])
def test_url_that_is_no_known_database_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigError, match="expected postgresql://") as caught:
        open_database(url)
    assert "hidden-word" not in str(caught.value)


def test_password_in_the_settings_is_refused():
    with pytest.raises(ConfigError, match=DATABASE_URL_VARIABLE) as caught:
        with_secrets(ServerConfig(database_url="postgresql://me:hidden-word@h/d"), {})
    assert "hidden-word" not in str(caught.value)


def test_url_with_a_password_comes_from_a_file_and_is_not_shown(tmp_path):
    (tmp_path / "url").write_text("postgresql://me:hidden-word@h/d\n")
    config = with_secrets(ServerConfig(), {DATABASE_URL_VARIABLE: str(tmp_path / "url")})
    assert config.database == "postgresql://me:hidden-word@h/d"
    assert "hidden-word" not in repr(config)
    with pytest.raises(ConfigError, match="cannot read"):
        with_secrets(ServerConfig(), {DATABASE_URL_VARIABLE: str(tmp_path / "none")})


def test_database_of_a_newer_server_is_a_sentence(tmp_path):
    engine = open_database(tmp_path / "db.sqlite")
    migrate(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="newer server"):
        migrate(engine)
    engine.dispose()
