"""The most that one device counts in a day, so that neither a bot nor a heavy user decides what a fleet's clicks say.

Without a cap, a bot with a hundred times the lists of a person adds ten thousand times a person's variance, and a rollout
waits for evidence until it pauses. Capped metrics are usual where a few users see most (Deng and Shi, "Data-driven metric
development for online controlled experiments", KDD 2016). The cap is the same on both sides, so it makes no difference
between them where there is none.
"""

from typing import NamedTuple

DAY_S = 86_400
MOST_IMPRESSIONS_A_DAY = 100
"""Five times what a device of the simulated fleet sees on average, 20; on 99.9% of days it sees 35 or fewer. Ten pages."""
MOST_CLICKS_A_DAY = 20
"""On a fifth of those impressions; the simulated fleet clicks 13 times or fewer on 99.99% of days. A bot clicks more."""


class Counted(NamedTuple):
    """What a device has counted on a day since 1970; the order is that of the columns in the device's row."""

    counted_day: int = 0
    counted_impressions: int = 0
    counted_clicks: int = 0

    def plus(self, *, at_s: float, impressions: int, clicks: int) -> "Counted":
        """Return what is counted after a batch at `at_s` seconds since 1970; a new day begins with nothing.

        Of a batch with more impressions than the day has room for, the same share of impressions and of clicks counts, so
        that the cap changes no click rate. Clicks have a cap of their own, against what clicks everything.

        Args:
            at_s: when the batch arrived.
            impressions: new ones of the batch.
            clicks: likewise.
        """
        day = int(at_s // DAY_S)
        before = self if self.counted_day == day else Counted(day)
        room = MOST_IMPRESSIONS_A_DAY - before.counted_impressions
        share = min(1.0, room / max(impressions, 1))
        return Counted(
            day,
            before.counted_impressions + min(impressions, room),
            min(before.counted_clicks + round(clicks * share), MOST_CLICKS_A_DAY),
        )
