"""Requests joined, bounded and given up; replicas that die; new versions."""

import asyncio
import contextlib
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from recipes._core.export import artifact, joining, layout
from recipes._core.server import models, replica
from recipes._core.server.front import Logged
from recipes._core.server.refusal import Refused, Why
from tests.recipes.server.small import in_loop, request, write


async def predict(front, inputs, name="small", number=None, signature=""):
    with Logged(front, "test", "") as log, front.place():
        return await front.predict(name, number, signature, lambda _: inputs, log)


def ask_together(front, answer, requests, signature=""):
    """The answers to requests that wait while one before them is computed."""

    async def calls():
        answer.gate = asyncio.Event()
        calls = [asyncio.create_task(predict(front, one, signature=signature)) for one in requests]
        await asyncio.sleep(0.05)
        answer.gate.set()
        return await asyncio.gather(*calls, return_exceptions=True)

    return in_loop(calls())


def test_waiting_requests_are_joined_and_answered_as_if_alone(make_front, counting):
    times = [5, 4, 6, 7, 4, 5, 20, 1]
    requests = [request(time, rows=1 + time % 2, seed=seed) for seed, time in enumerate(times)]
    answers = ask_together(make_front(slots=1), counting, requests)
    assert counting.batches == [1, 5, 1, 1]  # 20 and 1 are not of the others' size
    for one, (version, signature, answer) in zip(requests, answers, strict=True):
        assert (version.number, signature) == (2, "serving_default")
        np.testing.assert_allclose(answer["sum"], 3 * one["inputs"].sum(axis=1), rtol=1e-5)
        assert answer["label"].tolist() == [str(length).encode() for length in one["lengths"]]


def test_one_that_is_refused_spoils_no_other(make_front, counting):
    bad = request(4)
    bad["inputs"][0, 0, 0] = np.nan
    answers = ask_together(make_front(slots=1), counting, [request(4), request(4), bad, request(5)])
    assert counting.batches == [1, 3]
    assert isinstance(answers[2], Refused)
    assert "finite" in answers[2].message
    assert all(answer[2]["sum"].shape == (1, 2) for i, answer in enumerate(answers) if i != 2)


def test_padding_makes_no_wrong_length_right(make_front, counting):
    long = {"inputs": request(4)["inputs"], "lengths": np.array([5], np.int32)}
    answers = ask_together(make_front(slots=1), counting, [request(6), request(6), long])
    assert counting.batches == [1, 1, 1]
    assert "no more than there are time steps" in answers[2].message


def test_answers_with_a_time_axis_keep_their_own(make_front, counting):
    requests = [request(time) for time in (3, 4, 5, 4, 3)]
    answers = ask_together(make_front(slots=1), counting, requests, "steps")
    assert sorted(counting.batches) == [1, 1, 1, 2]
    for one, (_, _, answer) in zip(requests, answers, strict=True):
        np.testing.assert_allclose(answer["steps"], 3 * one["inputs"], rtol=1e-6)


def test_what_can_be_joined():
    spec = {"dtype": "float32", "shape": [None, 3]}
    text, number = {"dtype": "string", "shape": [None]}, {"dtype": "int32", "shape": [None]}
    signature = {
        "inputs": {"text": text, "beam": number},
        "outputs": {"texts": {"dtype": "string", "shape": [None, None]}},
        "joinable": True,
    }
    inputs = {"text": np.array([b"a"], object), "beam": np.array([4], np.int32)}
    assert joining.key(signature, inputs) is None
    fixed = signature | {"outputs": {"x": spec}}
    assert joining.key(fixed, inputs) == joining.key(fixed, inputs | {"beam": np.array([9], np.int32)})
    for limit, is_joined in ((8, False), (7, True), (5, True), (3, False)):
        more = {name: inputs | {"max_length": np.array([n], np.int32)} for name, n in (("a", 7), ("b", limit))}
        assert (joining.key(fixed, more["a"]) == joining.key(fixed, more["b"])) == is_joined
    # Rows that are not one another's.
    assert joining.key(fixed, inputs | {"beam": np.array([4, 4], np.int32)}) is None
    sequences = {"dtype": "int32", "shape": [None, None]}
    both = {name: np.zeros((2, 3), np.int32) for name in ("words", "letters")}
    assert joining.key(fixed | {"inputs": dict.fromkeys(both, sequences)}, both) is None
    numbers = fixed | {"inputs": {"a": number, "x": spec}, "outputs": {"y": {"dtype": "float32", "shape": [None] * 2}}}
    one = {"a": np.array([4, 4], np.int32), "x": np.zeros((2, 3), np.float32)}
    same, other = ({"a": np.array([a], np.int32), "x": np.zeros((1, 3), np.float32)} for a in (4, 5))
    assert joining.key(numbers, one) == joining.key(numbers, same) != joining.key(numbers, other)


def test_rows_of_a_batch_are_limited(make_front, counting):
    ask_together(make_front(slots=1), counting, [request(3, rows=30) for _ in range(5)])
    assert counting.batches == [1, 2, 2]


def test_the_queue_is_bounded(make_front, counting):
    front = make_front(slots=1, queue=3)
    answers = ask_together(front, counting, [request(3)] * 5)
    refused = [answer for answer in answers if isinstance(answer, Refused)]
    assert [one.why for one in refused] == [Why.BUSY] * 2
    assert len(ask_together(front, counting, [request(3)] * 3)) == 3


def test_who_waits_too_long_is_told_and_forgotten(make_front, counting):
    front = make_front(slots=1, seconds=0.2)

    async def calls():
        counting.gate = asyncio.Event()
        calls = [asyncio.create_task(predict(front, request(3))) for _ in range(3)]
        with pytest.raises(Refused, match=r"no answer within 0\.2 seconds") as caught:
            await calls[2]
        counting.gate.set()
        await asyncio.wait(calls)
        *_, answer = await predict(front, request(3))
        assert answer["sum"].shape == (1, 2)
        return caught.value.why

    assert in_loop(calls()) is Why.UNAVAILABLE
    assert counting.batches == [1, 1]


def test_who_gave_up_leaves_nothing_behind(make_front, counting):
    front = make_front(slots=1, seconds=0.1)

    async def calls():
        counting.gate = asyncio.Event()
        await asyncio.gather(*[predict(front, request(3)) for _ in range(5)], return_exceptions=True)
        (lane,) = front._lanes.values()
        assert len(lane.waiting) == 0
        counting.gate.set()
        await asyncio.sleep(0.05)
        assert front._lanes == {}

    in_loop(calls())


def test_a_wrong_number_of_answers_is_told_and_blocks_nothing(make_front):
    front = make_front(slots=1)

    async def none(*_):
        return []

    front._answer = none
    for _ in range(3):
        with pytest.raises(Refused, match="0 answers to 1 requests"):
            in_loop(predict(front, request(3)))


def test_who_stops_answers_first(make_front, counting):
    front = make_front(slots=1)

    async def calls():
        counting.gate = asyncio.Event()
        calls = [asyncio.create_task(predict(front, request(3))) for _ in range(4)]
        await asyncio.sleep(0.05)
        stop = asyncio.create_task(front.stop())
        await asyncio.sleep(0.05)
        with pytest.raises(Refused, match="is stopping"):
            await predict(front, request(3))
        assert not stop.done()
        counting.gate.set()
        await stop
        return [call.done() for call in calls], await asyncio.gather(*calls)

    done, answers = in_loop(calls())
    assert done == [True] * 4
    assert len(answers) == 4


def test_a_fault_of_ours_is_told_and_not_waited_for(make_front, capsys):
    front = make_front()

    async def broken(*_):
        raise RuntimeError("oh")

    front._answer = broken
    with pytest.raises(Refused, match="RuntimeError: oh") as caught:
        in_loop(predict(front, request(3)))
    assert caught.value.why is Why.FAILED
    assert capsys.readouterr().err.count("RuntimeError: oh") == 1
    front._answer = lambda *_: asyncio.sleep(0, [Refused(Why.FAILED, "no", "Traceback of a replica")])
    with pytest.raises(Refused, match="no"):
        in_loop(predict(front, request(3)))
    assert "Traceback of a replica" in capsys.readouterr().err


def test_a_fault_of_a_replica_comes_with_its_traceback(counting, monkeypatch):
    monkeypatch.setattr(replica.artifact, "call", lambda *_: 1 / 0)
    (refused,) = counting.replica.answer("small", 2, "serving_default", [request(2)])
    there = pickle.loads(pickle.dumps(refused))  # as between processes
    assert (there.why, there.message) == (Why.FAILED, "division by zero")
    assert "ZeroDivisionError" in there.fault


def test_an_empty_text_is_told_where_a_model_only_fails_of_it(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="review")])
    def serving_default(review):
        codes = tf.strings.unicode_decode(review, "UTF-8").to_tensor()
        return {"first": codes[:, 0] + tf.zeros(tf.shape(review), tf.int32)}

    artifact.write(tmp_path / "a/1", {"serving_default": serving_default})
    one = replica.Replica(tmp_path)
    for texts in ([b""], [b"", b""]):
        (refused,) = one.answer("a", 1, "serving_default", [{"review": np.array(texts, object)}])
        assert (refused.why, refused.message) == (Why.INVALID, "review: expected text, received an empty one")
    (answer,) = one.answer("a", 1, "serving_default", [{"review": np.array([b"ab"], object)}])
    assert answer["first"].tolist() == [ord("a")]


# --- versions


def test_versions_come_and_go(tmp_path):
    write(tmp_path, "a", 1, 2.0)
    served = models.Models(tmp_path)
    assert served.changes() == [("a", 1)]
    with pytest.raises(Refused, match="none: no model is served"):
        served.find("a")  # not before it is loaded
    served.switch("a", 1)
    assert served.changes() == []
    write(tmp_path, "a", 5, 3.0)
    write(tmp_path, "b", 1, 3.0)
    assert served.changes() == [("a", 5), ("b", 1)]
    assert served.find("a").number == 1
    served.switch("a", 5)
    assert served.find("a").number == 5
    assert served.find("a", 1).number == 1
    (tmp_path / "a/5").rename(tmp_path / "a/.gone")
    assert served.changes() == [("a", 1), ("b", 1)]
    named = models.Models(tmp_path, ["b"])
    assert named.changes() == [("b", 1)]


def test_a_replica_holds_the_newest_version_and_another(tmp_path):
    for number in range(1, 5):
        write(tmp_path, "a", number, float(number))
    one = replica.Replica(tmp_path)
    assert set(one._loaded["a"]) == {4}
    for number, held in ((1, {1, 4}), (2, {2, 4}), (4, {2, 4}), (3, {3, 4})):
        (answer,) = one.answer("a", number, "serving_default", [request(2)])
        np.testing.assert_allclose(answer["sum"], number * request(2)["inputs"].sum(axis=1), rtol=1e-5)
        assert set(one._loaded["a"]) == held


def test_what_is_written_in_the_place_of_a_version_answers(tmp_path):
    write(tmp_path, "a", 1, 2.0)
    served, one = models.Models(tmp_path), replica.Replica(tmp_path)
    served.switch(*served.changes()[0])
    shutil.rmtree(tmp_path / "a/1")
    one.answer("a", 1, "serving_default", [request(2)])  # it is still held
    assert served.changes() == []
    write(tmp_path, "a", 1, 3.0)
    assert served.changes() == [("a", 1)]
    assert one.prepare("a", 1) is None
    (answer,) = one.answer("a", 1, "serving_default", [request(2)])
    np.testing.assert_allclose(answer["sum"], 3 * request(2)["inputs"].sum(axis=1), rtol=1e-5)


def test_states_of_versions(tmp_path):
    for number in (1, 2):
        write(tmp_path, "a", number, 2.0)
    served = models.Models(tmp_path)
    served.changes()
    served.switch("a", 1)
    assert served.states("a") == [(2, "LOADING", ""), (1, "AVAILABLE", "")]
    served.refuse("a", 2, "broken")
    assert served.states("a") == [(2, "END", "broken"), (1, "AVAILABLE", "")]
    other = models.Models(tmp_path)
    assert other.changes() == [("a", 2)]
    other.refuse("a", 2, "broken")
    assert other.changes() == [("a", 1)]  # rather than none
    assert served.changes() == []
    (tmp_path / "a/2/notes").write_text("")
    assert served.changes() == served.changes() == []  # no server reads them
    (tmp_path / "a/2/assets.extra/more").write_text("")
    assert served.changes() == []  # it is being written on
    assert served.changes() == [("a", 2)]


def test_zeros_before_a_version_are_none(tmp_path):
    write(tmp_path, "a", 1, 2.0).rename(tmp_path / "a/00000123")
    write(tmp_path, "a", 7, 3.0)
    for name in ("0" * 400 + "5", str(2**63), "12x", "-3", "1.5", "\u0661"):
        with contextlib.suppress(OSError):  # a name may be too long
            (tmp_path / "a" / name).mkdir()
    (tmp_path / "a/200").write_text("")
    assert layout.versions(tmp_path / "a") == {7: tmp_path / "a/7", 123: tmp_path / "a/00000123"}
    served, one = models.Models(tmp_path), replica.Replica(tmp_path)
    assert served.changes() == [("a", 123)]
    served.switch("a", 123)
    assert (served.find("a").number, served.find("a", 7).number) == (123, 7)
    (answer,) = one.answer("a", 123, "serving_default", [request(2)])
    np.testing.assert_allclose(answer["sum"], 2 * request(2)["inputs"].sum(axis=1), rtol=1e-5)
    (tmp_path / "a/123").mkdir()  # which TensorFlow Serving takes, too
    assert layout.versions(tmp_path / "a")[123] == tmp_path / "a/123"


def test_a_version_with_a_dtype_that_is_not_known_cannot_be_read(tmp_path):
    for number in (1, 2):
        path = write(tmp_path, "a", number, 2.0)
    served = models.Models(tmp_path)
    served.switch(*served.changes()[0])
    saved = saved_model_pb2.SavedModel.FromString((path.with_name("1") / "saved_model.pb").read_bytes())
    saved.meta_graphs[0].signature_def["steps"].outputs["steps"].dtype = 99
    (path.with_name("1") / "saved_model.pb").write_bytes(saved.SerializeToString())
    served.changes()
    with pytest.raises(Refused, match=r"version 1 of a cannot be read \(TypeError\)"):
        served.find("a", 1)
    assert served.find("a").number == 2


def test_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "a[b]*? {c}#%20"
    path = write(folder, "a[1]", 1, 2.0)
    assert models.Version.read(path).signatures["steps"]["joinable"]
    (answer,) = replica.Replica(folder).answer("a[1]", 1, "serving_default", [request(2)])
    np.testing.assert_allclose(answer["sum"], 2 * request(2)["inputs"].sum(axis=1), rtol=1e-5)


def test_an_empty_newest_folder_is_passed_over(tmp_path):
    write(tmp_path, "a", 1, 2.0)
    (tmp_path / "a/2").mkdir()
    served, one = models.Models(tmp_path), replica.Replica(tmp_path)
    assert served.changes() == [("a", 2)]
    assert "a/2" in one.prepare("a", 2)
    served.refuse("a", 2, "there is none")
    assert served.changes() == [("a", 1)]
    assert one.prepare("a", 1) is None
    served.switch("a", 1)
    write(tmp_path, "b", 1, 3.0).rename(tmp_path / "a/.new")
    (tmp_path / "a/2").rmdir()
    (tmp_path / "a/.new").rename(tmp_path / "a/2")  # later, it is filled
    assert served.changes() == []
    assert served.changes() == [("a", 2)]


@pytest.mark.parametrize("kept", [False, True])
def test_variables_replaced_in_place_are_loaded(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(replica, "_LOOK", 0)
    old, new = write(tmp_path, "a", 1, 2.0), write(tmp_path / "elsewhere", "a", 1, 5.0)
    served, one = models.Models(tmp_path), replica.Replica(tmp_path)
    served.switch(*served.changes()[0])

    def factor():
        (answer,) = one.answer("a", 1, "serving_default", [request(2)])
        return round(float(answer["sum"][0, 0] / request(2)["inputs"].sum(axis=1)[0, 0]), 3)

    assert factor() == 2
    for file in (new / "variables").iterdir():
        target = old / "variables" / file.name
        if kept:  # times and sizes as they were
            times = target.stat()
            shutil.copyfile(file, old / "new")
            os.utime(old / "new", ns=(times.st_atime_ns, times.st_mtime_ns))
            (old / "new").rename(target)
        else:
            shutil.copyfile(file, target)
    assert factor() == 2  # it may still be written on
    assert factor() == 5
    assert served.changes() == []
    assert served.changes() == [("a", 1)]
    assert one.prepare("a", 1) is None
    served.switch("a", 1)
    assert served.changes() == []


def test_what_replaces_a_version_and_does_not_load_leaves_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(replica, "_LOOK", 0)
    path, loads = write(tmp_path, "a", 1, 2.0), []
    one, load = replica.Replica(tmp_path), artifact.load
    monkeypatch.setattr(artifact, "load", lambda path: loads.append(path) or load(path))
    (path / "saved_model.pb").write_bytes(b"no model")
    for _ in range(5):
        (answer,) = one.answer("a", 1, "serving_default", [request(2)])
        np.testing.assert_allclose(answer["sum"], 2 * request(2)["inputs"].sum(axis=1), rtol=1e-5)
    assert len(loads) == 1
    assert one.prepare("a", 1)


def test_a_damaged_file_beside_a_model_is_named(tmp_path, capsys):
    path = write(tmp_path, "a", 1, 2.0)
    (path / "card.json").write_text((path / "card.json").read_text()[:-9])
    assert models.Version.read(path).card == {}
    assert f"{path}/card.json: expected JSON" in capsys.readouterr().out
    warm_up = path / artifact.WARM_UP
    whole = warm_up.read_bytes()
    artifact.write_requests(warm_up, "a", {"shout": {"text": np.array([""])}})
    for content, message in (
        (whole[:-9], "Expected requests in .*tf_serving_warmup_requests, received a damaged file"),
        (b"", None),
        (b"no requests at all", "Expected requests in .*tf_serving_warmup_requests"),
        (warm_up.read_bytes(), "a request for 'shout' in .*tf_serving_warmup_requests: text: expected one"),
    ):
        warm_up.write_bytes(content)
        wrong = replica.Replica(tmp_path, ["nobody"]).prepare("a", 1)
        assert wrong is None if message is None else re.search(message, wrong)
    (path / "saved_model.pb").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"received a damaged saved_model\.pb"):
        models.Version.read(path)


def test_a_version_that_does_not_load_is_told(tmp_path, capsys):
    path = write(tmp_path, "a", 1, 2.0)
    data = path / "variables/variables.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1])
    one = replica.Replica(tmp_path)
    assert one.prepare("a", 1)
    (refused,) = one.answer("a", 1, "serving_default", [request(2)])
    assert refused.why is Why.NOT_FOUND
    assert "version 1 of a does not load" in refused.message
