"""Memory that was used once goes back."""

import subprocess
import sys

_SCRIPT = """
import sys
from pathlib import Path

if sys.argv[1] == "given back":
    from kroma_api.memory import give_large_blocks_back

    give_large_blocks_back()


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1024**2


before = resident_mib()
block = b"x" * (24 * 1024**2)
del block  # from here on glibc keeps blocks of this size
large, small = [], []
for _ in range(8):
    large.append(b"x" * (16 * 1024**2))
    small.append(b"x" * 100_000)
large.clear()
print(resident_mib() - before)
"""


def kept_mib(how: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, how], capture_output=True, text=True, timeout=30, check=True
    )
    return float(done.stdout)


def test_large_blocks_go_back_to_the_system() -> None:
    assert kept_mib("given back") < 20
    assert kept_mib("as it is") > 60, "glibc gives them back by itself now: the call can go"
