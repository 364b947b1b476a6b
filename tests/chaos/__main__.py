"""Run an experiment: ``python -m chaos``, or ``make chaos``."""

import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.experiment import experiment
from chaos.plan import drawn

SHOWN = 100


def say(text: str) -> None:
    """A line at once, also into a pipe."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    """Draw, carry out, judge; exit code 1 and everything kept when a rule does not hold."""
    runs = int(os.environ.get("CHAOS_RUNS", "200"))
    kills = int(os.environ.get("CHAOS_KILLS", str(max(40, runs // 5))))
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    lease = os.environ.get("CHAOS_LEASE_S")
    again = f"CHAOS_SEED={seed} CHAOS_RUNS={runs} CHAOS_KILLS={kills} make chaos"
    if lease:
        again = f"CHAOS_LEASE_S={lease} {again}"
    say(f"seed {seed}: {runs} runs, {kills} kills; again with: {again}")
    folder = Path(tempfile.mkdtemp(prefix=f"kroma-chaos-{seed}-"))
    # PostgreSQL runs as another account when we are root.
    folder.chmod(0o711)
    plan = drawn(seed, runs=runs, kills=kills)
    outcome = experiment(plan, folder / "data", lease_s=float(lease) if lease else None, say=say)
    say(json.dumps(outcome.figures, indent=2))
    if outcome.wrong:
        say("\n  ".join([f"{len(outcome.wrong)} findings:", *outcome.wrong[:SHOWN]]))
        sys.exit(f"everything is kept in {folder}; again with: {again}")
    shutil.rmtree(folder)
    say("every rule holds")


if __name__ == "__main__":
    main()
