"""MovieLens (Harper and Konstan 2015) in the layout of `ml-latest-small` -> a shop: liked films count as purchases."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from train.data.column_rules import ColumnRule, numbers, require_column
from train.data.importers.source_files import RemoteFile, require_file
from train.data.table_files import load_table
from train.errors import ShopError

ARCHIVE = RemoteFile(
    name="ml-latest-small.zip",
    url="https://files.grouplens.org/datasets/movielens/ml-latest-small.zip",
    sha256="696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
    max_bytes=5_000_000,
)
MEMBERS = ("movies.csv", "ratings.csv", "tags.csv")
_RATING = ColumnRule("a number", numbers(), is_required=True)

LIKED_FROM = 4.0
"""Of five stars; four and more is the usual threshold for a like where MovieLens stands for implicit feedback."""

# The most frequent tags describe a movie; the model reads only the beginning of a product's text.
_MAX_TAGS = 20
_NO_GENRE = "(no genres listed)"
_TITLE = re.compile(r"^(?P<name>.*?)(?:, (?P<article>The|A|An))?(?: \((?P<year>\d{4})\))?$")


def import_movielens(source: Path) -> dict[str, pa.Table]:
    """Return the tables of the shop from `movies.csv`, `ratings.csv` and, if it is there, `tags.csv` in `source`.

    A rating of 4 or more is a purchase at its time; lower ones are left out.

    Raises:
        ShopError: a file or column is missing, or a rating cannot be read.
    """
    purchases = _purchases(require_file(source, "ratings.csv"))
    return {"products": _products(source), "purchases": purchases}


def _products(source: Path) -> pa.Table:
    movies = load_table(require_file(source, "movies.csv"), required=("movieid", "title", "genres"))
    tags = _tags(source / "tags.csv")
    titles, years, genres = [], [], []
    for title, listed in zip(movies.texts("title").to_pylist(), movies.texts("genres").to_pylist(), strict=True):
        match = _TITLE.match((title or "").strip())
        name, article, year = match.group("name", "article", "year") if match else (title, None, None)
        titles.append(f"{article} {name}" if article else name)
        years.append(year)
        genres.append([] if listed in (None, _NO_GENRE) else listed.split("|"))
    ids = movies.ids("movieid")
    return pa.table(
        {
            "product_id": ids,
            "title": pa.array(titles, pa.string()),
            "description": pa.array([_tag_line(tags.get(movie)) for movie in ids.to_pylist()], pa.string()),
            "category": pa.array([f"Movies > {names[0]}" if names else "Movies" for names in genres], pa.string()),
            "attribute.genres": pa.array([", ".join(names) or None for names in genres], pa.string()),
            "attribute.year": pa.array(years, pa.string()),
        }
    )


def _tags(path: Path) -> dict[str, dict[str, int]]:
    if not path.is_file():
        return {}
    table = load_table(path, required=("movieid", "tag"))
    counted: dict[str, dict[str, int]] = {}
    for movie, tag in zip(table.ids("movieid").to_pylist(), table.texts("tag").to_pylist(), strict=True):
        if movie is not None and tag is not None:
            of_movie = counted.setdefault(movie, {})
            of_movie[tag.lower()] = of_movie.get(tag.lower(), 0) + 1
    return counted


def _tag_line(tags: dict[str, int] | None) -> str | None:
    if not tags:
        return None
    return ", ".join(sorted(tags, key=lambda tag: -tags[tag])[:_MAX_TAGS])


def _purchases(path: Path) -> pa.Table:
    ratings = load_table(path, required=("userid", "movieid", "rating", "timestamp"))
    liked = np.flatnonzero(require_column(ratings, "rating", _RATING) >= LIKED_FROM)
    if liked.size == 0:
        raise ShopError(f"{path} has no rating of {LIKED_FROM} or more; nothing would count as liked")
    rows = pa.array(liked)
    return pa.table(
        {
            "user_id": ratings.ids("userid").take(rows),
            "product_id": ratings.ids("movieid").take(rows),
            "timestamp": ratings.texts("timestamp").take(rows),
        }
    )
