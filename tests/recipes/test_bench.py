"""The benchmark's rows and ratios, on sizes so small that they say nothing of speed."""

import json

import pytest

from recipes._core import bench, cli


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lsm"], "Expected patterns of cells, received 'lsm'. There are: clockwork_rnn,"),
        (["lstm", "xyz*"], "received 'xyz*'"),
        (["--rounds=1"], "Expected --rounds of at least 2, received 1."),
        (["--rounds=x"], "expected a positive integer, received 'x'"),
        (["--size=1,2,3"], "expected four positive integers B,T,D,U, received '1,2,3'"),
        (["--size=1,2,3,0"], "received '1,2,3,0'"),
        (["--json=nowhere/a.json"], "Expected --json in a folder that exists, received nowhere/a.json."),
        (["--phase=walk"], "invalid choice: 'walk'"),
    ],
)
def test_what_it_cannot_measure(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_each_peer_is_measured_where_it_has_the_cell(monkeypatch):
    monkeypatch.setattr(bench, "installed_peers", lambda: list(bench.PEERS))
    ours = ["archs", "keras.layers.RNN"]
    assert bench.implementations("lstm", "train") == [*ours, "keras.layers", "torch", "flax"]
    assert bench.implementations("mgu", "inference") == [*ours, "torchrecurrent"]
    assert bench.implementations("slstm", "train") == ours
    assert bench.implementations("gru", "step") == ["archs", "torch", "flax", "onnxruntime"]
    monkeypatch.setattr(bench, "installed_peers", list)
    assert bench.implementations("lstm", "train") == [*ours, "keras.layers"]


@pytest.mark.slow
def test_rows_and_ratios(tmp_path, capsys):
    path = tmp_path / "figures.json"
    options = ["--size=2,3,4,5", "--rounds=2", "--phase=train", "--phase=step", f"--json={path}"]
    assert cli.main(["bench", "lstm", "peephole_lstm", *options]) == 0
    printed = capsys.readouterr().out
    assert "training step, batch 2, time 3, features 4, units 5" in printed
    assert "streaming step, batch 1, time 1, features 4, units 5" in printed
    figures = json.loads(path.read_text())
    assert {"machine", "threads", "dtype", "tensorflow", "device"} <= figures.keys()
    rows = {(row["implementation"], row["cell"], row["phase"]): row for row in figures["rows"]}
    assert not [row["error"] for row in rows.values() if "error" in row]
    assert all(f"{bench.TITLES[name](cell)} " in printed for name, cell, _ in rows)
    for cell in ("lstm", "peephole_lstm"):
        ours, plain = rows["archs", cell, "train"], rows["keras.layers.RNN", cell, "train"]
        assert ours["to_plain"] == pytest.approx(ours["ms"] / plain["ms"])
        assert ours["ms"] == min(ours["modes_ms"].values())
        assert ours["modes_ms"].keys() == {"xla", "graph"}
        assert ours["quartiles_ms"][0] <= ours["quartiles_ms"][1]
        assert ours["to_floor"] == pytest.approx(ours["ms"] / ours["floor_ms"])
        assert ours["memory_mib"] > 0
        assert ours["gated"]
    ours = rows["archs", "lstm", "train"]
    assert ours["to_lstm_per_operation"] == pytest.approx(1)
    if "torch" in bench.installed_peers():
        assert ours["to_torch"] == pytest.approx(ours["ms"] / rows["torch", "lstm", "train"]["ms"])
    if "onnxruntime" in bench.installed_peers():
        assert rows["onnxruntime", "lstm", "step"]["ms"] > 0


@pytest.mark.slow
def test_graph_does_not_grow_with_the_sequence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "GROWTH", (2, 3, 4, 5))
    monkeypatch.setattr(bench, "DOUBLINGS", {"time": 2, "batch": 0, "units": 1})
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

    monkeypatch.setattr(bench, "installed_peers", list)
    options = cli.parser().parse_args(["bench", "gru", "--rounds=2", "--no-memory"])
    run = bench.Run(options)
    monkeypatch.setattr(run, "worker", lambda library: Broken())
    ours, plain, keras = run.measure("gru", (1, 2, 3, 4), "train")
    assert (ours["ms"], ours["to_plain"], ours["to_floor"]) == (2.0, None, pytest.approx(1 / 3))
    assert plain["error"] == "ValueError: no"
    assert "ValueError: no" in bench._line(plain)
    assert keras["ms"] == 2.0
