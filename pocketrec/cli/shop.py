"""Command `pocketrec shop`: sample, import, synonyms, check."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

from edge_runtime.cli.commands import JSON, Actions, Command, argument, group, one_of, path
from edge_runtime.contract.errors import ConfigError
from pocketrec.cli.output import progress_bars
from train.data import importing
from train.data.importers.esci import EsciOptions
from train.data.importers.source_files import Progress as ReportBytes
from train.data.reading import read_shop
from train.data.sample.shop import write_sample_shop
from train.data.summary import describe, summarize
from train.text.wordnet import MAX_SENSES, read_synsets, synonyms_of, write_synonyms

_OVERWRITE = argument("--overwrite", action="store_true", help="replace the tables in DIR")


def _sample(args: argparse.Namespace) -> int:
    with _status(f"writing the sample shop into {args.folder}"):
        write_sample_shop(args.folder, products=args.products, seed=args.seed, overwrite=args.overwrite)
    return _check(args)


def _check(args: argparse.Namespace) -> int:
    return _print_summary(args.folder, as_json=args.json)


def _import(args: argparse.Namespace) -> int:
    if args.source is not None and (args.mirror or args.sha256):
        raise ConfigError("--mirror and --sha256 belong to --download; with --from nothing is fetched")
    with _import_progress(args) as report:
        importing.import_shop(
            args.publisher,
            args.source or importing.Download(mirror=args.mirror, sha256=_digests(args.sha256)),
            args.out,
            options=_esci_options(args),
            overwrite=args.overwrite,
            progress=report,
        )
    return _print_summary(args.out, as_json=args.json)


def _synonyms(args: argparse.Namespace) -> int:
    if args.max_senses < 1:
        raise ConfigError(f"--max-senses: expected 1 or more, found {args.max_senses}")
    with _status(f"reading {args.folder} and {args.wordnet}"):
        found = synonyms_of(read_shop(args.folder), read_synsets(args.wordnet), max_senses=args.max_senses)
        write_synonyms(args.folder, found)
    return _check(args)


def _esci_options(args: argparse.Namespace) -> EsciOptions | None:
    names = ("locale", "version", "split", "extra_pairs", "pairs")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return EsciOptions(**given) if given else None


def _digests(given: list[str]) -> dict[str, str]:
    pairs = [text.rpartition("=") for text in given]
    names = [name for name, _, _ in pairs]
    if len(set(names)) != len(names):
        raise ConfigError("--sha256 was given twice for the same file; give each file's once")
    return {name: digest for name, _, digest in pairs}


def _print_summary(folder: Path, *, as_json: bool) -> int:
    with _status(f"reading {folder}"):
        summary = summarize(read_shop(folder))
    print(json.dumps(asdict(summary), ensure_ascii=False, indent=2) if as_json else describe(summary))
    return 0


@contextlib.contextmanager
def _status(text: str) -> Iterator[None]:
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(text, highlight=False, soft_wrap=True)
        yield
        return
    with console.status(text):
        yield


@contextlib.contextmanager
def _import_progress(args: argparse.Namespace) -> Iterator[ReportBytes]:
    if args.source is not None:
        with _status(f"importing {args.publisher} from {args.source}"):
            yield lambda name, done, total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with progress_bars(*columns, transient=False) as report:
        yield report


shop = Actions(
    {
        "sample": Command(
            _sample,
            path("folder", "DIR", "new or empty folder"),
            argument("--products", type=int, default=2000, metavar="N", help="how many (default: 2000)"),
            argument("--seed", type=int, default=0, metavar="S", help="another seed, another shop (default: 0)"),
            _OVERWRITE,
            about="write a synthetic shop",
        ),
        "import": Command(
            _import,
            argument("publisher", choices=list(importing.PUBLISHERS), help="the data set"),
            one_of(
                path("--from", "PATH", "folder with the publisher's files", dest="source"),
                argument("--download", action="store_true", help="fetch the files from the publisher"),
                required=True,
            ),
            path("--out", "DIR", "the shop: a new or empty folder", required=True),
            _OVERWRITE,
            argument("--mirror", metavar="URL", help="with --download: another place that holds the same files"),
            argument(
                "--sha256",
                action="append",
                default=[],
                metavar="[FILE=]HEX",
                help="with --download: the digest to expect, where the publisher names none or has changed the file",
            ),
            group(
                "esci only",
                argument("--locale", choices=["us", "es", "jp"], help="marketplace (default: us)"),
                argument("--version", choices=["small", "large"], help="the harder queries or all (default: small)"),
                argument("--split", choices=["train", "test", "all"], help="of the queries (default: all)"),
                argument("--extra-pairs", action="store_true", default=None, help="add the small US cut's extra pairs"),
                path("--pairs", "PATH", "folder with pairs_us.parquet, to be added"),
            ),
            about="turn a public data set into a shop",
        ),
        "synonyms": Command(
            _synonyms,
            path("folder", "DIR", "the shop"),
            path(
                "--wordnet",
                "FILE",
                "WN-LMF (.xml, .xml.gz), such as the Open English WordNet, or a table with lists of words in column "
                "`members`",
                required=True,
            ),
            argument(
                "--max-senses",
                type=int,
                default=MAX_SENSES,
                metavar="N",
                help="leave out words with more meanings than this (default: %(default)s)",
            ),
            about="add a wordnet's synonyms of the shop's words to its table `synonyms`, beside its own",
        ),
        "check": Command(
            _check, path("folder", "DIR", "folder with the shop's tables"), about="read a shop and say what it holds"
        ),
    },
    JSON,
)
