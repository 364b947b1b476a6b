"""moto's S3 server as a process of its own: run as a program, this prints its address and serves.

It ends when its standard input does, so that it never outlives who started it.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from uuid import uuid4

import httpx

from kroma.config import S3Access

KEY = "kroma-test"
"""Access key and secret of ``access_to``; moto asks for none in particular."""


@contextmanager
def running_s3() -> Iterator[str]:
    """The endpoint of a server that has no buckets."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def access_to(endpoint: str) -> S3Access:
    """Who may do everything there."""
    return S3Access(endpoint_url=endpoint, region="us-east-1", access_key_id=KEY, secret_access_key=KEY)


def new_bucket(endpoint: str) -> str:
    """The name of a bucket that was just made."""
    name = f"kroma-{uuid4().hex}"
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return name


def s3_environment(endpoint: str, bucket: str) -> dict[str, str]:
    """What makes a process of Kroma keep its files in a bucket of the server."""
    return {
        "KROMA_STORE": "s3",
        "KROMA_S3_BUCKET": bucket,
        "KROMA_S3_ENDPOINT_URL": endpoint,
        "KROMA_S3_REGION": "us-east-1",
        "KROMA_S3_ACCESS_KEY_ID": KEY,
        "KROMA_S3_SECRET_ACCESS_KEY": KEY,
    }


def main() -> None:
    """Serve until standard input ends."""
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - only this process pays for moto
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
