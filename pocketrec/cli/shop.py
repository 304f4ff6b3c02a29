"""Command `pocketrec shop`: sample, import, synonyms, check."""

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from edge_runtime.contract.errors import ConfigError
from train.data import importing
from train.data.importers.esci import EsciOptions
from train.data.importers.source_files import Progress as ReportBytes
from train.data.reading import read_shop
from train.data.sample.shop import write_sample_shop
from train.data.summary import describe, summarize
from train.text.wordnet import MAX_SENSES, read_synsets, synonyms_of, write_synonyms


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands of `pocketrec shop`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="sample | import | synonyms | check")
    _add_sample(actions.add_parser("sample", help="write a synthetic shop", description="Write a synthetic shop."))
    _add_import(
        actions.add_parser(
            "import", help="turn a public data set into a shop", description="Turn a data set into a shop."
        )
    )
    _add_synonyms(
        actions.add_parser(
            "synonyms",
            help="add a wordnet's synonyms of the shop's words",
            description="Write the synonyms of the shop's words from a wordnet into its table `synonyms`, beside its own.",
        )
    )
    check = actions.add_parser("check", help="read a shop and say what it holds", description="Read and check a shop.")
    check.add_argument("folder", type=Path, metavar="DIR", help="folder with the shop's tables")
    check.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(args: argparse.Namespace) -> int:
    """Run the chosen sub-command; return 0."""
    if args.action == "sample":
        with _status(f"writing the sample shop into {args.folder}"):
            write_sample_shop(args.folder, products=args.products, seed=args.seed, overwrite=args.overwrite)
    elif args.action == "import":
        _run_import(args)
    elif args.action == "synonyms":
        _run_synonyms(args)
    _print_summary(args.out if args.action == "import" else args.folder, as_json=args.json)
    return 0


def _run_import(args: argparse.Namespace) -> None:
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


def _run_synonyms(args: argparse.Namespace) -> None:
    if args.max_senses < 1:
        raise ConfigError(f"--max-senses: expected 1 or more, found {args.max_senses}")
    with _status(f"reading {args.folder} and {args.wordnet}"):
        found = synonyms_of(read_shop(args.folder), read_synsets(args.wordnet), max_senses=args.max_senses)
        write_synonyms(args.folder, found)


def _add_synonyms(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="the shop")
    parser.add_argument(
        "--wordnet",
        type=Path,
        required=True,
        metavar="FILE",
        help="WN-LMF (.xml, .xml.gz), such as the Open English WordNet, or a table with lists of words in column `members`",
    )
    parser.add_argument(
        "--max-senses",
        type=int,
        default=MAX_SENSES,
        metavar="N",
        help=f"leave out words with more meanings than this (default: {MAX_SENSES})",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="new or empty folder")
    parser.add_argument("--products", type=int, default=2000, metavar="N", help="how many (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, another shop (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace the tables in DIR")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("publisher", choices=list(importing.PUBLISHERS), help="the data set")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--from", dest="source", type=Path, metavar="PATH", help="folder with the publisher's files")
    where.add_argument("--download", action="store_true", help="fetch the files from the publisher")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the shop: a new or empty folder")
    parser.add_argument("--overwrite", action="store_true", help="replace the tables in DIR")
    parser.add_argument("--mirror", metavar="URL", help="with --download: another place that holds the same files")
    parser.add_argument(
        "--sha256",
        action="append",
        default=[],
        metavar="[FILE=]HEX",
        help="with --download: the digest to expect, where the publisher names none or has changed the file",
    )
    esci = parser.add_argument_group("esci only")
    esci.add_argument("--locale", choices=["us", "es", "jp"], help="marketplace (default: us)")
    esci.add_argument("--version", choices=["small", "large"], help="the harder queries or all (default: small)")
    esci.add_argument("--split", choices=["train", "test", "all"], help="of the queries (default: all)")
    esci.add_argument("--extra-pairs", action="store_true", default=None, help="add the small US cut's extra pairs")
    esci.add_argument("--pairs", type=Path, metavar="PATH", help="folder with pairs_us.parquet, to be added")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


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


def _print_summary(folder: Path, *, as_json: bool) -> None:
    with _status(f"reading {folder}"):
        summary = summarize(read_shop(folder))
    print(json.dumps(asdict(summary), ensure_ascii=False, indent=2) if as_json else describe(summary))


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
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def report(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield report
