"""The benchmark of the server: its rows, at durations that say nothing of speed."""

import json
import sys

import pytest

from recipes._core.bench import server as bench
from recipes._core.command import cli
from tests.recipes.server.small import request, write


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lstm", "--serve=small"], "Expected no cells beside --serve, received lstm."),
        (["--serve=small", "--seconds=0"], "expected a positive number, received '0'"),
        (["--serve=small", "--seconds=nan"], "received 'nan'"),
        (["--serve=small", "--kserve=/no/python"], "an environment with kserve and tensorflow, received /no/python"),
        (["--serve=small", f"--kserve={sys.executable}"], "KServe does not go into this one"),
        (["--serve=small", "--json=nowhere/a.json"], "Expected a file for --json in a folder that exists"),
    ],
)
def test_what_it_cannot_measure(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_it_asks_for_the_extra(monkeypatch, capsys):
    find = bench.importlib.util.find_spec
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None if name == "starlette" else find(name))
    assert cli.main(["bench", "--serve=small"]) == 2
    assert "there is no starlette; install the extra `serve`" in capsys.readouterr().err


def test_alike():
    answer = [{"sum": [1.0, 2.0], "label": "3"}]
    assert bench.alike(answer, [{"label": "3", "sum": [1.000001, 2.0]}])
    others = [{"sum": [1.1, 2.0], "label": "3"}, {"sum": [1.0], "label": "3"}, {"sum": [1.0, 2.0], "label": "4"}]
    for other in ([], answer * 2, [{"sum": [1.0, 2.0]}], *([row] for row in others)):
        assert not bench.alike(answer, other)
    assert not bench.alike([float("nan")], [1.0])


@pytest.mark.slow
def test_all_rows_are_measured(tmp_path, capsys):
    path = write(tmp_path, "small", 3, 2.0)
    sample = {"request": {name: array.tolist() for name, array in request(4, rows=2).items()}}
    (path / "card.json").write_text(json.dumps({"sample": {"serving_default": sample}}))
    written = tmp_path / "figures.json"
    arguments = [f"--saved-models={tmp_path}", "--seconds=0.2", "--rounds=2", f"--json={written}"]
    assert cli.main(["bench", "--serve=small", *arguments]) == 0
    printed, written = capsys.readouterr().out, json.loads(written.read_text())
    assert {"machine", "cores", "tensorflow", "starlette"} <= written.keys()
    assert written["model"] == "small, version 3"
    rows = {(row["protocol"], row["clients"]): row for row in written["rows"]}
    assert rows.keys() == {("call", 1), *((kind, n) for kind in bench.PROTOCOLS for n in bench.CLIENTS)}
    for row in rows.values():
        assert len(row["rates"]) == 2
        assert row["rate"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert row["to_call"] == pytest.approx(row["rate"] / rows["call", 1]["rate"])
        assert f"{row['server']} {row['protocol']}" in printed


@pytest.mark.slow
def test_without_an_export_the_server_says_why(tmp_path, capsys):
    assert cli.main(["bench", "--serve=small", f"--saved-models={tmp_path}"]) == 2
    assert "Expected exported models of small" in capsys.readouterr().err
