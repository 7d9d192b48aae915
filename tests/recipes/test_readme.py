"""Blocks of the READMEs run as they stand."""

import json
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib

import pytest

from archs import __main__ as catalog
from recipes._core import page, settings as settings_
from recipes._core.command import cli

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ("README.md", "archs/README.md", "recipes/README.md", "saved_models/README.md")


def blocks(language):
    """(page, code) of every block of a language in the READMEs, but for clients of a server."""
    return [
        pytest.param(code, id=f"{page}-{number}")
        for page in PAGES
        for number, code in enumerate(re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
        if code not in CLIENTS
    ]


# They run against a server in server/test_serve.py.
CLIENTS = re.findall(r"```python\n((?:(?!```).)*?127\.0\.0\.1:850.*?)```", (ROOT / PAGES[-1]).read_text(), re.DOTALL)


def test_the_versions_of_python_are_those_of_the_package():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    low, high = map(int, re.search(r"Python 3\.(\d+) to 3\.(\d+)\.", text).groups())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">=3.{low},<3.{high + 1}"


def test_nothing_is_left_out():
    assert len(blocks("python")) == 16
    assert len(CLIENTS) == 2
    assert len(blocks("sh")) == 7


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_python_blocks_run(code, in_trained, tmp_path, monkeypatch, capsys):
    if "recipes.train(" in code:
        monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    expected = re.search(r"print\(.*\)  # (.+)", code)
    assert expected is None or expected[1] in capsys.readouterr().out.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("sh"))
def test_shell_blocks_run(code, in_trained, data_dir, tmp_path, monkeypatch, capsys):
    if " recipes new " in code:
        monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    for line in code.replace("&&\n", "").splitlines():
        words = shlex.split(line)
        if words[:2] == ["python3", "-m"] or words[:1] == ["-m"]:
            # The two commands that set everything up are run by .ci/run, to the letter.
            assert words[:5] == ["python3", "-m", "venv", "--without-pip", ".venv"]
        elif words[1:3] == ["-m", "recipes"]:
            assert words[3] == "train" or cli.main(words[3:]) == 0
        elif words[1:3] != ["-m", "pytest"]:
            tool = pathlib.Path(sys.executable).with_name(pathlib.Path(words[0]).name)
            run = subprocess.run([tool, *words[1:]], capture_output=True, text=True, check=True)
            if words[1] == "show":
                assert "inputs['rows']" in run.stdout
                assert "outputs['label']" in run.stdout
            else:
                assert "does not contain the default denylisted ops" in run.stdout


def test_inline_commands_parse():
    assert "`python -m archs`" in (ROOT / "archs/README.md").read_text()
    assert catalog.main([]) == 0
    text = (ROOT / "recipes/README.md").read_text()
    (settings,) = re.findall(r"`train vanilla_lstm_mnist (--units.+?)`", text)
    assert settings_.parse(page.recipe("vanilla_lstm_mnist").Config, settings.split()).dataset == "fashion_mnist"


def test_a_process_without_the_project_predicts(in_trained, tmp_path):
    page = (ROOT / "saved_models/README.md").read_text()
    code, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    code = code.replace("saved_models/", f"{in_trained}/saved_models/")
    check = "\nimport sys\nassert not [m for m in sys.modules if m.split('.')[0] in ('archs', 'recipes')]\n"
    command = [sys.executable, "-I", "-c", code + check]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    card = json.loads((in_trained / "saved_models/vanilla_lstm_mnist/1/card.json").read_text())
    assert f"b'{card['sample']['serving_default']['answer']['label'][0]}'" in run.stdout
