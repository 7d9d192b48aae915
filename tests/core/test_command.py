"""`python -m archs`: tables, Markdown, pages."""

import pathlib
import re

import pytest

import archs
from archs import __main__ as command

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_table_lists_every_entry(capsys):
    assert command.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    first_words = [line.split(" ")[0] for line in lines]
    assert {*archs.list_cells(), *archs.list_nodes(), *archs.list_archs()} <= set(first_words)
    (lstm,) = [line for line in lines if line.startswith("lstm ")]
    assert "131,584" in lstm  # 4 * 128 * (128 + 128 + 1)
    assert "i f g o" in lstm
    assert " fused " in lstm
    loops = {
        name: [loop for loop in ("fused", "parallel scan", "autodiff") if f" {loop} " in line]
        for name, line in zip(first_words, lines, strict=True)
        if name in archs.list_cells()
    }
    assert {name for name, found in loops.items() if found == ["parallel scan"]} == {"min_gru", "min_lstm"}
    assert not [name for name, found in loops.items() if "autodiff" in found]


def test_table_takes_a_pattern(capsys):
    assert command.main(["vanilla*"]) == 0
    assert "\nlstm " not in "\n" + capsys.readouterr().out
    assert command.main(["lsm"]) == 2
    assert "Did you mean lstm" in capsys.readouterr().err


def test_readme_has_the_tables_of_the_catalog():
    readme = (ROOT / "archs/README.md").read_text()
    (tables,) = re.findall(r"<!-- python -m archs --markdown -->\n(.*?)<!-- end -->", readme, re.DOTALL)
    assert tables.strip() == command.markdown(), "run `python -m archs --markdown` and put it between the markers"


def test_markdown_of_a_pattern(capsys):
    assert command.main(["--markdown", "gru"]) == 0
    head, rule, row = capsys.readouterr().out.splitlines()
    assert head.count("|") == rule.count("|") == row.count("|") == 9
    assert "[Cho et al. 2014](https://arxiv.org/abs/1406.1078)" in row


@pytest.mark.parametrize("name", [*archs.list_cells(), *archs.list_nodes(), *archs.list_archs()])
def test_page_can_be_read_in_a_terminal(name, capsys):
    assert command.main(["show", name]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"{name}: archs.")
    assert "https://" in page.splitlines()[1]
    assert "$$" not in page
    equations = page.partition("Equations:")[2].partition("Weights")[0]
    assert not set(equations) & set("\\{}&"), equations
    if name in archs.list_cells() + archs.list_nodes():
        assert re.search(r"^    [a-z].* = .*", equations, re.MULTILINE)
        assert re.search(r"^\| \w*kernel", page, re.MULTILINE)
        assert "Departures" in page


def test_equations_of_a_page(capsys):
    command.main(["show", "gru"])
    page = capsys.readouterr().out
    assert "\n    z_t = σ(x_t W_z + h[t-1] U_z + b_z)\n" in page  # noqa: RUF001
    assert "\n    h_t = z_t * h[t-1] + (1 - z_t) * h~_t\n" in page


def test_page_of_an_unknown_name(capsys):
    assert command.main(["show", "gur"]) == 2
    assert "received 'gur'. Did you mean" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["show"], ["lstm", "gru"]])
def test_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert "expected a pattern, or `show` and a name" in capsys.readouterr().err
