"""The arguments of `pocketrec retrain`; what it does is in retrain_command.py, which loads TensorFlow."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `pocketrec retrain`."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the bundle that the fleet has")
    parser.add_argument("--shop", type=Path, required=True, metavar="SHOP", help="the shop that it was built from")
    parser.add_argument(
        "--events", type=Path, required=True, metavar="PATH", help="what pocketrec feedback export wrote"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE", help="folder of the new bundle")
    parser.add_argument("--work", type=Path, metavar="DIR", help="stages of the bundle's own build (BUNDLE.build)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as TOML (docs/feedback.md)")
    parser.add_argument("--seed", type=int, metavar="N", help="of every random choice (0)")
    parser.add_argument("--publish-to", metavar="CHANNEL", help="publish there when every gate is passed, as a canary")
    parser.add_argument("--keys", type=Path, metavar="KEYS", help="folder of pocketrec keys init, for --publish-to")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--server", metavar="URL", help="the server's address, for --publish-to")
    place.add_argument("--store", type=Path, metavar="DIR", help="the server's home, when it is on this machine")
    place.add_argument(
        "--server-config", type=Path, metavar="FILE", help="the server's settings as TOML, when it is on this machine"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the publisher's token, with --server")
    parser.add_argument("--json", action="store_true", help="print the report as one line of JSON")


COMMANDS = {"retrain": (add_arguments, "pocketrec.cli.retrain:run")}
