"""The offer of a server to the devices of a channel: one for all; a device finds its release in it by its cohort.

An offer can only name signed releases, so a server that was broken into cannot install anything else. It contains the
signed timestamp, so that a device learns with one request that nothing is new.
"""

import hashlib
from dataclasses import dataclass

import msgspec

from edge_runtime.contract.cohort import choose, in_share
from edge_runtime.contract.errors import DownloadError
from edge_runtime.contract.events import MAX_ID_CHARS, is_name

MAX_OFFER_BYTES = 40_000
"""An offer has some 2 kB: mostly the signed timestamp. The rest is room for signatures and variants."""


class RolloutOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A release on its way to the whole channel: the first `share` (0 … 1) of all devices by `seed` may install it.

    A paused rollout is not `accepting`: devices that have the release keep it; no other device installs it.
    """

    id: str
    seed: str
    release: int
    share: float
    accepting: bool = True


class VariantOffer(msgspec.Struct, frozen=True):
    """One variant of an experiment: its name, the release that its devices install, its share of all (0 … 1)."""

    name: str
    release: int
    weight: float


class ExperimentOffer(msgspec.Struct, frozen=True):
    """Variants that devices are given by `seed`, to be compared."""

    id: str
    seed: str
    variants: list[VariantOffer] = msgspec.field(name="arms")


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "anything new?".

    Attributes:
        root_version: of the newest root.json, so that a device need not ask for the next one.
        timestamp: the text of the signed timestamp.json.
        release: what devices outside of rollout and experiment install; None for the channel's newest.
        rollout: a release on its way, if any.
        experiment: variants that are compared, if any.
    """

    root_version: int
    timestamp: str
    release: int | None = None
    rollout: RolloutOffer | None = None
    experiment: ExperimentOffer | None = None


@dataclass(frozen=True)
class Assignment:
    """What one device makes of an offer: its release (None: the channel's newest), and why (rollout or experiment)."""

    release: int | None = None
    reason: str | None = None
    variant: str | None = None


def offer_etag(data: bytes) -> str:
    """Return the entity tag of an offer, which a device checks: a false offer cannot be kept under a true one's tag."""
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


def decode_offer(data: bytes) -> Offer:
    """Read and check an offer that nobody has signed.

    Raises:
        DownloadError: it is malformed, or names what no event and no report of a device may name.
    """
    try:
        offer = msgspec.json.decode(data, type=Offer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise DownloadError(f"the server's offer is malformed ({error}); check the address, or try again") from error
    check_offer(offer)
    return offer


def check_offer(offer: Offer) -> None:
    """Refuse an offer whose names or shares cannot be true.

    What an offer names is kept beside the bundle and goes into every event and report of the device. Its releases are
    looked for among the signed ones.

    Raises:
        DownloadError: says what was expected.
    """
    rollout = [offer.rollout] if offer.rollout is not None else []
    experiment = [offer.experiment] if offer.experiment is not None else []
    variants = [variant for one in experiment for variant in one.variants]
    named: list[RolloutOffer | ExperimentOffer] = [*rollout, *experiment]
    names = [text for one in named for text in (one.id, one.seed)]
    if not all(map(is_name, [*names, *(one.name for one in variants)])):
        raise DownloadError(
            f"the server's offer is refused: expected names of 1 to {MAX_ID_CHARS} printable characters; "
            "the bundle that answers stays"
        )
    if not all(0 <= share <= 1 for share in [*(one.share for one in rollout), *(one.weight for one in variants)]):
        raise DownloadError(
            "the server's offer is refused: expected shares between 0 and 1; the bundle that answers stays"
        )


def assign(offer: Offer, *, device_id: str, installed_release: int | None) -> Assignment:
    """Return which release of the channel a device installs.

    Args:
        offer: of the device's channel.
        device_id: decides the device's place in rollouts and experiments.
        installed_release: of the same channel, which a paused rollout lets the device keep.
    """
    rollout, experiment = offer.rollout, offer.experiment
    if rollout is not None and in_share(rollout.seed, device_id, rollout.share):
        if rollout.accepting or installed_release == rollout.release:
            return Assignment(rollout.release, rollout.id)
    elif experiment is not None:
        place = choose(experiment.seed, device_id, [one.weight for one in experiment.variants])
        if place is not None:
            chosen = experiment.variants[place]
            return Assignment(chosen.release, experiment.id, chosen.name)
    return Assignment(offer.release)
