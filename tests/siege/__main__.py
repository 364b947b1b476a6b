"""Lay a siege: ``python -m siege``, or ``make siege``."""

import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from siege.plan import SIZES
from siege.rules import complaints, table
from siege.siege import ATTACKS, lay


def say(text: str) -> None:
    """A line at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Attack, judge; exit code 1, every broken rule by name and everything kept when one does not hold."""
    size = SIZES.get(os.environ.get("SIEGE") or "full")
    if size is None:
        sys.exit(f"SIEGE must be one of: {', '.join(SIZES)}")
    only = [name for name in os.environ.get("SIEGE_ONLY", "").split(",") if name]
    if unknown := [name for name in only if name not in ATTACKS]:
        sys.exit(f"SIEGE_ONLY: there is no attack {unknown[0]}; there are: {', '.join(ATTACKS)}")
    seed = int(os.environ.get("SIEGE_SEED") or secrets.randbelow(1_000_000))
    chosen = f"SIEGE_ONLY={','.join(only)} " if only else ""
    again = f"{chosen}SIEGE={size.name} SIEGE_SEED={seed} make siege"
    say(f"siege ({size.name}), seed {seed}; again with: {again}")
    folder = Path(tempfile.mkdtemp(prefix=f"kroma-siege-{seed}-"))
    # PostgreSQL runs as another account when we are root.
    folder.chmod(0o711)
    # Also who is told to stop leaves no process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    began = time.monotonic()
    verdicts = lay(folder, size, seed=seed, only=only, say=say)
    say(f"{table(verdicts)}\n{time.monotonic() - began:.0f} s")
    broken = [verdict.rule for verdict in verdicts if not verdict.holds]
    if broken:
        say("\n".join(complaints(verdicts)))
        rules = "; ".join(broken)
        sys.exit(
            f"{len(broken)} rules are broken: {rules}\neverything is kept in {folder}; again with: {again}"
        )
    shutil.rmtree(folder)
    say("every rule holds")


if __name__ == "__main__":
    main()
