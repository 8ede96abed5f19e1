"""How durations are spread, in bounded memory however many there are."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

# neighbouring buckets differ by 1 %, which is the error of a percentile
_LOG_STEP: Final = math.log(1.01)
_LEAST_SECS: Final = 1e-6
PERCENTILES: Final = (50, 90, 95, 99)


class Spread:
    """Counts durations in buckets of equal ratio. A percentile is at most 1 % too high; mean and maximum are exact."""

    def __init__(self) -> None:
        self.count = 0
        self._sum_secs = 0.0
        self._most_secs = 0.0
        self._buckets: Counter[int] = Counter()

    def add(self, secs: float) -> None:
        self.count += 1
        self._sum_secs += secs
        self._most_secs = max(self._most_secs, secs)
        self._buckets[math.ceil(math.log(max(secs, _LEAST_SECS)) / _LOG_STEP)] += 1

    def percentile_secs(self, percent: float) -> float:
        """The least duration that so many percent do not exceed; 0 without any."""
        rank, seen = math.ceil(self.count * percent / 100), 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(math.exp(bucket * _LOG_STEP), self._most_secs)
        return 0.0

    def in_ms(self) -> dict[str, float] | None:
        """Mean, percentiles and maximum; None without any."""
        if not self.count:
            return None
        found = {"mean": self._sum_secs / self.count}
        found |= {f"p{percent}": self.percentile_secs(percent) for percent in PERCENTILES}
        found["max"] = self._most_secs
        return {name: round(secs * 1000, 3) for name, secs in found.items()}
