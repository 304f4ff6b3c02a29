"""The counters of `make measure-house`, on a tree whose counts are known."""

import importlib.util
import sys

import pytest

from tests.support.source_tree import REPOSITORY, imports, is_within, parse

BODY = "".join(f"    step_{number} = {number}\n" for number in range(8))


@pytest.fixture(scope="module")
def house():
    spec = importlib.util.spec_from_file_location("measure_house", REPOSITORY / "scripts" / "measure_house.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["measure_house"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["measure_house"]


@pytest.fixture
def sources(house, tmp_path):
    files = {
        "train/__init__.py": '"""Room."""\n',
        "train/one.py": f'"""One."""\n\n# Why.\ndef first():\n    """Text."""\n{BODY}',
        "train/two.py": f'"""Two."""\n\n\ndef second():\n{BODY}\n\ndef _hidden():\n    return "# no comment"\n',
        "compress/three.py": '"""Three."""\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return house.read_sources(tmp_path, ["train", "compress"])


def test_the_largest_folder_is_counted_without_its_package_file(house, sources):
    assert house.largest_folder(sources) == ("train", 2)


def test_one_long_repetition_is_one_pair(house, sources):
    assert house.repeated_pairs(sources) == 1


def test_fewer_equal_lines_are_no_repetition(house, sources):
    assert house.repeated_pairs(sources, 9) == 0


def test_code_is_counted_without_blank_lines_comments_and_docstrings(house, sources):
    assert house.code_lines(sources) == 9 + 9 + 2


def test_functions_are_measured_in_lines_of_code(house, sources):
    assert house.function_lengths(sources) == [2, 9, 9]


def test_a_hash_within_a_string_is_no_comment(house, sources):
    lines = sum(source.text.count("\n") for source in sources)
    assert house.comments_per_hundred_lines(sources) == pytest.approx(100 / lines)


def test_only_public_names_need_a_docstring(house, sources):
    assert house.docstring_coverage(sources) == pytest.approx(5 / 6)


@pytest.fixture(scope="module")
def architecture(house):
    return house.walks((REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8"))


def linked(one, other):
    return any(is_within(name.name, b.module) for a, b in ((one, other), (other, one)) for name in imports(a))


def test_walks_are_read_from_their_section_alone(house):
    page = "# A\n1. `no`\n## Files walked\n\n### One\n\n1. `a.py`: b\n2. `c.py`: `d`\n\n### Two\n\n1. `e.py`\n\n## B\n1. `no`\n"
    assert house.walks(page) == {"One": ["a.py", "c.py"], "Two": ["e.py"]}


def test_the_architecture_page_names_both_walks(architecture):
    assert list(architecture) == ["A judgement row on its way to int8", "A retraining"]


def test_each_file_of_a_walk_imports_an_earlier_one_or_is_imported_by_it(architecture):
    for files in architecture.values():
        walked = [parse(REPOSITORY / path) for path in files]
        assert len({file.path for file in walked}) == len(walked) > 1
        lost = [file.path for at, file in enumerate(walked) if at and not any(linked(file, one) for one in walked[:at])]
        assert lost == []


def test_the_table_counts_the_files_of_each_walk(house, architecture, capsys):
    house.main()
    printed = capsys.readouterr().out
    for title, files in architecture.items():
        assert f"| files walked: {title} | {len(files)} |" in printed
