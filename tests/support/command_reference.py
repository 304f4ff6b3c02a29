"""Writes docs/cli.md from the commands' own help: `python -m tests.support.command_reference > docs/cli.md`."""

import argparse
import importlib
import re
import sys

import pocketrec

_WIDTH = 100
_HEAD = """# Commands

Written by `make docs` from `--help`; a test fails when they differ.

Results go to stdout, progress to stderr; `--json` prints results as JSON. Exit codes: 0 done, 1 an error (one sentence
on stderr), 2 wrong usage, 3 a quality gate failed.
"""


def command_reference() -> str:
    """Return docs/cli.md as it should be, the same on every supported Python."""
    parts = [_HEAD]
    for verb, (module, summary) in pocketrec.VERBS.items():
        parser = argparse.ArgumentParser(prog=f"pocketrec {verb}", description=summary)
        importlib.import_module(module).COMMANDS[verb][0](parser)
        parts.append(f"## {verb}\n\n{_capitalized(summary)}.\n")
        parts += [_section(part) for part in _parsers(parser)]
    return "\n".join(parts)


def _parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [leaf for child in action.choices.values() for leaf in _parsers(child)]
    return [parser]


def _section(parser: argparse.ArgumentParser) -> str:
    lines = [f"```\n{_usage(parser)}\n```\n"]
    rows = [_row(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    if any(action.help == argparse.SUPPRESS for action in parser._actions):
        raise ValueError(f"{parser.prog} hides an option: every option is documented")
    return "\n".join([*lines, *rows, ""])


def _usage(parser: argparse.ArgumentParser) -> str:
    # argparse breaks lines differently from one Python to the next, so it is written here.
    actions = sorted(parser._actions, key=lambda action: bool(action.option_strings))
    words = [parser.prog, *(_usage_of(action) for action in actions if not isinstance(action, argparse._HelpAction))]
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append("   ")
        lines[-1] = f"{lines[-1]} {word}".lstrip() if len(lines) == 1 else f"{lines[-1]} {word}"
    return "\n".join(lines)


def _usage_of(action: argparse.Action) -> str:
    word = _signature(action)
    if action.option_strings:
        return word if action.required else f"[{word}]"
    return f"[{word}]" if action.nargs in ("?", "*") else word


def _signature(action: argparse.Action) -> str:
    name = action.metavar if isinstance(action.metavar, str) else (action.dest or "")
    if action.choices is not None and action.metavar is None:
        name = "|".join(map(str, action.choices))
    elif action.option_strings and action.metavar is None:
        name = name.upper()
    if action.nargs in ("*", "+"):
        name = f"{name} ..."
    if not action.option_strings:
        return name
    takes_value = action.nargs != 0
    return f"{action.option_strings[-1]} {name}" if takes_value else action.option_strings[-1]


def _row(action: argparse.Action) -> str:
    if not action.help:
        raise ValueError(f"{action.dest} has no help: every argument is documented")
    text = re.sub(r"\s+", " ", action.help % {**vars(action), "prog": ""})
    return f"- `{_signature(action)}`: {text}{' (required)' if action.option_strings and action.required else ''}"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    sys.stdout.write(command_reference())
