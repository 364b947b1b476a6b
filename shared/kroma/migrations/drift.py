"""``python -m kroma.migrations.drift``: do the migrations make what the models say?"""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.util import CommandError

from kroma.embedded.postgres import EmbeddedPostgres
from kroma.migrations.run import config, downgrade, upgrade


def main() -> None:
    """Migrate a throw-away database up, down and up again, then compare it with the models."""
    with tempfile.TemporaryDirectory(prefix="kroma-drift-") as folder:
        Path(folder).chmod(0o711)  # the database's account passes through
        server = EmbeddedPostgres(Path(folder), settings={"fsync": "off"})
        server.start()
        try:
            upgrade(server.url)
            downgrade(server.url, "base")
            upgrade(server.url)
            command.check(config(server.url))
        except CommandError as exc:
            sys.exit(f"The migrations and the models differ: {exc}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
