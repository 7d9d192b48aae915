"""The process of a replica, which `Replicas` starts: it ends when the process of the front does."""

import gc
import os
import pathlib
import signal
import socket
import sys
import threading
import traceback

from recipes._core import page
from recipes._core.server import link


def main(folder, *names, sockets):
    """Answers pings over the first of the sockets, whose numbers are given, and calls over the others."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # who sends them to all processes means the front
    pings, *calls = (socket.socket(fileno=int(number)) for number in sockets.split(","))
    threading.Thread(target=_serve, args=(pings, lambda method: None)).start()
    # TensorFlow comes after: a front that is gone is noticed while it is imported.
    replica = page.quiet_import("recipes._core.server.replica").Replica(pathlib.Path(folder), names)
    gc.freeze()  # as in the front
    for connection in calls:
        threading.Thread(target=_serve, args=(connection, replica.call)).start()


def _serve(connection, call):
    status = 0
    try:
        link.answer(connection, call)
    except OSError:  # the front is gone
        pass
    except Exception:
        traceback.print_exc()
        status = 1
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:-1], sockets=sys.argv[-1])
