"""The commands `pocketrec rollout` and `pocketrec experiment`."""

import argparse
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, get_type_hints

from edge_runtime.cli.commands import JSON, Actions, AddArguments, Command, argument, show
from edge_runtime.contract.errors import ConfigError
from pocketrec.cli.places import PLAIN_HTTP, TOKEN, server_api
from sync_server.rollouts.comparisons import Guardrail
from sync_server.rollouts.guardrails import open_question
from sync_server.rollouts.plan import RolloutPlan
from sync_server.statistics.confidence_sequences import open_difference

_CHANNEL = argument("--channel", default="stable", help="whose devices (stable)")
_SERVER = (argument("--server", required=True, metavar="URL", help="the server's address"), TOKEN, PLAIN_HTTP, JSON)


def _start_rollout(args: argparse.Namespace) -> int:
    body = {"channel": args.channel, "plan": _plan(args)}
    if args.release is not None:
        body["release"] = args.release
    return _ask(args, _line, "POST", "rollouts", body)


def _act(args: argparse.Namespace) -> int:
    return _ask(args, _line, "POST", f"rollouts/{args.rollout}/{args.action}", {"reason": args.reason})


def _show_rollouts(args: argparse.Namespace) -> int:
    if args.rollout:
        return _ask(args, _whole, "GET", f"rollouts/{args.rollout}")
    return _ask(args, lambda found: "\n".join(map(_line, found["rollouts"])) or "no rollouts yet", "GET", "rollouts")


def _ask(args: argparse.Namespace, text_of: Callable[[Any], str], method: str, path: str, body: object = None) -> int:
    answer = server_api(args).ask(method, path, body)
    return show(args, answer, "" if args.json else text_of(answer))


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


def _guardrail(sent: dict[str, Any]) -> Guardrail:
    endless = {"lower": -math.inf, "upper": math.inf}  # JSON has no infinity
    return Guardrail(**{**sent, **{side: value for side, value in endless.items() if sent[side] is None}})


def _percent(value: float | None) -> str:
    return "?" if value is None else f"{100 * value:+.2f}%"


def _acting(about: str) -> Command:
    return Command(
        _act,
        argument("rollout", metavar="ID", help="from pocketrec rollout status"),
        argument("--reason", default="", help="for the history"),
        about=about,
    )


def _plan_option(name: str, default: Any, description: str) -> AddArguments:
    several = isinstance(default, tuple)
    return argument(
        f"--{name.replace('_', '-')}",
        type=str if several else type(default),
        default=",".join(f"{part:g}" for part in default) if several else default,
        metavar="X,X,…" if several else "X",
        help=f"{description} (%(default)s)",
    )


rollout = Actions(
    {
        "start": Command(
            _start_rollout,
            _CHANNEL,
            argument("--release", type=int, metavar="N", help="a staged release; the newest by default"),
            *(_plan_option(*setting) for setting in _plan_settings()),
            about="roll a staged release out",
        ),
        "pause": _acting("who has the release keeps it, nobody else gets it"),
        "resume": _acting("go on with a paused rollout"),
        "advance": _acting("go to the next stage without waiting"),
        "halt": _acting("stop, and bring the devices back to the release before"),
        "status": Command(
            _show_rollouts,
            argument("rollout", nargs="?", metavar="ID", help="one of them; all when left out"),
            about="all rollouts, or one with its guardrails and history",
        ),
    },
    *_SERVER,
)


def _start_experiment(args: argparse.Namespace) -> int:
    body = {"channel": args.channel, "name": args.name, "arms": [_arm(text) for text in args.arm]}
    return _ask(args, _result, "POST", "experiments", body)


def _stop_experiment(args: argparse.Namespace) -> int:
    return _ask(args, _result, "POST", f"experiments/{args.experiment}/stop")


def _show_experiments(args: argparse.Namespace) -> int:
    if args.experiment:
        return _ask(args, _result, "GET", f"experiments/{args.experiment}")
    return _ask(
        args, lambda found: "\n".join(map(_result, found["experiments"])) or "no experiments yet", "GET", "experiments"
    )


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


experiment = Actions(
    {
        "start": Command(
            _start_experiment,
            _CHANNEL,
            argument("--name", required=True, help="for people"),
            argument(
                "--arm",
                action="append",
                default=[],
                metavar="NAME=RELEASE:SHARE",
                help="a variant, like new=7:0.1; the first is compared with; none for interleaved lists",
            ),
            about="give devices one of several releases, or interleave their lists",
        ),
        "stop": Command(
            _stop_experiment,
            argument("experiment", metavar="ID", help="from pocketrec experiment status"),
            about="end an experiment; its devices return to the channel's release",
        ),
        "status": Command(
            _show_experiments,
            argument("experiment", nargs="?", metavar="ID", help="one of them; all when left out"),
            about="all experiments, or one, with results",
        ),
    },
    *_SERVER,
)
