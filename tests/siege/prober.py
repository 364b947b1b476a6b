"""Times one caller's requests from a process of its own: ``python -m siege.prober``.

The first line on standard input is a JSON object with the address, the token and the paths; each further
line names the phase that begins. At the end of the input it prints what every request took, by phase.
Every request has a connection of its own, since a new caller has none.
"""

import http.client
import json
import sys
import threading
import time
from typing import Any

PAUSE_S = 0.01
MAX_WAIT_S = 10.0


def timed(host: str, path: str, token: str) -> tuple[float, int]:
    """Seconds and status of one request; 0 is no answer."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(host, timeout=MAX_WAIT_S)
    try:
        headers = {} if path.startswith("/health") else {"Authorization": f"Bearer {token}"}
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        return time.perf_counter() - began, 0
    else:
        return time.perf_counter() - began, response.status
    finally:
        connection.close()


def main() -> None:
    order = json.loads(sys.stdin.readline())
    phase, is_over = "", threading.Event()
    taken: dict[str, list[tuple[str, float, int]]] = {}

    def read_phases() -> None:
        nonlocal phase
        for line in sys.stdin:
            phase = line.strip()
        is_over.set()

    threading.Thread(target=read_phases, daemon=True).start()
    while not is_over.is_set():
        for path in order["paths"]:
            in_phase = phase
            seconds, status = timed(order["host"], path, order["token"])
            # A request that two phases share would be counted to the wrong one.
            if in_phase and in_phase == phase:
                taken.setdefault(in_phase, []).append((path, seconds, status))
        time.sleep(PAUSE_S)
    json.dump(taken, sys.stdout)


if __name__ == "__main__":
    main()


Samples = dict[str, list[Any]]
