"""Settings: a frozen dataclass per room, defaults in the class, a TOML file over it, flags over that."""

import dataclasses
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

from edge_runtime.contract.errors import ConfigError

Settings = TypeVar("Settings")


def load_toml(path: Path, into: type[Settings]) -> Settings:
    """Read `path` into the frozen dataclass `into`; tables become nested dataclasses.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, or a value of the wrong type; names file, key and what was
            expected.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return from_mapping(values, into, source=str(path))


def from_mapping(values: dict[str, Any], into: type[Settings], *, source: str, prefix: str = "") -> Settings:
    """Make `into` from a mapping; `source` and `prefix` name the place in errors.

    Raises:
        ConfigError: an unknown key or a value of the wrong type.
    """
    hints = typing.get_type_hints(into)
    known = {field.name for field in dataclasses.fields(into)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - known)
    if unknown:
        raise ConfigError(f"{source}: unknown key {prefix}{unknown[0]}; known are {', '.join(sorted(known))}")
    checked = {key: _checked(value, hints[key], source=source, name=f"{prefix}{key}") for key, value in values.items()}
    try:
        return into(**checked)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{source}: {error}") from error


def _checked(value: Any, hint: Any, *, source: str, name: str) -> Any:
    if isinstance(hint, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        return _checked(value, options[0], source=source, name=name)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_mapping(value, typing.cast("type[Any]", hint), source=source, prefix=f"{name}.")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(
                f"{source}: {name} is {value!r}, expected one of {', '.join(map(repr, typing.get_args(hint)))}"
            )
        return value
    if origin in (tuple, list) and isinstance(value, list):
        item_hint = typing.get_args(hint)[0]
        items = [_checked(item, item_hint, source=source, name=f"{name}[{i}]") for i, item in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if origin is dict and isinstance(value, dict):
        item_hint = typing.get_args(hint)[1]
        return {key: _checked(item, item_hint, source=source, name=f"{name}.{key}") for key, item in value.items()}
    plain = origin or hint
    if not isinstance(value, plain) or (isinstance(value, bool) and plain is not bool):
        raise ConfigError(f"{source}: {name} is {value!r}, expected {getattr(plain, '__name__', plain)}")
    return value
