"""Connections of HTTP/1.1: uvicorn's, which read past an offer of HTTP/2, live long while idle, and are bounded."""

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

IDLE_SECONDS = 75  # to the end of the next request's head; proxies and clients keep their connections for 60
MOST_OPEN = 1000  # then that which is idle for longest is closed
MOST_HEAD = 2**16  # bytes of a request's head


def config(app, **options):
    """uvicorn's configuration of an ASGI application behind connections of this kind."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        log_level="error",
        access_log=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=10,
        server_header=False,
        **options,
    )


class Connection(HttpToolsProtocol):
    """A connection; the timer of an idle one runs from its beginning, and ends with a head that is whole."""

    def connection_made(self, transport):
        super().connection_made(transport)
        self._in_head, self._head, self._fed = True, 0, 0
        if len(self.connections) > MOST_OPEN:
            idle = [each for each in self.connections if each.timeout_keep_alive_task]
            longest = min(idle, key=lambda each: each.timeout_keep_alive_task.when(), default=self)
            longest.transport.close()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def data_received(self, data):
        self._fed = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offered:
            self._read_again(data[offered.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head:
            self._head += self._fed
            if self._head > MOST_HEAD:
                self.send_400_response(f"Expected a head of at most {MOST_HEAD} bytes.")

    def _read_again(self, rest):
        """Reads a request without its offer of another protocol, of which the parser would make its end."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        headers = [header for header in self.headers if header[0] != b"upgrade"]
        if len(headers) == len(self.headers):  # CONNECT
            self.send_400_response("Invalid HTTP request received.")
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version), *(b"%b: %b" % header for header in headers)]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def on_headers_complete(self):
        if not self.parser.should_upgrade():
            self._in_head = False
            self._unset_keepalive_if_required()
            super().on_headers_complete()

    def on_message_complete(self):
        if not self.parser.should_upgrade():
            self._in_head, self._head = True, -self._fed
            super().on_message_complete()

    def eof_received(self):
        """Keeps the connection of a client that only listens any more until it is answered."""
        is_asked = self.cycle and not (self.cycle.more_body or self.cycle.response_complete)
        if is_asked:
            self.cycle.keep_alive = False
        return is_asked
