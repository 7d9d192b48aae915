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


def main(folder, *names, calls, pings):
    """Answers calls and pings over sockets, of which the numbers are given."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # who sends them to all processes means the front
    threading.Thread(target=_serve, args=(pings, lambda method: None)).start()
    # TensorFlow comes after: a front that is gone is noticed while it is imported.
    replica = page.quiet_import("recipes._core.server.replica").Replica(pathlib.Path(folder), names)
    gc.freeze()  # as in the front
    _serve(calls, replica.call, threads=8)


def _serve(number, call, threads=1):
    status = 1
    try:
        link.answer(socket.socket(fileno=int(number)), call, threads)
        status = 0
    except OSError:  # the front is gone
        status = 0
    except Exception:
        traceback.print_exc()
    os._exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:-2], calls=sys.argv[-2], pings=sys.argv[-1])
