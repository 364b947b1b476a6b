"""Child processes that end with their parent, under another account where one is asked for.

Run as a script this module is the step between the two: it drops root, ties itself to the
parent and becomes the child. ``subprocess`` could do the same in ``preexec_fn``, but that is
unsafe in a process with threads. The kernel forgets the tie when the account changes, hence
the order. The tie is to the parent's *thread*: start children from the main one.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1


def command_with_parent(
    command: Sequence[str], *, death_signal: signal.Signals, account: tuple[int, int] | None = None
) -> list[str]:
    """A command line that runs ``command`` and gets ``death_signal`` when this process dies.

    Args:
        command: The program, as an absolute path, and its arguments.
        death_signal: Sent by the kernel (Linux) however this process ends, ``kill -9`` included.
        account: User and group id to run as; only root can change them.
    """
    user, group = account or (-1, -1)
    # -I and -S: no site packages, no environment, 15 ms in all.
    script = [sys.executable, "-I", "-S", __file__]
    return [*script, str(os.getpid()), str(int(death_signal)), str(user), str(group), *command]


def main(arguments: Sequence[str]) -> None:
    """Become the command that follows the four numbers of `command_with_parent`."""
    parent, death_signal, user, group = map(int, arguments[:4])
    command = arguments[4:]
    if user >= 0:
        os.setgroups([])
        os.setgid(group)
        os.setuid(user)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, death_signal)
        if os.getppid() != parent:  # it died before the tie held
            sys.exit("the parent process is gone")
    os.execv(command[0], tuple(command))  # noqa: S606 - a program, never a shell


if __name__ == "__main__":
    main(sys.argv[1:])
