from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from edge_runtime.contract.errors import ConfigError
from edge_runtime.settings import from_mapping, load_toml


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    steps: int = 3

    def __post_init__(self):
        if self.steps < 0:
            raise ValueError(f"steps is {self.steps}, expected 0 or more")


@dataclass(frozen=True)
class Outer:
    name: str = "shop"
    home: Path = Path("home")
    level: Literal["off", "counts"] = "off"
    cut: float | None = None
    dark: bool = False
    sizes: tuple[int, ...] = ()
    names: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Needy:
    secret: str


def load(tmp_path, text, into=Outer):
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return load_toml(path, into=into)


def test_an_empty_file_gives_the_defaults(tmp_path):
    assert load(tmp_path, "") == Outer()


def test_every_kind_of_value_is_read(tmp_path):
    text = """
    name = "café"
    home = "/srv/shop"
    level = "counts"
    cut = 2
    dark = true
    sizes = [1, 2]
    names = ["a"]
    [weights]
    title = 3
    [inner]
    rate = 1
    """
    found = load(tmp_path, text)
    assert found == Outer("café", Path("/srv/shop"), "counts", 2.0, True, (1, 2), ["a"], {"title": 3.0}, Inner(1.0, 3))
    assert (type(found.cut), type(found.inner.rate)) == (float, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nmae = 'x'", "unknown key nmae; known are cut, dark, home"),
        ("[inner]\nstep = 1", r"unknown key inner\.step; known are rate, steps"),
        ("name = 3", "name is 3, expected str"),
        ("home = 3", "home is 3, expected Path"),
        ("level = 'full'", "level is 'full', expected one of 'off', 'counts'"),
        ("level = []", r"level is \[\], expected one of"),
        ("cut = 'a'", "cut is 'a', expected float"),
        ("cut = true", "cut is True, expected float"),
        ("dark = 1", "dark is 1, expected bool"),
        ("sizes = 3", "sizes is 3, expected tuple"),
        ("sizes = [1, 'b']", r"sizes\[1\] is 'b', expected int"),
        ("sizes = [true]", r"sizes\[0\] is True, expected int"),
        ("names = [1]", r"names\[0\] is 1, expected str"),
        ("weights = {title = 'x'}", r"weights\.title is 'x', expected float"),
        ("weights = 1", "weights is 1, expected dict"),
        ("inner = 1", "inner is 1, expected Inner"),
        ("[inner]\nsteps = 1.5", r"inner\.steps is 1\.5, expected int"),
        ("[inner]\nsteps = true", r"inner\.steps is True, expected int"),
        ("[inner]\nsteps = -1", "steps is -1, expected 0 or more"),
        ("name =", "is not TOML"),
        ("name = 'a'\nname = 'b'", "is not TOML"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "settings.toml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read .*none\.toml: No such file"):
        load_toml(tmp_path / "none.toml", into=Outer)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_toml(path, into=Outer)


def test_a_missing_key_without_a_default_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"settings\.toml.*secret"):
        load(tmp_path, "", into=Needy)


def test_a_mapping_names_its_source_and_prefix():
    with pytest.raises(ConfigError, match=r"^the request: unknown key where\.x"):
        from_mapping({"x": 1}, Inner, source="the request", prefix="where.")
