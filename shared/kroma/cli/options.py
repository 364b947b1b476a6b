"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Folder of the database, pictures, token and logs.",
        show_default="KROMA_DATA_DIR, else /var/lib/kroma as root and ~/.local/share/kroma otherwise",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
