"""Attestation: proof that a device runs the shop's own app, checked by a plug that the settings name."""

import importlib
from dataclasses import dataclass
from typing import Protocol, cast

from edge_runtime.contract.errors import ConfigError


@dataclass(frozen=True)
class Verdict:
    """Whether a device is genuine; if not, `reason` says why in one sentence, which the device gets to read."""

    is_genuine: bool
    reason: str = ""


class Attestation(Protocol):
    """A service that judges tokens of devices: Play Integrity, App Attest, or a shop's own."""

    def check(self, token: str, *, nonce: str) -> Verdict:
        """Judge a token.

        Args:
            token: what the device's platform gave to the app.
            nonce: the SHA-256 (hex) of the device's credential, for which the token must have been made: a stolen token is
                then of no use to another device.

        Raises:
            StorageError: the service cannot be asked; the device may try again later.
        """
        ...


def load_attestation(place: str) -> Attestation | None:
    """Return the attestation that `place` makes: "package.module:name" of a class or function without arguments.

    None for an empty `place`.

    Raises:
        ConfigError: there is no such thing.
    """
    if not place:
        return None
    module, _, name = place.partition(":")
    try:
        return cast("Attestation", getattr(importlib.import_module(module), name)())
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"attestation: expected module:name of a class that can be imported, got {place!r}"
        ) from error
