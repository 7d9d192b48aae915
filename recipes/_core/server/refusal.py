"""Why a request is not answered, in the words of both protocols."""

import enum

import grpc


class Why(enum.Enum):
    """Reason -> HTTP status and gRPC status."""

    INVALID = 400, grpc.StatusCode.INVALID_ARGUMENT
    NOT_FOUND = 404, grpc.StatusCode.NOT_FOUND
    TOO_LARGE = 413, grpc.StatusCode.RESOURCE_EXHAUSTED
    ENCODED = 415, grpc.StatusCode.INVALID_ARGUMENT
    BUSY = 429, grpc.StatusCode.RESOURCE_EXHAUSTED
    FAILED = 500, grpc.StatusCode.INTERNAL
    NOT_OFFERED = 501, grpc.StatusCode.UNIMPLEMENTED
    UNAVAILABLE = 503, grpc.StatusCode.UNAVAILABLE

    def __init__(self, http, rpc):
        self.http, self.rpc = http, rpc


class Refused(Exception):
    """A request is not answered: `why`, a message for the caller, and for the log the traceback of a fault."""

    def __init__(self, why, message, fault=""):
        super().__init__(why, message, fault)
        # What a message repeats of a request may be no text.
        self.why, self.message = why, message.encode("utf-8", "backslashreplace").decode()
        self.fault = fault

    def __str__(self):
        return self.message
