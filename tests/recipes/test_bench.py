"""The benchmark's rows and ratios, on sizes so small that they say nothing of speed."""

import json

import pytest

from recipes._core.bench import exports, growth, layers, peers, server, session
from recipes._core.command import cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lsm"], "Expected patterns of cells, received 'lsm'. There are: attention_decoder,"),
        (["lstm", "xyz*"], "received 'xyz*'"),
        (["--rounds=1"], "Expected --rounds of at least 2, received 1."),
        (["--rounds=x"], "expected a positive integer, received 'x'"),
        (["--size=1,2,3"], "expected four positive integers B,T,D,U, received '1,2,3'"),
        (["--size=1,2,3,0"], "received '1,2,3,0'"),
        (["--json=nowhere/a.json"], "Expected a file for --json in a folder that exists, received nowhere/a.json."),
        (["--json=/"], "Expected a file for --json in a folder that exists, received /."),
        (["--json=/proc/a.json"], "Expected a folder that can be written to, received /proc "),
        (["--fit", "xyz*"], "received 'xyz*'"),
        (["--phase=walk"], "invalid choice: 'walk'"),
    ],
)
def test_what_it_cannot_measure(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_each_peer_is_measured_where_it_has_the_cell(monkeypatch):
    monkeypatch.setattr(peers, "installed", lambda: list(peers.PEERS))
    ours = ["archs", "keras.layers.RNN"]
    assert peers.implementations("lstm", "train") == [*ours, "keras.layers", "torch", "flax"]
    assert peers.implementations("mgu", "inference") == [*ours, "torchrecurrent"]
    assert peers.implementations("slstm", "train") == ours
    assert peers.implementations("gru", "step") == ["archs", "torch", "flax", "onnxruntime"]
    monkeypatch.setattr(peers, "installed", list)
    assert peers.implementations("lstm", "train") == [*ours, "keras.layers"]


def figures(tmp_path, *arguments):
    """The text that a run writes, and its rows by implementation."""
    path = tmp_path / "figures.json"
    assert cli.main(["bench", *arguments, "--rounds=2", f"--json={path}"]) == 0
    written = json.loads(path.read_text())
    assert {"machine", "threads", "dtype", "tensorflow", "device"} <= written.keys()
    assert not [row["error"] for row in written["rows"] if "error" in row]
    return {row["implementation"]: row for row in written["rows"]}


@pytest.mark.slow
def test_rows_and_ratios(tmp_path, capsys):
    rows = figures(tmp_path, "mgu", "--size=2,3,4,5", "--phase=train")
    printed = capsys.readouterr().out
    assert "training step, batch 2, time 3, features 4, units 5" in printed
    assert all(f"{peers.TITLES[name]('mgu')} " in printed for name in rows)
    ours, plain = rows["archs"], rows["keras.layers.RNN"]
    assert ours["to_plain"] == pytest.approx(ours["ms"] / plain["ms"])
    assert plain["to_plain"] == 1
    assert ours["ms"] == min(ours["modes_ms"].values())
    assert ours["modes_ms"].keys() == {"XLA", "graph"}
    assert ours["quartiles_ms"][0] <= ours["quartiles_ms"][1]
    assert ours["to_floor"] == pytest.approx(ours["ms"] / ours["floor_ms"])
    per_operation = [row["to_lstm_per_operation"] / row["ms"] for row in (ours, plain)]
    assert per_operation[0] == pytest.approx(per_operation[1])
    assert ours["memory_mib"] >= 0
    assert ours["gated"]


@pytest.mark.slow
def test_streaming_steps(tmp_path, capsys):
    rows = figures(tmp_path, "lstm", "--size=2,3,4,5", "--phase=step")
    assert "streaming step, batch 1, time 1, features 4, units 5" in capsys.readouterr().out
    assert rows.keys() == set(peers.implementations("lstm", "step"))
    if "torch" in rows:
        assert rows["archs"]["to_torch"] == pytest.approx(rows["archs"]["ms"] / rows["torch"]["ms"])


@pytest.mark.slow
def test_steps_of_fit(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert cli.main(["bench", "--fit", "--size=2,3,4,5", "--rounds=2", f"--json={path}"]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert not [row["error"] for row in rows if "error" in row]
    kinds = [(row["size"][1], row["lengths"], row["varying"]) for row in rows]
    assert list(dict.fromkeys(kinds)) == [(3, False, False), (3, True, False), (60, False, False), (3, False, True)]
    ours = [row for row in rows if row["implementation"] == "archs"]
    assert [row["mode"] for row in ours] == ["default", "XLA", "default", "default", "XLA", "default"]
    fixed, varying = ours[3], ours[-1]
    assert varying["to_fixed"] == pytest.approx(fixed["ms"] / varying["ms"])
    keras = next(row for row in rows if row["implementation"] == "keras.layers")
    assert ours[0]["to_keras"] == pytest.approx(ours[0]["ms"] / keras["ms"])
    assert "a step of fit, batch 2, time 20 to 100, features 4, units 5" in capsys.readouterr().out


@pytest.mark.slow
def test_exports(tmp_path, capsys):
    path = tmp_path / "figures.json"
    assert cli.main(["bench", "--exports", "gru", "--size=1,6,4,5", "--rounds=2", f"--json={path}"]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert not [row["error"] for row in rows if "error" in row]
    asked = {phase: [row for row in rows if row["phase"] == phase] for phase in exports.PHASES}
    assert [row["implementation"] for row in asked["logits"]] == list(exports.RUNTIMES)
    assert [row["implementation"] for row in asked["text"]] == ["SavedModel", "torch"]
    ms = {row["implementation"]: row["ms"] for row in asked["step"]}
    for row in asked["step"]:
        assert row["to_onnx"] == pytest.approx(row["ms"] / ms["ONNX Runtime"])
    assert "one streaming step, gru, batch 1, time 6, features 4, units 5" in capsys.readouterr().out


def test_the_server_to_compare_with_is_there():
    assert server.KSERVE.is_file()


@pytest.mark.slow
def test_a_cell_that_cannot_be_exported_is_rows_of_its_error(tmp_path):
    path = tmp_path / "figures.json"
    assert cli.main(["bench", "--exports", "attention_decoder", "--size=1,6,4,5", "--rounds=2", f"--json={path}"]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert {row["implementation"] for row in rows} == {name for name, (_, form, _) in exports.RUNTIMES.items() if form}
    assert all("Expected a `cell` that reads no memory" in row["error"] for row in rows)


@pytest.mark.slow
def test_graph_does_not_grow_with_the_sequence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(growth, "GROWTH", (2, 3, 4, 5))
    monkeypatch.setattr(growth, "DOUBLINGS", {"time": 2, "batch": 0, "units": 1})
    path = tmp_path / "figures.json"
    assert cli.main(["bench", "gru", "--growth", "--rounds=2", f"--json={path}"]) == 0
    printed = capsys.readouterr().out
    assert "training step of gru, XLA, as time grows" in printed
    rows = json.loads(path.read_text())["rows"]
    assert [row["size"] for row in rows] == [
        *([2, 3, 4, 5], [2, 6, 4, 5], [2, 12, 4, 5]),
        [2, 3, 4, 5],
        *([2, 3, 4, 5], [2, 3, 4, 10]),
    ]
    assert len({row["graph_nodes"] for row in rows if row["axis"] == "time"}) == 1


def test_a_subject_that_fails_is_a_row_of_its_own(monkeypatch):
    class Broken:
        def ask(self, do, **request):
            if request.get("subject", {}).get("implementation") == "keras.layers.RNN":
                return {"error": "ValueError: no"}
            return {"open": {"compile_s": 1.0, "weights": 6, "gated": True, "graph_nodes": 1}, "run": {"ms": 2.0}}.get(
                do, {}
            )

    monkeypatch.setattr(peers, "installed", list)
    options = cli.parser().parse_args(["bench", "gru", "--rounds=2", "--no-memory"])
    run = session.Session(options)
    monkeypatch.setattr(run, "worker", lambda library: Broken())
    ours, plain, keras = layers.measure(run, "gru", (1, 2, 3, 4), "train")
    assert (ours["ms"], ours["to_plain"], ours["to_floor"]) == (2.0, None, pytest.approx(1 / 3))
    assert plain["error"] == "ValueError: no"
    assert "ValueError: no" in layers.line(plain)
    assert keras["ms"] == 2.0
