"""Finds the module of a verb and imports only that one, so that `--help` never loads TensorFlow."""

import argparse
import contextlib
import difflib
import importlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence

from edge_runtime.contract.errors import PocketrecError

__version__ = "0.1.0"

AddArguments = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int]

_ROOMS = {"pocketrec", "train", "compress", "edge_runtime", "sync_server"}

# verb -> (module, one line of help). A module of one verb has add_arguments(parser) and run(args) -> exit code; one of
# several verbs has COMMANDS: verb -> that pair, where run is "module:function" when loading it needs what `--help` must not.
VERBS = {
    "demo": ("pocketrec.cli.demo", "the whole way on the sample shop: build, publish, serve, sync, search, feedback"),
    "shop": ("pocketrec.cli.shop", "make, import or check a shop's tables"),
    "build": ("pocketrec.cli.evaluate", "train, distil and compress a shop into one bundle"),
    "export": ("pocketrec.cli.export", "a teacher and its vectors of a shop, for /v1/rank of the server"),
    "evaluate": ("pocketrec.cli.evaluate", "ranking quality of a bundle on a shop's judgements and purchases"),
    "bench": ("pocketrec.cli.evaluate", "latency, memory and size of a bundle on this machine"),
    "retrain": (
        "pocketrec.cli.retrain",
        "a better bundle from what devices reported, shipped as a small delta",
    ),
    "search": ("edge_runtime.cli.answers", "rank the catalogue for a query"),
    "browse": ("edge_runtime.cli.answers", "the catalogue without a query, filtered and sorted"),
    "facets": ("edge_runtime.cli.answers", "how many matching products each brand, category, price range has"),
    "suggest": ("edge_runtime.cli.answers", "completions of what is being typed"),
    "taste": ("edge_runtime.cli.answers", "a user's own events on this device: show, add, forget"),
    "recommend": ("edge_runtime.cli.answers", "rank the catalogue for a purchase history"),
    "similar": ("edge_runtime.cli.answers", "products like one product"),
    "score": ("edge_runtime.cli.answers", "score given products for a query"),
    "explain": ("edge_runtime.cli.answers", "why a product ranks for a query or a history"),
    "prove": ("edge_runtime.cli.answers", "check a bundle's files and golden answers on this machine"),
    "keys": ("pocketrec.cli.keys", "make, rotate, delegate and watch the keys that sign updates"),
    "publish": ("pocketrec.cli.serve", "sign a bundle and hand it to the server"),
    "rollout": ("pocketrec.cli.rollout", "bring a staged release to the fleet: start, pause, resume, halt, status"),
    "experiment": ("pocketrec.cli.rollout", "compare releases or lists on the fleet: start, stop, status"),
    "serve": ("pocketrec.cli.serve", "run the server"),
    "backup": ("pocketrec.cli.backup", "copy what a server keeps, while it runs; without its keys"),
    "restore": ("pocketrec.cli.backup", "put a backup into a new home"),
    "operators": ("pocketrec.cli.operators", "accounts, roles and API keys of the people who run the fleet"),
    "devices": ("pocketrec.cli.operators", "list devices, revoke one, hand out or erase what it sent"),
    "audit": ("pocketrec.cli.operators", "show, check or export the log of who did what"),
    "feedback": ("pocketrec.cli.feedback", "export what devices sent, estimate counts, remove what is old"),
    "node": ("edge_runtime.cli.node", "a device: sync, run, status"),
}

# What these verbs miss comes with `pocketrec[server]`; what the others miss, with `pocketrec[train]`.
SERVER_MODULES = {f"pocketrec.cli.{name}" for name in ("keys", "serve", "rollout", "backup", "operators", "feedback")}


@contextlib.contextmanager
def _missing_package_named(module_name: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in _ROOMS:
            raise
        extra = "server" if module_name in SERVER_MODULES else "train"
        if error.name == "onnx":
            extra = "bench"
        raise PocketrecError(
            f"this command needs the package {error.name}; install it with: pip install 'pocketrec[{extra}]'"
        ) from error


def _pair(verb: str) -> tuple[AddArguments, Run | str]:
    module = importlib.import_module(VERBS[verb][0])
    several: dict[str, tuple[AddArguments, Run | str]] | None = getattr(module, "COMMANDS", None)
    return (module.add_arguments, module.run) if several is None else several[verb]


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Return the parser of a verb's arguments."""
    parser = argparse.ArgumentParser(prog=f"pocketrec {verb}", description=VERBS[verb][1])
    add_arguments, _ = _pair(verb)
    add_arguments(parser)
    return parser


def _run(verb: str, arguments: Sequence[str]) -> int:
    # A package that only run() imports may be missing, too.
    with _missing_package_named(VERBS[verb][0]):
        parsed = parser_of(verb).parse_args(arguments)
        _, run = _pair(verb)
        if isinstance(run, str):
            module_name, _, function_name = run.partition(":")
            run = getattr(importlib.import_module(module_name), function_name)
        return int(run(parsed))


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
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        return _run(verb, arguments[1:])
    except PocketrecError as error:
        print(f"pocketrec {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"pocketrec {verb}: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
