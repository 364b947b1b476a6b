"""What a siege comes to: one verdict for each rule, and the table of them."""

from collections.abc import Iterable, Sequence

import msgspec

SHOWN = 12


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One rule, held against what happened."""

    rule: str
    measured: str
    allowed: str
    wrong: tuple[str, ...] = ()
    """A line for each thing that broke it; empty when it holds."""

    @property
    def holds(self) -> bool:
        return not self.wrong


def at_most(rule: str, value: float, bound: float, unit: str, *, note: str = "") -> Verdict:
    """A figure against its bound."""
    measured, allowed = f"{value:.1f} {unit}", f"at most {bound:.1f} {unit}"
    wrong = () if value <= bound else (f"{measured}, {allowed}",)
    return Verdict(rule=rule, measured=f"{measured}{note}", allowed=allowed, wrong=wrong)


def none_of(rule: str, wrong: Iterable[str], *, tried: int, what: str) -> Verdict:
    """A rule that nothing may break; it does not hold if nothing was tried."""
    found = tuple(wrong)
    if not tried:
        found = (*found, f"nothing was tried: 0 {what}")
    return Verdict(rule=rule, measured=f"{len(found)} of {tried} {what}", allowed="0", wrong=found)


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as lines of four columns."""
    rows = [("rule", "measured", "allowed", "")]
    rows += [(it.rule, it.measured, it.allowed, "holds" if it.holds else "BROKEN") for it in verdicts]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip()
        for row in rows
    )


def complaints(verdicts: Iterable[Verdict]) -> list[str]:
    """What broke which rule, the first few of each."""
    lines: list[str] = []
    for verdict in verdicts:
        if verdict.holds:
            continue
        lines.append(f"{verdict.rule}:")
        lines += [f"  {line}" for line in verdict.wrong[:SHOWN]]
        if len(verdict.wrong) > SHOWN:
            lines.append(f"  and {len(verdict.wrong) - SHOWN} more")
    return lines
