"""What a benchmark returns: figures, some with an aim; how they are printed; percentiles.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the table. `ratio` is against something that was measured beside it in the same run."""

    name: str
    value: str
    ratio: float | None = None
    aim: float | None = None
    at_least: bool = False  # whether the ratio shall be the aim or more; else the aim or less

    @property
    def verdict(self) -> str:
        if self.ratio is None or self.aim is None:
            return ""
        met = self.ratio >= self.aim if self.at_least else self.ratio <= self.aim
        return "met" if met else "MISSED"

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "verdict": self.verdict}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(figures: Iterable[Figure]) -> str:
    rows = [("", "measured", "ratio", "aim", "")]
    for figure in figures:
        ratio = "" if figure.ratio is None else f"{_number(figure.ratio)}x"
        aim = "" if figure.aim is None else f"{'>=' if figure.at_least else '<='} {figure.aim:,g}x"
        rows.append((figure.name, figure.value, ratio, aim, figure.verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = []
    for name, value, ratio, aim, verdict in rows:
        cells = (name.ljust(widths[0]), value.ljust(widths[1]), ratio.rjust(widths[2]), aim.rjust(widths[3]), verdict)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of an ordered sequence does not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


def median(values: Iterable[float]) -> float:
    return percentile(sorted(values), 0.5)


def duration(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def kibibytes(size: float) -> str:
    return f"{size / 1024:.1f} KiB"
