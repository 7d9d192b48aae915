"""`python -m recipes report` and `keep`, over runs that are written here."""

import ast
import html.parser
import json
import pathlib
import re
import time

import pytest
from PIL import Image

from recipes._core import page as pages
from recipes._core.command import cli
from recipes._core.report import report as report_module
from recipes._core.report.runs import Recipe, mean_and_range

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "vanilla_lstm_mnist"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(folder, accuracy=0.5, recipe=NAME, seconds=33.0, **settings):
    """Writes the folder of a finished run, with two pictures of 240 x 120 pixels in it."""
    folder = pathlib.Path("runs") / recipe / folder
    folder.mkdir(parents=True)
    defaults = Recipe.of(NAME, ast.parse(pages.text(NAME))).defaults
    card = {
        "recipe": recipe,
        "metrics": {"test_accuracy": accuracy, "logistic_regression": 0.910, "majority_class": 0.1},
        "config": defaults | settings,
        "precision": "float32",
        "dataset": {"name": "mnist_5k", "version": "1.0.0", "sha256": "0a1b"},
        "parameters": 81674,
        "training": {"device": "CPU, 2 cores", "seconds": seconds},
        "versions": {"python": "3.11.2"},
        "commit": "0123456789abcdef+",
        "sample": {"serving_default": {"request": {}, "answer": {}}},
        "saved_model": f"saved_models/{recipe}/1",
    }
    (folder / "config.json").write_text(json.dumps({"config": card["config"], "precision": "float32"}))
    (folder / "card.json").write_text(json.dumps(card))
    for name in ("answers", "curves"):
        Image.new("RGB", (240, 120)).save(folder / f"{name}.png")
    return folder


class Page(html.parser.HTMLParser):
    """A page, read: its tags with attributes, its text, what was open at the end, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.rows, self.text = [], [], [], ""
        self.feed(text)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"{tag} closes what is not open"

    def handle_data(self, data):
        self.text += f" {data}"
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *starts):
        """The words of the cells of the one row whose cells begin with these."""
        rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        (found,) = (row for row in rows if tuple(row[: len(starts)]) == starts)
        return found


def report(capsys, *arguments):
    assert cli.main(["report", *arguments]) == 0
    return Page(pathlib.Path("report.html").read_text(encoding="utf-8")), *capsys.readouterr()


def test_runs_that_differ_in_the_cell_stand_side_by_side(capsys):
    for seed, accuracy in enumerate((0.972, 0.976, 0.979)):
        run(f"20260101-12000{seed}", accuracy, seed=seed, seconds=30.0 + 3 * seed)
    run("20260102-120000", 0.9812, cell="gru")
    run("20260103-120000", 0.4, units=32, cell="gru")
    started = time.monotonic()
    page, out, error = report(capsys)
    assert time.monotonic() - started < 2
    size = pathlib.Path("report.html").stat().st_size
    assert out == f"report.html ({size / 1e6:.1f} MB), 5 runs of 1 recipe\n"
    assert error == ""
    assert page.open == []
    first_column = [" ".join(row[0].split()) for row in page.rows]
    assert first_column[-6:] == ["cell", "default settings", "lstm", "gru", "units=32", "gru"]
    facts = ["81,674", "33", "CPU, 2 cores", "2026-01-01", "0123456+"]
    assert page.row("lstm") == ["lstm", "", "97.6 % 97.2 to 97.9 %", "0, 1, 2", *facts]
    assert page.row(NAME) == [NAME, "mnist_5k", "test accuracy 97.6 % 97.2 to 97.9 %", "", "0.6 CPU, 2 cores", "5"]
    newest = [page.text.index(f"2026-01-0{day} 12:00 {accuracy} % ") for day, accuracy in ((3, "40.0"), (2, "98.1"))]
    assert newest == sorted(newest)
    is_open = ["open" in attributes for name, attributes in page.tags if name == "details"]
    assert is_open == [False, True, *[False] * (len(is_open) - 2)]  # after the recipe's page
    pictures = [attributes["alt"] for name, attributes in page.tags if name == "img"]
    assert pictures[:3] == ["Curves: gru, seed 0", "Answers: gru, seed 0", "Curves: gru, seed 0"]
    assert len(pictures) == 10


def test_the_figure_puts_a_mark_at_each_mean_and_an_arrow_at_what_is_far_off(capsys):
    run("20260101-120000", 0.95, seed=0)
    run("20260101-120001", 0.97, seed=1)
    report(capsys)
    text = pathlib.Path("report.html").read_text(encoding="utf-8")
    (figure,) = re.findall(r"<div class=strips>.*?</div></div>", text)
    # From 91 to 97 %, so that the ticks stand at 90, 92, ..., 98 %.
    expected = {at: 100 * (at - 90) / 8 for at in (91, 95, 96, 97)}
    ours, regression, majority = re.findall(r'<svg x="([\d.]+)%" y="50%"><path class=mark d="(\S+)', figure)
    assert float(ours[0]) == pytest.approx(expected[96], abs=0.01)
    assert float(regression[0]) == pytest.approx(expected[91], abs=0.01)
    assert majority == ("0.00", "M9-6")  # from its tip at the end of the scale inwards
    ends = re.findall(r'<line class=range x1="([\d.]+)%" x2="([\d.]+)%"', figure)
    assert [float(end) for end in ends[0]] == pytest.approx([expected[95], expected[97]], abs=0.01)


def test_nothing_is_drawn_beyond_a_scale_and_what_lies_there_has_an_arrow():
    axis = report_module._Axis([0.2, 0.95, 0.97])
    assert (axis.ticks[0], axis.ticks[-1]) == (axis.low, axis.high) == pytest.approx((0.2, 1.0))
    for values, arrows, dots in (
        ([0.1, 0.9, 0.96], ["M9-6"], 2),
        ([0.1, 0.1], ["M9-6"], 0),
        ([0.5, 2.0], ["M-9-6-1"], 1),
        ([0.2, 1.0], [], 2),
        ([0.0, 0.6, 3.0], ["M9-6", "M-9-6-1"], 1),
        ([], [], 0),
    ):
        drawn = axis.strip("beside", values)
        places = [float(place) for place in re.findall(r'(?:x|x1|x2|cx)="(.*?)%"', drawn)]
        assert 0 <= min(places) <= max(places) <= 100
        assert re.findall(r'd="(M-?9\S+)', drawn) == arrows
        assert drawn.count("<circle class=seed") == dots


def test_published_figures_of_the_data_stand_beside_ours(capsys, monkeypatch):
    source = pages.text(NAME)
    published = "PUBLISHED = {'mnist': {'A & B 1999': 0.985, 'C 2001': 0.9912}}"
    monkeypatch.setattr(pages, "text", lambda name: f"{source}\n{published}\n")
    run("20260101-120000", 0.97, dataset="mnist")
    run("20260101-130000", 0.95)
    page, *_ = report(capsys, NAME)
    assert page.row(NAME, "mnist")[3] == "98.5 % A & B 1999 to 99.12 % C 2001"
    assert page.row(NAME, "mnist_5k")[3] == ""
    assert "published A & B 1999 98.5 % C 2001 99.12 %" in page.text


def test_a_page_is_whole_and_shows_text_as_text(capsys):
    evil = "<script>alert('1')</script> & \"$about\" \ud800"
    folder = run("20260101-120000", cell=evil, dataset=evil)
    (folder / "sample.txt").write_text("<b>not bold</b>")
    (folder / "<i>.png").write_bytes((folder / "curves.png").read_bytes())
    run(NAME, recipe="<u>")
    page, *_ = report(capsys)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "b", "i", "u", "link", "iframe"}
    assert {"h1", "h2", "h3", "main", "details"} <= names
    assert page.text.count("<script>alert('1')</script> & \"$about\"") > 3
    assert "<b>not bold</b>" in page.text
    pictures = [attributes for name, attributes in page.tags if name == "img"]
    assert len(pictures) == 5
    assert all(picture["src"].startswith("data:image/png;base64,") and picture["alt"] for picture in pictures)
    assert {(picture["width"], picture["height"]) for picture in pictures} == {("180", "90")}
    links = {attributes.get("href", attributes.get("src", "")) for _, attributes in page.tags}
    assert all(link.startswith(("#", "data:")) for link in links if link)
    assert "url(" not in pathlib.Path("report.html").read_text(encoding="utf-8")


def test_broken_cards_are_named_and_unfinished_runs_counted(capsys):
    run("20260101-120000", 0.9)
    for number, card in enumerate(
        ["{", "[]", "{}", '{"metrics": {}}', '{"metrics": {"loss": 1}, "config": {}}', "\xff"]
    ):
        (run(f"20260102-12000{number}") / "card.json").write_bytes(card.encode("latin-1"))
    (run("20260103-120000") / "card.json").unlink()
    page, out, error = report(capsys)
    assert "1 run of 1 recipe, 1 more unfinished" in out
    assert "1 more unfinished" in page.text
    assert [line.split()[1] for line in error.splitlines()] == [
        f"runs/{NAME}/20260102-12000{number}/card.json" for number in range(6)
    ]


def test_figures_that_are_not_finite_are_shown(capsys):
    run("20260101-120000", float("nan"))
    run("20260101-130000", float("inf"), cell="gru")
    page, *_ = report(capsys)
    assert page.row("lstm")[2] == "nan %"
    assert page.row("gru")[2] == "inf %"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report"], "Expected a finished run in runs, found none. To get one: python -m recipes train RECIPE"),
        (["report", NAME, "--runs=here"], f"Expected a finished run of {NAME} in here, found none. "),
        (["report", "vanilla"], "Expected the name of a recipe, received 'vanilla'"),
        (["report", "--markdown", "--cards=x"], "Expected the card of a kept run in x, found none. To get one: "),
        (["report", "--cell=gru"], "Expected no further arguments, received --cell=gru"),
        (["keep", "runs"], "Expected the folder runs/<recipe>/<time> of a finished run, received runs"),
        (["keep"], "required: run"),
    ],
)
def test_what_it_says_when_it_cannot(arguments, message, here, capsys):
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert list(here.iterdir()) == []


def test_only_unfinished_runs_are_no_report(capsys):
    (run("20260101-120000") / "card.json").unlink()
    assert cli.main(["report"]) == 2
    assert "found 1 unfinished" in capsys.readouterr().err


def test_keep_and_the_table_of_what_is_kept(capsys):
    folders = [run(f"20260101-12000{seed}", accuracy, seed=seed) for seed, accuracy in enumerate((0.972, 0.979))]
    folders.append(run("20260101-130000", 0.98, seed=1, cell="gru", learning_rate=1e-3))
    assert cli.main(["keep", *map(str, folders)]) == 0
    names = ["seed-0.json", "seed-1.json", "cell-gru-learning_rate-0.001-seed-1.json"]
    assert capsys.readouterr().out.split() == [f"saved_models/{NAME}/cards/{name}" for name in names]
    kept = json.loads(pathlib.Path(f"saved_models/{NAME}/cards/seed-1.json").read_text(encoding="utf-8"))
    card = json.loads((folders[1] / "card.json").read_text())
    assert kept == {name: fact for name, fact in card.items() if name not in ("sample", "saved_model")}
    assert cli.main(["report", "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "| recipe | data | test figure | beside it | published | parameters | minutes on two cores |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| `{NAME}` | mnist_5k | test accuracy 97.5 % (97.2 to 97.9 %, 2 seeds) "
        "| logistic regression 91.0 %, majority class 10.0 % | - | 81,674 | 0.6 |",
        f"| `{NAME}` `cell=gru` `learning_rate=0.001` | mnist_5k | test accuracy 98.0 % "
        "| logistic regression 91.0 %, majority class 10.0 % | - | 81,674 | 0.6 |",
    ]


def test_keep_writes_nothing_where_a_run_is_not_finished(here, capsys):
    folders = [run("20260101-120000"), run("20260101-120001")]
    (folders[1] / "card.json").unlink()
    assert cli.main(["keep", *map(str, folders)]) == 2
    assert f"received {folders[1]}." in capsys.readouterr().err
    assert not (here / "saved_models").exists()


def test_seeds_are_counted_also_where_their_figures_look_alike(capsys):
    folders = [run(f"20260101-12000{seed}", 0.972 + 1e-6 * seed, seed=seed) for seed in range(2)]
    assert cli.main(["keep", *map(str, folders)]) == 0
    capsys.readouterr()
    assert cli.main(["report", "--markdown"]) == 0
    assert "| test accuracy 97.2 % (2 seeds) |" in capsys.readouterr().out


def test_readme_has_the_table_of_the_kept_cards(capsys):
    assert cli.main(["report", "--markdown", f"--cards={ROOT / 'saved_models'}"]) == 0
    table, error = capsys.readouterr()
    readme = (ROOT / "recipes/README.md").read_text()
    (found,) = re.findall(r"<!-- python -m recipes report --markdown -->\n(.*?)<!-- end -->", readme, re.DOTALL)
    assert found.strip() == table.strip(), "run `python -m recipes report --markdown` and put it between the markers"
    assert error == ""


def test_kept_cards_are_named_by_what_they_hold(capsys):
    cards = sorted((ROOT / "saved_models").glob("*/cards/*.json"))
    assert cards
    for card in cards:
        folder = pathlib.Path("runs") / card.parents[1].name / card.stem
        folder.mkdir(parents=True)
        (folder / "card.json").write_bytes(card.read_bytes())
    assert cli.main(["keep", *map(str, sorted(pathlib.Path("runs").glob("*/*")))]) == 0
    kept = {pathlib.Path(line).relative_to("saved_models") for line in capsys.readouterr().out.splitlines()}
    assert kept == {card.relative_to(ROOT / "saved_models") for card in cards}


def test_the_page_of_every_recipe_can_be_read():
    for name in pages.names():
        page = Recipe.of(name, ast.parse(pages.text(name)))
        assert {"dataset", "seed"} <= page.defaults.keys()
        assert all(isinstance(x, int | float) for figures in page.published.values() for x in figures.values())


@pytest.mark.parametrize(
    ("values", "share", "texts"),
    [
        ([0.9764, 0.9716], True, ("97.4 %", "97.2 to 97.6 %")),
        ([0.97640, 0.97641], True, ("97.6 %", "")),
        ([114.52], False, ("114.5", "")),
        ([1234567.0, 0.0], False, ("617,284", "0.000 to 1,234,567")),
        ([-0.012345], False, ("-0.01235", "")),
    ],
)
def test_figures_as_text(values, share, texts):
    assert mean_and_range(values, share) == texts
