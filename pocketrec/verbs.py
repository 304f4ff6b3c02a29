"""Finds the module of a verb and imports only that one, so that `--help` never loads TensorFlow."""

import argparse
import contextlib
import difflib
import importlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from edge_runtime.contract.errors import PocketrecError
from edge_runtime.contract.text import visible_lines

__version__ = "0.1.0"

_ROOMS = {"pocketrec", "train", "compress", "edge_runtime", "sync_server"}

# verb -> ("module:name" of its command, one line of help). What `--help` must not load, the command's run() imports.
VERBS = {
    "demo": (
        "pocketrec.cli.demo:demo",
        "the whole way on the sample shop: build, publish, serve, sync, search, feedback",
    ),
    "shop": ("pocketrec.cli.shop:shop", "make, import or check a shop's tables"),
    "build": ("pocketrec.cli.build:build", "train, distill and compress a shop into one bundle"),
    "export": ("pocketrec.cli.export:export", "a teacher and its vectors of a shop, for /v1/rank of the server"),
    "evaluate": ("pocketrec.cli.evaluate:evaluate", "ranking quality of a bundle on a shop's judgements and purchases"),
    "bench": ("pocketrec.cli.evaluate:bench", "latency, memory and size of a bundle on this machine"),
    "retrain": (
        "pocketrec.cli.retrain:retrain",
        "a better bundle from what devices reported, shipped as a small delta",
    ),
    "search": ("edge_runtime.cli.answers:search", "rank the catalogue for a query"),
    "browse": ("edge_runtime.cli.answers:browse", "the catalogue without a query, filtered and sorted"),
    "facets": ("edge_runtime.cli.answers:facets", "how many matching products each brand, category, price range has"),
    "suggest": ("edge_runtime.cli.answers:suggest", "completions of what is being typed"),
    "taste": ("edge_runtime.cli.answers:taste", "a user's own events on this device: show, add, forget"),
    "recommend": ("edge_runtime.cli.answers:recommend", "rank the catalogue for a purchase history"),
    "similar": ("edge_runtime.cli.answers:similar", "products like one product"),
    "score": ("edge_runtime.cli.answers:score", "score given products for a query"),
    "explain": ("edge_runtime.cli.answers:explain", "why a product ranks for a query or a history"),
    "prove": ("edge_runtime.cli.answers:prove", "check a bundle's files and golden answers on this machine"),
    "keys": ("pocketrec.cli.keys:keys", "make, rotate, delegate and watch the keys that sign updates"),
    "publish": ("pocketrec.cli.publish:publish", "sign a bundle and hand it to the server"),
    "rollout": (
        "pocketrec.cli.rollout:rollout",
        "bring a staged release to the fleet: start, pause, resume, halt, status",
    ),
    "experiment": ("pocketrec.cli.rollout:experiment", "compare releases or lists on the fleet: start, stop, status"),
    "serve": ("pocketrec.cli.serve:serve", "run the server"),
    "backup": ("pocketrec.cli.backup:backup", "copy what a server keeps, while it runs; without its keys"),
    "restore": ("pocketrec.cli.backup:restore", "put a backup into a new home"),
    "gc": ("pocketrec.cli.backup:gc", "remove files, metadata and rows that a server no longer needs, while it runs"),
    "operators": ("pocketrec.cli.operators:operators", "accounts, roles and API keys of the people who run the fleet"),
    "devices": (
        "pocketrec.cli.operators:devices",
        "enroll many by a key, list devices, revoke one, hand out or erase what it sent",
    ),
    "audit": ("pocketrec.cli.operators:audit", "show, check or export the log of who did what"),
    "feedback": ("pocketrec.cli.feedback:feedback", "export what devices sent, estimate counts, remove what is old"),
    "node": ("edge_runtime.cli.node:node", "a device: sync, run, status"),
}

# What these verbs miss comes with `pocketrec[server]`; what the others miss, with `pocketrec[train]`.
SERVER_VERBS = frozenset(
    (
        "keys",
        "publish",
        "rollout",
        "experiment",
        "serve",
        "backup",
        "restore",
        "gc",
        "operators",
        "devices",
        "audit",
        "feedback",
    )
)


@contextlib.contextmanager
def _missing_package_named(verb: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _ROOMS:
            raise
        extra = "server" if verb in SERVER_VERBS else "train"
        if error.name == "onnx":
            extra = "bench"
        raise PocketrecError(
            f"this command needs the package {error.name}; install it with: pip install 'pocketrec[{extra}]'"
        ) from error


class _Command(Protocol):
    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


def _command(verb: str) -> _Command:
    module_name, _, name = VERBS[verb][0].partition(":")
    command: _Command = getattr(importlib.import_module(module_name), name)
    return command


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a verb's arguments."""
    parser = argparse.ArgumentParser(prog=f"pocketrec {verb}", description=VERBS[verb][1])
    _command(verb).add_arguments(parser)
    return parser


def _run(verb: str, arguments: Sequence[str]) -> int:
    # A package that only run() imports may be missing, too.
    with _missing_package_named(verb):
        return _command(verb).run(parser_of(verb).parse_args(arguments))


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {help_text}" for verb, (_, help_text) in VERBS.items()]
    return "\n".join(
        [
            "usage: pocketrec VERB ...   (pocketrec VERB --help says more)",
            "",
            *lines,
            "",
            "  results go to stdout, progress to stderr; exit 0 done, 1 an error, 2 wrong usage, 3 a quality gate failed",
        ]
    )


class _VisibleFormatter(logging.Formatter):
    """Writes text of others, as a server's sentence in a warning, so that a terminal obeys none of it."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code (0 done, 1 our error, 2 usage, 3 a gate failed)."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        meant = difflib.get_close_matches(verb, VERBS, n=1)
        question = f"; did you mean {meant[0]!r}?" if meant else ""
        print(f"pocketrec: unknown verb {verb!r}{question}\n\n{_overview()}", file=sys.stderr)
        return 2
    log = logging.StreamHandler(sys.stderr)
    log.setFormatter(_VisibleFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[log])
    try:
        return _run(verb, arguments[1:])
    except PocketrecError as error:
        print(visible_lines(f"pocketrec {verb}: {error}"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"pocketrec {verb}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
