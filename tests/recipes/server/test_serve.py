"""`python -m recipes serve` itself: replicas that die and hang, versions that come, nonsense, signals."""

import collections
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from recipes._core.command import cli
from recipes._core.export import artifact, layout
from tests.recipes.server.nonsense import Nonsense
from tests.recipes.server.small import request, write
from tests.recipes.test_readme import CLIENTS

ROOT = pathlib.Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.slow


class Server:
    """A server in a process of its own, and its clients."""

    def __init__(self, folder, log, *options):
        command = [sys.executable, "-m", "recipes", "serve", f"--saved-models={folder}", "--port=0", "--grpc-port=0"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, *options], cwd=log.parent, env=environment, stdout=file, stderr=subprocess.STDOUT
            )
        self.port = int(self.wait_for(r"http://127\.0\.0\.1:(\d+)")[0])
        self.rpc_port = int(self.wait_for(r"gRPC: 127\.0\.0\.1:(\d+)")[0])
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.rpc_port}")
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def wait_for(self, pattern, count=1, seconds=120):
        """Matches of a pattern in the log, once there are so many."""
        until = time.monotonic() + seconds
        while len(found := re.findall(pattern, self.log.read_text())) < count:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)
        return found

    def replicas(self):
        text = self.log.read_text()
        gone = re.findall(r"Process (\d+) is gone", text)
        return [int(pid) for pid in re.findall(r"Process (\d+) computes", text) if pid not in gone]

    def rest(self, body, path="/v1/models/small:predict", timeout=120):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as connection:
            connection.request("POST", path, json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def rpc(self, inputs, name="small", timeout=120):
        message = predict_pb2.PredictRequest()
        message.model_spec.name = name
        for key, value in inputs.items():
            message.inputs[key].CopyFrom(tf.make_tensor_proto(value))
        response = self.stub.Predict(message, timeout=timeout)
        return response.model_spec.version.value, tf.make_ndarray(response.outputs["sum"])

    @contextlib.contextmanager
    def load(self, clients, inputs):
        """Clients that ask again as soon as they are answered; yields the list of answers and errors, which grows."""
        done, answers = threading.Event(), []

        def ask():
            while not done.is_set():
                try:
                    answers.append(self.rpc(inputs))
                except grpc.RpcError as error:
                    answers.append(error)

        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            for _ in range(clients):
                pool.submit(ask)
            try:
                yield answers
            finally:
                done.set()


@pytest.fixture(scope="module")
def served(tmp_path_factory, trained):
    """A folder of exports, one of them of a recipe, and a server over it with two replicas.

    Version n of `small` multiplies by n + 1. Which one answers depends on the tests before, and these on the worker.
    """
    folder = tmp_path_factory.mktemp("served")
    write(folder, "small", 1, 2.0)
    write_slow(folder)
    os.symlink(trained / "saved_models/vanilla_lstm_mnist", folder / "vanilla_lstm_mnist")
    server = Server(folder, tmp_path_factory.mktemp("log") / "log", "--replicas=2")
    yield folder, server
    server.channel.close()
    server.process.kill()
    server.process.wait()


INPUTS = request(7)
SUM = INPUTS["inputs"].sum(axis=1)


def test_both_protocols_answer_as_the_card_says(served):
    folder, server = served
    version, answer = server.rpc(INPUTS)
    np.testing.assert_allclose(answer, (1 + version) * SUM, rtol=1e-5)
    body = {"inputs": {name: array.tolist() for name, array in INPUTS.items()}}
    status, answer = server.rest(body)
    assert status == 200
    np.testing.assert_allclose(answer["outputs"]["sum"], (1 + version) * SUM, rtol=1e-5)
    sample = json.loads((folder / "vanilla_lstm_mnist/1/card.json").read_text())["sample"]
    for signature, both in sample.items():
        body = {"signature_name": signature, "inputs": both["request"]}
        status, answer = server.rest(body, "/v1/models/vanilla_lstm_mnist:predict")
        assert status == 200
        answer = answer["outputs"] if len(both["answer"]) > 1 else {"logits": answer["outputs"]}
        for name, expected in both["answer"].items():
            if name != "label":
                np.testing.assert_allclose(answer[name], expected, atol=1e-5)


@pytest.mark.parametrize("code", CLIENTS)
def test_the_clients_that_the_page_shows_run(served, trained, code, monkeypatch, capsys):
    folder, server = served
    monkeypatch.chdir(trained)
    exec(compile(code.replace("8501", str(server.port)).replace("8500", str(server.rpc_port)), "client", "exec"), {})
    card = json.loads((folder / "vanilla_lstm_mnist/1/card.json").read_text())
    assert card["sample"]["serving_default"]["answer"]["label"][0] in capsys.readouterr().out


def test_only_this_machine_is_listened_to(served):
    _, server = served
    links = [os.readlink(path) for path in pathlib.Path(f"/proc/{server.process.pid}/fd").iterdir()]
    own = {link[8:-1] for link in links if link.startswith("socket:[")}
    ports = {}
    for family, loopback in (("tcp", "0100007F"), ("tcp6", "0000000000000000FFFF00000100007F")):
        for line in (
            pathlib.Path(f"/proc/{server.process.pid}/net/{family}").read_text(encoding="utf-8").splitlines()[1:]
        ):
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in own:
                address, port = local.split(":")
                assert address == loopback, line
                ports[int(port, 16)] = family
    assert {server.port, server.rpc_port} <= set(ports)


def test_a_replica_killed_under_load_loses_no_request(served):
    _, server = served
    before = server.replicas()
    assert len(before) == 2
    with server.load(16, INPUTS) as answers:
        time.sleep(5)
        os.kill(before[0], signal.SIGKILL)
        count = len(answers)
        server.wait_for(rf"Process (?!({before[0]}|{before[1]}) )\d+ computes")  # another takes its place
        time.sleep(20)
    assert len(answers) > count > 0
    failed = [answer for answer in answers if isinstance(answer, grpc.RpcError)]
    assert failed == []
    for version, answer in answers:
        assert version == answers[0][0]
        np.testing.assert_allclose(answer, (1 + version) * SUM, rtol=1e-5)
    assert set(server.replicas()) > {before[1]}


def test_a_replica_that_hangs_under_load_loses_no_request(served):
    _, server = served
    before = server.replicas()
    with server.load(16, INPUTS) as answers:
        time.sleep(2)
        os.kill(before[0], signal.SIGSTOP)
        stopped = time.monotonic()
        server.wait_for(f"Process {before[0]} hangs")
        seconds = time.monotonic() - stopped
        server.wait_for(rf"(?s)Process {before[0]} hangs.*Process \d+ computes")
        count = len(answers)
        time.sleep(2)
    assert 9 < seconds < 20  # 10, and at most 1 from ping to ping
    assert len(answers) > count > 0
    assert [answer for answer in answers if isinstance(answer, grpc.RpcError)] == []
    assert before[0] not in server.replicas()
    assert not pathlib.Path(f"/proc/{before[0]}").exists()


def test_a_new_version_under_load_fails_no_request(served):
    folder, server = served
    with server.load(16, INPUTS) as answers:
        time.sleep(2)
        write(folder, "small", 2, 3.0)
        server.wait_for("small: version 2 answers")
        time.sleep(2)
    assert [answer for answer in answers if isinstance(answer, grpc.RpcError)] == []
    counts = collections.Counter(version for version, _ in answers)
    assert set(counts) == {1, 2}
    for version, answer in answers:
        np.testing.assert_allclose(answer, (1 + version) * SUM, rtol=1e-5)
    assert server.rpc(INPUTS)[0] == 2


def test_a_version_that_does_not_load_is_passed_over(served):
    folder, server = served
    version, _ = server.rpc(INPUTS)
    broken = folder / "small/3"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    server.wait_for("small: version 3 does not load, and is passed over")
    assert server.rpc(INPUTS)[0] == version
    status, answer = server.rest(BODY, "/v1/models/small/versions/3:predict")
    assert (status, "version 3 of small cannot be read" in answer["error"]) == (404, True)
    (broken / "saved_model.pb").unlink()
    broken.rmdir()
    new = folder / "new"
    write(folder, "new", 1, 7.0)
    server.wait_for("new: version 1 answers")
    np.testing.assert_allclose(server.rpc(INPUTS, "new")[1], 7 * SUM, rtol=1e-5)
    assert new.exists()


def memory(pid):
    return (
        int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))[1]) / 1024
    )  # MiB


def test_nonsense_is_refused_and_leaves_nothing_behind(served):
    folder, server = served
    sample = json.loads((folder / "vanilla_lstm_mnist/1/card.json").read_text())["sample"]
    samples = {
        "small": {
            "serving_default": {name: array.tolist() for name, array in INPUTS.items()},
            "shout": {"text": ["a"]},
        },
        "vanilla_lstm_mnist": {name: both["request"] for name, both in sample.items()},
    }
    processes = [server.process.pid, *server.replicas()]
    statuses, wrong, sizes = collections.Counter(), [], []

    def ask(seed):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            ask_through(connection, Nonsense(samples, np.random.default_rng(seed)))

    def ask_through(connection, nonsense):
        for number in range(625):
            if number % 5 == 4:
                try:
                    statuses[server.stub.Predict(nonsense.rpc(), timeout=60) and "OK"] += 1
                except grpc.RpcError as error:
                    statuses[error.code().name] += 1
            else:
                method, path, body, headers = nonsense.rest()
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                text = response.read()
                statuses[response.status] += 1
                assert response.status == 200 or json.loads(text)["error"], (method, path, body, headers)
            if number % 10 == 0:
                version, answer = server.rpc(INPUTS)
                if not np.allclose(answer, (1 + version) * SUM, rtol=1e-5):
                    wrong.append(answer)

    for part in range(4):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(ask, range(4 * part, 4 * part + 4)))
        sizes.append(sum(map(memory, processes)))
    assert sum(statuses.values()) == 10_000
    print(statuses, sizes)
    allowed = {200, 400, 404, 405, 413, 415, 501, "OK", "INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"}
    assert set(statuses) <= allowed, (statuses, server.log.read_text()[-3000:])
    assert statuses[400] > 4000
    assert wrong == []
    assert processes[1:] == server.replicas()
    assert sizes[-1] < 1.03 * sizes[1] + 20, sizes


def test_cut_off_bodies_and_what_is_no_http(served):
    _, server = served
    head = b"POST /v1/models/small:predict HTTP/1.1\r\nHost: x\r\n"
    for message in (
        head + b"Content-Length: 100\r\n\r\n{",
        head + b"Content-Length: -1\r\n\r\n{}",
        head + b"Content-Length: x\r\n\r\n{}",
        head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET " + b"/" * 100_000 + b" HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(message)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                assert b" 500 " not in connection.recv(1000)
    assert server.rpc(INPUTS)[1].shape == SUM.shape


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_what_was_asked(served, tmp_path, number):
    _, server = served
    if server.process.poll() is not None:  # stopped by the signal before
        write_slow(tmp_path)
        server = Server(tmp_path, tmp_path / "log")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        asked = pool.submit(server.rpc, request(2), "slow"), pool.submit(server.rest, BODY, "/v1/models/slow:predict")
        time.sleep(0.5)
        server.process.send_signal(number)
        server.wait_for("Stopping")
        assert asked[0].result()[0] == 1
        assert asked[1].result()[0] == 200
    assert server.process.wait(60) == 0
    server.channel.close()
    assert "Traceback" not in server.log.read_text()
    await_end(server.replicas(), 1)


def await_end(pids, seconds):
    until = time.monotonic() + seconds
    for pid in pids:
        while pathlib.Path(f"/proc/{pid}").exists():
            assert time.monotonic() < until, "a replica lives on"
            time.sleep(0.1)


def test_replicas_end_at_once_when_the_front_is_killed(tmp_path):
    write_slow(tmp_path)
    server = Server(tmp_path, tmp_path / "log", "--replicas=2")
    pids = server.replicas()
    assert len(pids) == 2
    with concurrent.futures.ThreadPoolExecutor(2) as pool, contextlib.closing(server.channel):
        asked = [pool.submit(server.rpc, request(2), "slow") for _ in pids]
        time.sleep(0.5)
        server.process.kill()
        server.process.wait()
        for each in asked:
            assert isinstance(each.exception(), grpc.RpcError)
    await_end(pids, 5)
    assert "Traceback" not in server.log.read_text()


BODY = {"inputs": {name: array.tolist() for name, array in request(2).items()}}


def write_slow(folder):
    """A model whose answer takes about two seconds."""

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 2), tf.float32, name="inputs"),
            tf.TensorSpec((None,), tf.int32, name="lengths"),
        ]
    )
    def serving_default(inputs, lengths):
        work = tf.while_loop(lambda i, _: i < 300, lambda i, x: (i + 1, tf.tanh(x @ x)), (0, tf.ones((800, 800))))[1]
        return {"sum": tf.reduce_sum(inputs, axis=1) + 0 * work[0, 0] + 0 * tf.cast(lengths[:, None], tf.float32)}

    artifact.write(folder / ".tmp", {"serving_default": serving_default})
    (folder / "slow").mkdir()
    (folder / ".tmp").rename(folder / "slow/1")


def test_what_it_says_when_it_cannot(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def error(*arguments):
        assert cli.main(["serve", *arguments]) == 2
        return capsys.readouterr().err

    assert "Expected exported models in " in error()
    write(tmp_path, "small", 1, 2.0)
    assert "Expected exported models of another in " in error("another", f"--saved-models={tmp_path}")
    assert "argument --replicas: expected a positive integer, received '0'" in error("--replicas=0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for option in ("--port", "--grpc-port"):
            message = error(f"{option}={port}", f"--saved-models={tmp_path}")
            assert f"Expected a free port of 127.0.0.1, received {option}={port}" in message
    assert layout.on_disk(tmp_path)
