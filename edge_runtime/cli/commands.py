"""What the commands are declared with: their arguments, the actions of a verb, and how a result is printed."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from edge_runtime.contract.text import visible_lines

Run = Callable[[argparse.Namespace], int]
AddArguments = Callable[[argparse._ActionsContainer], object]


def argument(*names: str, **options: Any) -> AddArguments:
    """Return what adds this argument to a parser; `options` are those of `ArgumentParser.add_argument`."""
    return lambda parser: parser.add_argument(*names, **options)


def path(name: str, metavar: str, about: str, **options: Any) -> AddArguments:
    """Return what adds an argument that is a `Path`."""
    return argument(name, type=Path, metavar=metavar, help=about, **options)


def one_of(*alternatives: AddArguments, required: bool = False) -> AddArguments:
    """Return what adds arguments of which at most one may be given, exactly one when `required`."""

    def add(parser: argparse._ActionsContainer) -> None:
        all_of(*alternatives)(parser.add_mutually_exclusive_group(required=required))

    return add


def group(title: str, *arguments: AddArguments, about: str | None = None) -> AddArguments:
    """Return what adds arguments under a title of their own in `--help`."""

    def add(parser: argparse._ActionsContainer) -> None:
        all_of(*arguments)(parser.add_argument_group(title, about))

    return add


def all_of(*arguments: AddArguments) -> AddArguments:
    """Return what adds several arguments that belong together."""

    def add(parser: argparse._ActionsContainer) -> None:
        for one in arguments:
            one(parser)

    return add


JSON = argument("--json", action="store_true", help="print the result as JSON")


class Command:
    """One command: its arguments, and the function that runs it and gives the exit code.

    Args:
        run: takes the parsed arguments.
        arguments: what adds each of its arguments.
        about: one line of help, where the command is one of several actions.
    """

    def __init__(self, run: Run, *arguments: AddArguments, about: str = "") -> None:
        self.run, self.about, self.add_arguments = run, about, all_of(*arguments)


class Actions:
    """A verb of several actions: name -> command; each takes the `shared` arguments, too."""

    def __init__(self, actions: Mapping[str, Command], *shared: AddArguments) -> None:
        self._actions, self._add_shared = actions, all_of(*shared)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add a parser for each action."""
        choices = parser.add_subparsers(dest="action", required=True)
        for name, command in self._actions.items():
            child = choices.add_parser(name, help=command.about, description=command.about)
            command.add_arguments(child)
            self._add_shared(child)

    def run(self, args: argparse.Namespace) -> int:
        """Run the chosen action; return the exit code."""
        return self._actions[args.action].run(args)


def show_line(args: argparse.Namespace, result: object, text: str) -> None:
    """Print a result as one line of JSON with `--json`, as `text` otherwise; foreign characters as `visible_lines`."""
    print(msgspec.json.encode(result).decode() if args.json else visible_lines(text), flush=True)


def show(args: argparse.Namespace, result: object, text: str) -> int:
    """Print the one result of a command as `show_line` does; return the exit code 0."""
    show_line(args, result, text)
    return 0
