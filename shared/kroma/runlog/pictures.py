"""Finds where a candidate's pictures are."""

from collections.abc import Callable

from kroma.runlog.entries import Picture
from kroma.runlog.schema import FileLog


def candidate_pictures(
    rel_path: Callable[[str], str],
    *,
    output: str | None,
    final_output: str | None,
    checked: str | None = None,
    archived: str | None = None,
    file: FileLog | None = None,
    final_file: FileLog | None = None,
) -> tuple[Picture | None, Picture | None]:
    """The generated picture, and the last of the chain if post-processing made another one.

    The original moved only the last file of a rejected candidate: the generated picture, or the
    post-processed one if there was one.

    Args:
        rel_path: Makes a path relative to the project.
        output: The generated picture's path.
        final_output: The last picture's path; None if rejected.
        checked: The path that the guard checked, before any move.
        archived: Where a rejected picture was moved to.
        file: The generated picture's file at its current path, if the log has it.
        final_file: The same of the last picture.
    """
    generated = _picture(rel_path, output, file)
    last = _picture(rel_path, final_output, final_file)
    if archived is not None and file is None:
        moved = checked or output
        if moved is None or output is None or rel_path(moved) == rel_path(output):
            generated = _picture(rel_path, archived, None)
        else:
            last = _picture(rel_path, archived, final_file)
    if last is not None and generated is not None and last.path == generated.path:
        last = None
    return generated, last


def _picture(rel_path: Callable[[str], str], path: str | None, file: FileLog | None) -> Picture | None:
    where = file.path if file is not None else path
    name = rel_path(where) if where is not None else ""
    return Picture(path=name, file=file) if name else None
