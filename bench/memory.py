"""Idle memory of the API and of the worker: the sum of the resident sets of each process tree."""

import json
import time
from typing import Any

import psutil
from stack import running_api, running_stack, running_worker

LIMITS_MB = {"api": 160, "worker": 250}
SETTLE_S = 5.0


def tree_mb(pid: int) -> float:
    """The resident megabytes of a process and its children."""
    process = psutil.Process(pid)
    tree = [process, *process.children(recursive=True)]
    return round(sum(member.memory_info().rss for member in tree) / 1024**2, 1)


def measure(*, smoke: bool = False) -> dict[str, Any]:
    """Measure each service five seconds after it was ready."""
    settle_s = 0.0 if smoke else SETTLE_S
    with running_stack() as stack:
        with running_api(stack) as (process, _):
            time.sleep(settle_s)
            api_mb = tree_mb(process.pid)
        with running_worker(stack) as process:
            time.sleep(settle_s)
            worker_mb = tree_mb(process.pid)
    return {
        "name": "memory",
        "shown": f"api {api_mb} MB, worker {worker_mb} MB",
        "api_mb": api_mb,
        "worker_mb": worker_mb,
        "target": f"api <{LIMITS_MB['api']} MB, worker <{LIMITS_MB['worker']} MB",
        "ok": api_mb < LIMITS_MB["api"] and worker_mb < LIMITS_MB["worker"],
    }


def main() -> None:
    print(json.dumps(measure()))


if __name__ == "__main__":
    main()
