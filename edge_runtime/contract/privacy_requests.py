"""What a device may ask of the data that a server holds about it."""

import msgspec


class ErasureReceipt(msgspec.Struct, frozen=True):
    """What the server erased of a device: `events` and `count_reports`. What was sent before never comes back."""

    events: int
    count_reports: int
