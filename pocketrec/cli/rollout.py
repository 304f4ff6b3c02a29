"""The commands `pocketrec rollout` and `pocketrec experiment`."""

import argparse
import math
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from edge_runtime.contract.errors import ConfigError
from pocketrec.publishing.publish_client import read_token
from pocketrec.publishing.server_api import ServerApi
from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.guardrails import open_question
from sync_server.rollouts.plan import RolloutPlan
from sync_server.statistics.confidence_sequences import open_difference

_KEY_VARIABLE = "POCKETREC_PUBLISH_TOKEN_FILE"


def _add_server(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--server", required=True, metavar="URL", help="the server's address")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"an API key of role publisher ({_KEY_VARIABLE} names it otherwise)",
    )
    parser.add_argument("--allow-plain-http", action="store_true", help="accept an unprotected connection")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def add_rollout_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `pocketrec rollout`."""
    actions = parser.add_subparsers(dest="action", required=True)
    start = actions.add_parser("start", help="roll a staged release out")
    start.add_argument("--channel", default="stable", help="whose devices (stable)")
    start.add_argument("--release", type=int, metavar="N", help="a staged release; the newest by default")
    for name, default, description in _plan_settings():
        shown = ",".join(f"{part:g}" for part in default) if isinstance(default, tuple) else default
        start.add_argument(
            f"--{name.replace('_', '-')}",
            type=str if isinstance(default, tuple) else type(default),
            default=shown,
            metavar="X,X,…" if isinstance(default, tuple) else "X",
            help=f"{description} (%(default)s)",
        )
    _add_server(start)
    for action, text in (
        ("pause", "who has the release keeps it, nobody else gets it"),
        ("resume", "go on with a paused rollout"),
        ("advance", "go to the next stage without waiting"),
        ("halt", "stop, and bring the devices back to the release before"),
    ):
        acting = actions.add_parser(action, help=text)
        acting.add_argument("rollout", metavar="ID", help="from pocketrec rollout status")
        acting.add_argument("--reason", default="", help="for the history")
        _add_server(acting)
    status = actions.add_parser("status", help="all rollouts, or one with its guardrails and history")
    status.add_argument("rollout", nargs="?", metavar="ID")
    _add_server(status)


def run_rollout(args: argparse.Namespace) -> int:
    """Run one action of `pocketrec rollout`; return the exit code."""
    api = _api(args)
    if args.action == "start":
        body = {"channel": args.channel, "plan": _plan(args)}
        if args.release is not None:
            body["release"] = args.release
        _show(args, _line, api.ask("POST", "rollouts", body))
    elif args.action != "status":
        _show(args, _line, api.ask("POST", f"rollouts/{args.rollout}/{args.action}", {"reason": args.reason}))
    elif args.rollout:
        _show(args, _whole, api.ask("GET", f"rollouts/{args.rollout}"))
    else:
        listed = api.ask("GET", "rollouts")
        _show(args, lambda found: "\n".join(map(_line, found["rollouts"])) or "no rollouts yet", listed)
    return 0


def _api(args: argparse.Namespace) -> ServerApi:
    token_file = args.token_file or os.environ.get(_KEY_VARIABLE)
    if not token_file:
        raise ConfigError(f"name the file with an API key by --token-file or in {_KEY_VARIABLE}")
    return ServerApi(args.server, key=read_token(Path(token_file)), allow_plain_http=args.allow_plain_http)


def _plan_settings() -> Iterator[tuple[str, Any, str]]:
    """Give each field of a plan: its name, its default and its description."""
    for name, hint in get_type_hints(RolloutPlan, include_extras=True).items():
        yield name, getattr(RolloutPlan(), name), hint.__metadata__[0].description


def _plan(args: argparse.Namespace) -> RolloutPlan:
    plan: dict[str, Any] = {
        name: _numbers(getattr(args, name), f"--{name.replace('_', '-')}")
        if isinstance(default, tuple)
        else getattr(args, name)
        for name, default, _ in _plan_settings()
    }
    plan["hold_hours"] = max(plan["hold_hours"], plan["soak_hours"])
    return RolloutPlan(**plan).checked()


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigError(f"{option}: expected numbers with commas between them, got {text!r}") from error


def _line(rollout: dict[str, Any]) -> str:
    return (
        f"{rollout['id']}: release {rollout['release']} of {rollout['channel']} over {rollout['base_release']}, "
        f"{rollout['state']}, stage {rollout['stage'] + 1} ({100 * rollout['share']:g}%): {rollout['reason']}"
    )


def _whole(found: dict[str, Any]) -> str:
    lines = [_line(found["rollout"])]
    for guardrail in found["rollout"]["guardrails"]:
        low, high = (_percent(guardrail[side]) for side in ("lower", "upper"))
        lines.append(
            f"  {guardrail['name']:<15} {guardrail['verdict']:<10} {_percent(guardrail['estimate'])} "
            f"[{low}, {high}], limit {_percent(guardrail['limit'])}, {guardrail['devices']} devices"
        )
        question = open_question(_guardrail(guardrail))
        lines += [f"                  {question}"] if question else []
    for step in found["history"]:
        when = datetime.fromtimestamp(step["at_s"], UTC).isoformat(timespec="seconds")
        lines.append(f"  {when} {step['action']} by {step['actor']}: {step['reason']}")
    return "\n".join(lines)


def _guardrail(told: dict[str, Any]) -> Guardrail:
    endless = {"lower": -math.inf, "upper": math.inf}  # JSON has no infinity
    return Guardrail(**{**told, **{side: value for side, value in endless.items() if told[side] is None}})


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:+.2f}%"


def add_experiment_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of `pocketrec experiment`."""
    actions = parser.add_subparsers(dest="action", required=True)
    start = actions.add_parser("start", help="give devices one of several releases, or interleave their lists")
    start.add_argument("--channel", default="stable", help="whose devices (stable)")
    start.add_argument("--name", required=True, help="for people")
    start.add_argument(
        "--arm", action="append", default=[], metavar="NAME=RELEASE:SHARE",
        help="a variant, like new=7:0.1; the first is compared with; none for interleaved lists",
    )  # fmt: skip
    _add_server(start)
    stop = actions.add_parser("stop", help="end an experiment; its devices return to the channel's release")
    stop.add_argument("experiment", metavar="ID")
    _add_server(stop)
    status = actions.add_parser("status", help="all experiments, or one, with results")
    status.add_argument("experiment", nargs="?", metavar="ID")
    _add_server(status)


def run_experiment(args: argparse.Namespace) -> int:
    """Run one action of `pocketrec experiment`; return the exit code."""
    api = _api(args)
    if args.action == "start":
        body = {"channel": args.channel, "name": args.name, "arms": [_arm(text) for text in args.arm]}
        _show(args, _result, api.ask("POST", "experiments", body))
    elif args.action == "stop":
        _show(args, _result, api.ask("POST", f"experiments/{args.experiment}/stop"))
    elif args.experiment:
        _show(args, _result, api.ask("GET", f"experiments/{args.experiment}"))
    else:
        listed = api.ask("GET", "experiments")
        _show(args, lambda found: "\n".join(map(_result, found["experiments"])) or "no experiments yet", listed)
    return 0


def _arm(text: str) -> dict[str, object]:
    name, _, rest = text.partition("=")
    release, _, share = rest.partition(":")
    try:
        return {"name": name, "release": int(release), "weight": float(share)}
    except ValueError as error:
        raise ConfigError(f"--arm: expected NAME=RELEASE:SHARE like new=7:0.1, got {text!r}") from error


def _result(found: dict[str, Any]) -> str:
    lines = [f"{found['id']}: {found['name']} in {found['channel']}, {found['state']}"]
    if found["sample_ratio_mismatch"]:
        lines.append(
            f"  devices are not shared out as planned (p = {found['sample_ratio_p']:.2g}): do not believe this"
        )
    for arm in found["arms"]:
        against = ""
        if arm["difference"] is not None:
            against = f", {_percent(arm['difference'])} [{_percent(arm['lower'])}, {_percent(arm['upper'])}]"
        lines.append(
            f"  {arm['name']:<15} release {arm['release']}: {arm['assigned']} devices, {arm['clicks']} clicks of "
            f"{arm['impressions']} ({100 * arm['click_through']:.2f}%){against}"
        )
        if arm["difference"] is not None:
            question = open_difference(arm["difference"], arm["lower"], arm["upper"])
            lines += [f"                  {question}"] if question else []
    if found["teams"]:
        teams = found["teams"]
        lines.append(
            f"  interleaved: b wins on {teams['b_wins']} devices, a on {teams['a_wins']}; share of b "
            f"{100 * teams['b_share']:.1f}% [{100 * teams['lower']:.1f}%, {100 * teams['upper']:.1f}%]"
        )
        if teams["lower"] <= 0.5 <= teams["upper"]:
            lines.append("                  neither team can be told to be better yet")
    return "\n".join(lines)


def _show(args: argparse.Namespace, text_of: Any, result: Any) -> None:
    print(msgspec.json.encode(result).decode() if args.json else text_of(result), file=sys.stdout, flush=True)


COMMANDS = {
    "rollout": (add_rollout_arguments, run_rollout),
    "experiment": (add_experiment_arguments, run_experiment),
}
