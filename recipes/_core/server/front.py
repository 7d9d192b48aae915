"""The front between the protocols and the replicas: checks, a bounded queue, joined requests, figures."""

import asyncio
import collections
import contextlib
import dataclasses
import sys
import time
import traceback

import prometheus_client as prometheus

from recipes._core.export import artifact, joining
from recipes._core.server.refusal import Refused, Why

MOST = 1000  # rows of one request


class Front:
    """Answers requests with what `answer` says.

    Args:
        models: `Models`.
        answer: async function of name, number, signature and a list of requests, as `Replica.answer`.
        slots: batches of one signature that are computed at a time.
        queue: requests that may wait or be computed at a time; further ones are refused.
        seconds: that a request may take.
    """

    def __init__(self, models, answer, *, slots=2, queue=256, seconds=60.0):
        self.models = models
        self._answer = answer
        self._slots, self.queue, self.seconds = slots, queue, seconds
        self._lanes = collections.defaultdict(_Lane)
        self._asked, self._tasks = 0, set()
        self.is_stopping = False
        self.figures = Figures()

    @contextlib.contextmanager
    def place(self):
        """A place in the queue, to be held from before a request is read until it is answered.

        Raises:
            Refused: there is none.
        """
        if self.is_stopping:
            raise Refused(Why.UNAVAILABLE, "the server is stopping")
        if self._asked >= self.queue:
            raise Refused(Why.BUSY, f"expected fewer than {self.queue} requests at a time; try again later")
        self._asked += 1
        self.figures.queue.set(self._asked)
        try:
            yield
        finally:
            self._asked -= 1
            self.figures.queue.set(self._asked)

    async def predict(self, name, number, signature, inputs, log):
        """The answer to a request: the `Version` that gave it, the signature's name, and a dict of name to array.

        Args:
            name, number: of the model and its version; None: the newest.
            signature: name, or "" for the default one.
            inputs: function from a signature, as `artifact.signatures` has it, to a dict of name to array.
            log: `Logged`, which is told who answers.

        Raises:
            Refused: it is not answered.
        """
        version = self.models.find(name, number)
        signature, described = version.signature(signature)
        log.model, log.signature = name, signature
        inputs = inputs(described)
        check(described, inputs)
        call = _Call(inputs, joining.key(described, inputs), asyncio.get_running_loop().create_future())
        lane = name, version.number, signature
        self._lanes[lane].waiting.append(call)
        self._start(lane)
        try:
            answer = await asyncio.wait_for(call.answer, self.seconds)
        except TimeoutError:
            raise Refused(Why.UNAVAILABLE, f"no answer within {self.seconds:g} seconds") from None
        finally:
            if call in self._lanes[lane].waiting:  # given up
                self._lanes[lane].waiting.remove(call)
            self._start(lane)
        if isinstance(answer, Refused):
            raise answer
        return version, signature, answer

    def _start(self, key):
        lane = self._lanes[key]
        while lane.waiting and lane.running < self._slots:
            batch = lane.next_batch()
            if batch:
                lane.running += 1
                task = asyncio.create_task(self._run(key, batch))
                self._tasks.add(task)  # the loop itself does not hold it
                task.add_done_callback(self._tasks.discard)
        if not lane.waiting and not lane.running:
            del self._lanes[key]

    async def _run(self, key, batch):
        self.figures.batch_rows.observe(sum(joining.rows(call.inputs) for call in batch))
        try:
            answers = await self._answer(*key, [call.inputs for call in batch])
            if len(answers) != len(batch):
                raise ValueError(f"{len(answers)} answers to {len(batch)} requests")
        except Refused as refused:
            answers = [refused] * len(batch)
        except Exception as error:  # the callers must hear of it, whatever it is
            fault = "".join(traceback.format_exception(error))
            answers = [Refused(Why.FAILED, f"{type(error).__name__}: {error}"[:1000], fault)] * len(batch)
        for fault in {answer.fault for answer in answers if isinstance(answer, Refused) and answer.fault}:
            print(fault, file=sys.stderr, flush=True)
        for call, answer in zip(batch, answers, strict=True):
            if not call.answer.done():  # somebody may have given up
                call.answer.set_result(answer)
        self._lanes[key].running -= 1
        self._start(key)

    async def stop(self):
        """Refuses what comes from now on, and returns when nobody waits for an answer any more."""
        self.is_stopping = True
        while self._asked:
            await asyncio.sleep(0.01)


@dataclasses.dataclass(eq=False)
class _Call:
    inputs: dict
    key: tuple | None
    answer: asyncio.Future


@dataclasses.dataclass
class _Lane:
    """Requests for one signature of one version."""

    waiting: collections.deque = dataclasses.field(default_factory=collections.deque)
    running: int = 0

    def next_batch(self):
        """The first that waits, and those behind it that can be answered with it."""
        first, others, batch, rows = self.waiting.popleft(), [], [], 0
        for call in (first, *self.waiting):
            if call.answer.done():
                continue
            fits = rows + joining.rows(call.inputs) <= joining.MOST_ROWS
            if not batch or (fits and call.key is not None and call.key == batch[0].key):
                batch.append(call)
                rows += joining.rows(call.inputs)
            else:
                others.append(call)
        self.waiting = collections.deque(others)
        return batch


def check(signature, inputs):
    """Refuses inputs whose names, dtypes or shapes are not those of a signature, and too many rows."""
    check_names(signature, inputs)
    for name, array in inputs.items():
        dtype = "string" if array.dtype.kind in "OSU" else array.dtype.name
        check_form(name, signature["inputs"][name], dtype, array.shape)


def check_names(signature, inputs):
    """Refuses inputs whose names are not those of a signature."""
    specs = signature["inputs"]
    if inputs.keys() != specs.keys():
        raise Refused(Why.INVALID, f"expected the inputs {_names(specs)}, received {_names(inputs) or 'none'}")


def check_form(name, spec, dtype, shape):
    """Refuses a dtype or a shape that a signature does not take, and too many rows."""
    sizes = spec["shape"]
    is_right = sizes is None or (
        len(sizes) == len(shape) and all(size in (None, had) for size, had in zip(sizes, shape, strict=True))
    )
    if dtype != spec["dtype"] or not is_right:
        expected, received = (
            f"{kind} of shape {artifact.shape(of)}" for kind, of in ((spec["dtype"], sizes), (dtype, shape))
        )
        raise Refused(Why.INVALID, f"{name}: expected {expected}, received {received}")
    if sizes and sizes[0] is None and shape[0] > MOST:
        raise Refused(Why.INVALID, f"{name}: expected at most {MOST} rows, received {shape[0]}")


def _names(names):
    return ", ".join(sorted(names))


class Figures:
    """Figures that Prometheus collects."""

    def __init__(self):
        self.registry = prometheus.CollectorRegistry()
        labels = ["model", "signature", "protocol"]
        self.requests = prometheus.Counter(
            "recipes_requests", "Requests that were answered or refused.", [*labels, "status"], registry=self.registry
        )
        self.seconds = prometheus.Histogram(
            "recipes_request_seconds",
            "From the arrival of a request to its answer.",
            labels,
            registry=self.registry,
            buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
        )
        self.queue = prometheus.Gauge(
            "recipes_queued_requests", "Requests that wait or are computed.", registry=self.registry
        )
        self.batch_rows = prometheus.Histogram(
            "recipes_batch_rows",
            "Rows of a batch.",
            registry=self.registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 256, 1000),
        )

    def text(self):
        return prometheus.generate_latest(self.registry)


@dataclasses.dataclass
class Logged:
    """A request, for the log and the figures: `with Logged(...) as log: ...; log.status = ...`.

    `model` and `signature` are those that exist: names that clients make up would fill the memory.
    """

    front: Front
    protocol: str
    what: str
    model: str = "-"
    signature: str = "-"
    status: object = 500

    def __enter__(self):
        self._began = time.perf_counter()
        return self

    def __exit__(self, kind, *_):
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self.status = "cancelled"
        seconds = time.perf_counter() - self._began
        labels = [self.model, self.signature, self.protocol]
        self.front.figures.requests.labels(*labels, str(self.status)).inc()
        self.front.figures.seconds.labels(*labels).observe(seconds)
        now = time.strftime("%Y-%m-%dT%H:%M:%S")
        print(f"{now} {self.protocol} {self.what} {self.status} {1000 * seconds:.1f} ms", flush=True)
