"""Writes docs/cli.md from the commands' own help: `python -m tests.support.command_reference > docs/cli.md`."""

import argparse
import re
import sys

from pocketrec import verbs

_WIDTH = 100
_HEAD = """# Commands

Written by `make docs` from `--help`; a test fails when they differ.

Results go to stdout, progress to stderr; `--json` prints results as JSON. Exit codes: 0 done, 1 an error (one sentence
on stderr), 2 wrong usage, 3 a quality gate failed.
"""


def command_reference() -> str:
    """Return docs/cli.md as it should be, the same on every supported Python."""
    parts = [_HEAD]
    for verb, (_, summary) in verbs.VERBS.items():
        parts.append(f"## {verb}\n\n{_capitalized(summary)}.\n")
        parts += [_section(part) for part in _parsers(verbs.parser_of(verb))]
    return "\n".join(parts)


def _parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return [leaf for child in action.choices.values() for leaf in _parsers(child)]
    return [parser]


def _section(parser: argparse.ArgumentParser) -> str:
    lines = [f"```\n{_usage(parser)}\n```\n"]
    shown = [action for action in parser._actions if action.help and not isinstance(action, argparse._HelpAction)]
    rows = [_row(action) for action in shown]
    if any(action.help == argparse.SUPPRESS for action in parser._actions):
        raise ValueError(f"{parser.prog} hides an option: every option is documented")
    return "\n".join([*lines, *rows, ""])


def _usage(parser: argparse.ArgumentParser) -> str:
    # argparse breaks lines differently from one Python to the next, so it is written here.
    words = [parser.prog]
    alternatives = {id(group._group_actions[0]): group for group in parser._mutually_exclusive_groups}
    later = {id(action) for group in alternatives.values() for action in group._group_actions[1:]}
    for action in sorted(parser._actions, key=lambda action: bool(action.option_strings)):
        if id(action) in alternatives:
            group = alternatives[id(action)]
            choice = " | ".join(map(_signature, group._group_actions))
            words.append(f"({choice})" if group.required else f"[{choice}]")
        elif id(action) not in later and not isinstance(action, argparse._HelpAction):
            words.append(_usage_of(action))
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
    text = re.sub(r"\s+", " ", action.help % {**vars(action), "prog": ""})
    return f"- `{_signature(action)}`: {text}{' (required)' if action.option_strings and action.required else ''}"


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


if __name__ == "__main__":
    sys.stdout.write(command_reference())
