"""The command `pocketrec shop`: results on stdout, progress on stderr, one sentence for what is wrong."""

import hashlib
import io
import json
import zipfile

import pytest

from pocketrec import verbs
from tests.support.publisher_server import Answer, publisher_server
from tests.support.shop_tables import write_csv_shop
from train.data.importers import movielens


@pytest.fixture
def run(capsys):
    def call(*arguments):
        code = verbs.main(["shop", *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out, err

    return call


def movielens_zip():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("ml-latest-small/movies.csv", "movieId,title,genres\n1,Toy Story (1995),Adventure\n")
        archive.writestr("ml-latest-small/ratings.csv", "userId,movieId,rating,timestamp\n1,1,4.0,964982703\n")
        archive.writestr("ml-latest-small/tags.csv", "userId,movieId,tag,timestamp\n1,1,pixar,1\n")
    return packed.getvalue()


def test_sample_and_check_agree(run, tmp_path):
    code, out, err = run("sample", tmp_path / "s", "--products", 40, "--seed", 7, "--json")
    assert code == 0
    assert "writing the sample shop" in err
    made = json.loads(out)
    assert (made["products"], made["name"], made["dropped"]) == (40, "s", [])
    code, out, _ = run("check", tmp_path / "s", "--json")
    assert (code, json.loads(out)) == (0, made)


def test_check_says_what_was_read_and_dropped(run, tmp_path):
    folder = write_csv_shop(
        tmp_path / "corner",
        products='product_id,title,image_vector\np1,lamp,"[1, 2]"\np2,,"[1, 2]"\n',
        purchases="user_id,product_id,timestamp\nu,p1,5\nu,p1,6\nu,p9,6\n",
    )
    code, out, _ = run("check", folder)
    assert code == 0
    assert "shop corner (" in out
    assert "products    1\n" in out
    assert "2 in 2 baskets of 1 users" in out
    assert "vectors of 2 numbers" in out
    assert "1  products.csv: left out: no title (products.csv row 2)\n" in out
    assert "1  purchases.csv: left out: unknown product (purchases.csv row 3 ('p9'))" in out


def test_malformed_shop_is_one_sentence_and_exit_code_1(run, tmp_path):
    code, out, err = run("check", write_csv_shop(tmp_path, products="product_id,title\np1,a\np1,b\n"))
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith("pocketrec shop: ")
    assert "'p1' is the id of row 1 too" in err
    assert "Traceback" not in err


def test_existing_shop_needs_overwrite(run, tmp_path):
    assert run("sample", tmp_path, "--products", 20)[0] == 0
    code, _, err = run("sample", tmp_path, "--products", 30)
    assert code == 1
    assert "--overwrite" in err
    code, out, _ = run("sample", tmp_path, "--products", 30, "--overwrite", "--json")
    assert (code, json.loads(out)["products"]) == (0, 30)


def test_import_from_a_mirror_with_the_users_digest(run, tmp_path):
    body = movielens_zip()
    with publisher_server({f"/ml/{movielens.ARCHIVE.name}": Answer(body)}) as url:
        arguments = (
            "import",
            "movielens",
            "--download",
            "--mirror",
            f"{url}/ml/",
            "--out",
            tmp_path / "new" / "s",
            "--json",
        )
        code, _, err = run(*arguments)
        assert code == 1
        assert "SHA-256 is" in err
        for given in (hashlib.sha256(body).hexdigest(), f"{movielens.ARCHIVE.name}={hashlib.sha256(body).hexdigest()}"):
            code, out, err = run(*arguments, "--sha256", given, "--overwrite")
            assert code == 0
            assert (json.loads(out)["products"], json.loads(out)["users"]) == (1, 1)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s"]


def test_import_from_a_folder(run, tmp_path):
    with zipfile.ZipFile(io.BytesIO(movielens_zip())) as archive:
        archive.extractall(tmp_path)
    code, out, err = run("import", "movielens", "--from", tmp_path / "ml-latest-small", "--out", tmp_path / "s")
    assert code == 0
    assert "importing movielens from" in err
    assert "products    1" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--download", "--sha256", "other.zip=00"), "was given for 'other.zip'; give it as NAME=HEX for ml-latest"),
        (("--download", "--sha256", "a=0", "--sha256", "a=1"), "given twice for the same file"),
        (("--download", "--locale", "us"), "movielens has no such parts"),
        (("--from", ".", "--mirror", "http://x"), "--mirror and --sha256 belong to --download"),
        (("--from", ".", "--sha256", "0"), "--mirror and --sha256 belong to --download"),
    ],
)
def test_options_that_would_do_nothing_are_refused(run, tmp_path, arguments, message):
    code, _, err = run("import", "movielens", *arguments, "--out", tmp_path / "s")
    assert code == 1
    assert message in err
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("import", "esci", "--out", "x"), ("import", "esci", "--from", "a", "--download", "--out", "x"), ("sample",)],
)
def test_wrong_usage_is_exit_code_2(run, arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
