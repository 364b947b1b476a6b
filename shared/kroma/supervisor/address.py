"""The API's port, looked at before anything is started."""

import errno
import socket

import msgspec

from kroma.config import Bind
from kroma.supervisor.errors import AddressUnusableError, PortTakenError


def chosen_bind(bind: Bind) -> Bind:
    """``bind`` with a real port: a free one where 0 asked for it.

    Raises:
        PortTakenError: Another program listens there.
        AddressUnusableError: The address is not this machine's, or the port is reserved.
    """
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the API binds: a port whose connections are only winding down counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.host, bind.port))
            probe.listen()
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE:
                raise PortTakenError(bind.address) from exc
            raise AddressUnusableError(bind.address, exc.strerror or str(exc)) from exc
        return msgspec.structs.replace(bind, port=int(probe.getsockname()[1]))
