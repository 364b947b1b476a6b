"""The environment's variables, as texts, numbers and spans; secrets may come from files."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

from kroma.errors import InvalidRequestError

_TRUE = frozenset({"1", "true", "yes", "on"})
_LONGEST_S: Final = 30 * 86400
_MOST_BYTES: Final = 64 * 1024
_WHOLE: Final = re.compile("[0-9]{1,9}")
_SECONDS: Final = re.compile(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")


class SettingsError(InvalidRequestError):
    """An environment variable is missing or wrong; the message names it and says what is right."""


def truthy(text: str | None) -> bool:
    """Contract 1.8: ``1``, ``true``, ``yes`` and ``on`` in any case; anything else is false."""
    return text is not None and text.strip().lower() in _TRUE


def span(name: str, text: str, *, minimum: float, example: float) -> timedelta:
    """Seconds in ASCII digits, fractions allowed, from ``minimum`` to 30 days.

    Args:
        text: Its value.
        minimum: In seconds.
        example: What is shown as one that can be meant.

    Raises:
        SettingsError: The text is no such span.
    """
    seconds = float(text) if _SECONDS.fullmatch(text) else -1.0
    if not minimum <= seconds <= _LONGEST_S:
        raise SettingsError(
            f"{name} must be a number of seconds from {minimum:g} to {_LONGEST_S}, such as {example:g}"
        )
    return timedelta(seconds=seconds)


def expanded(name: str, path: Path) -> Path:
    """A path without ``~``.

    Raises:
        SettingsError: The home is nobody's.
    """
    try:
        return path.expanduser()
    except RuntimeError as exc:
        raise SettingsError(f"{name} starts with the home directory of an unknown user") from exc


class Environment:
    """``KROMA_*`` variables, with the original's ``IAT_*`` names as a fallback."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def text(self, name: str, *, from_file: bool = True) -> str | None:
        """The trimmed value of ``KROMA_<name>``, else of ``IAT_<name>``; blank counts as unset.

        Args:
            name: Without its prefix.
            from_file: Whether ``KROMA_<name>_FILE`` may name a file that holds the value.

        Raises:
            SettingsError: Variable and file are both given, or the file holds no value.
        """
        here = self._variables.get(f"KROMA_{name}", "").strip()
        path = self._variables.get(f"KROMA_{name}_FILE", "").strip() if from_file else ""
        if here and path:
            raise SettingsError(f"KROMA_{name} and KROMA_{name}_FILE are both set; set only one of them")
        if path:
            return _file_text(f"KROMA_{name}_FILE", path)
        return here or self._variables.get(f"IAT_{name}", "").strip() or None

    def shared_text(self, name: str) -> str | None:
        """As ``text``, else the trimmed value of ``<name>`` itself, which other programs read too."""
        return self.text(name) or self._variables.get(name, "").strip() or None

    def server_url(self, name: str) -> str | None:
        """``KROMA_<name>_URL``, with ``KROMA_<name>_PASSWORD`` in it where that is given.

        Raises:
            SettingsError: The address has a password already.
        """
        url, password = self.text(f"{name}_URL"), self.text(f"{name}_PASSWORD")
        if url is None or password is None:
            return url
        scheme, separator, rest = url.partition("://")
        end = min((rest.find(mark) for mark in "/?#" if mark in rest), default=len(rest))
        user, _, host = rest[:end].rpartition("@")
        if ":" in user:
            raise SettingsError(
                f"KROMA_{name}_PASSWORD and KROMA_{name}_URL both have a password; keep only one of them"
            )
        return f"{scheme}{separator}{user}:{quote(password, safe='')}@{host}{rest[end:]}"

    def choice(self, name: str, allowed: Sequence[str], *, default: str) -> str:
        """One of a few words, in any case.

        Raises:
            SettingsError: It is another.
        """
        value = (self.text(name) or default).lower()
        if value not in allowed:
            raise SettingsError(f"KROMA_{name} must be one of: {', '.join(allowed)}")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """A switch after contract 1.8."""
        value = self.text(name)
        return default if value is None else truthy(value)

    def count(self, name: str, *, default: int, minimum: int = 1, maximum: int = 10_000) -> int:
        """A whole number from ``minimum`` to ``maximum``, in ASCII digits.

        Raises:
            SettingsError: The value is no such number.
        """
        value = self.text(name)
        if value is None:
            return default
        if not _WHOLE.fullmatch(value) or not minimum <= int(value) <= maximum:
            raise SettingsError(f"KROMA_{name} must be a whole number from {minimum} to {maximum}")
        return int(value)

    def seconds(self, name: str, *, default: float, minimum: float) -> timedelta:
        """A span in seconds, fractions allowed, from ``minimum`` to 30 days.

        Raises:
            SettingsError: The value is no such span.
        """
        value = self.text(name)
        return (
            timedelta(seconds=default)
            if value is None
            else span(f"KROMA_{name}", value, minimum=minimum, example=default)
        )

    def path(self, name: str) -> Path | None:
        """A file or folder, ``~`` at its beginning being a home.

        Raises:
            SettingsError: The home is nobody's.
        """
        value = self.text(name)
        return None if value is None else expanded(f"KROMA_{name}", Path(value))

    def texts(self, name: str) -> tuple[str, ...]:
        """The trimmed, non-blank parts of a comma-separated list."""
        return tuple(part.strip() for part in (self.text(name) or "").split(",") if part.strip())


def _file_text(variable: str, path: str) -> str:
    """What the file of a variable holds, trimmed.

    No error shows any of it, nor its name: it may be the secret itself, put into the wrong variable.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - bounded, whatever it is
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a valid path"
        raise SettingsError(f"{variable} names a file that cannot be read: {reason}") from exc
    if len(content) > _MOST_BYTES:
        raise SettingsError(f"{variable} names a file that is larger than {_MOST_BYTES} bytes")
    try:
        text = content.decode().strip()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise SettingsError(f"{variable} names a file that is not UTF-8")
    if not text:
        raise SettingsError(f"{variable} names a file that is empty")
    return text
