"""Why a request is not answered, in the words of both protocols."""

import enum

import grpc


class Why(enum.Enum):
    """Reason -> HTTP status and gRPC status."""

    INVALID = 400, grpc.StatusCode.INVALID_ARGUMENT
    NOT_FOUND = 404, grpc.StatusCode.NOT_FOUND
    TOO_LARGE = 413, grpc.StatusCode.RESOURCE_EXHAUSTED
    BUSY = 429, grpc.StatusCode.RESOURCE_EXHAUSTED
    FAILED = 500, grpc.StatusCode.INTERNAL
    UNAVAILABLE = 503, grpc.StatusCode.UNAVAILABLE

    def __init__(self, http, rpc):
        self.http, self.rpc = http, rpc


class Refused(Exception):
    """A request is not answered: `why`, and a message for the caller."""

    def __init__(self, why, message):
        super().__init__(why, message)
        # What a message repeats of a request may be no text.
        self.why, self.message = why, message.encode("utf-8", "backslashreplace").decode()

    def __str__(self):
        return self.message
