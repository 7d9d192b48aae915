"""Data of one's own: a file or a TFDS dataset, an architecture and a task, from the command line."""

import csv
import importlib
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import archs
from recipes._core import own, page, task as task_module
from recipes._core.command import cli
from recipes._core.data import batching

WORDS = {"pos": ["good", "fine", "lovely"], "neg": ["bad", "dull", "poor"]}


def run(capsys, *arguments):
    capsys.readouterr()
    status = cli.main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture
def reviews(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    rows = [["text", "label"]]
    for number in range(400):
        label = ("pos", "neg")[number % 2]
        words = list(draw.choice(["the", "a", "film", "plot"], 6)) + list(draw.choice(WORDS[label], 2))
        rows.append([" ".join(draw.permutation(words)), label])
    return write(tmp_path / "reviews.csv", rows)


SMALL = ["--units=8", "--epochs=4", "--learning_rate=0.03", "--features=8"]


@pytest.mark.slow
def test_texts_of_a_csv_file_are_trained_exported_and_asked(reviews, capsys):
    name = "bidirectional_lstm_reviews"
    command = ["train", "bidirectional_lstm", "--task=text_classification", "--data=reviews.csv", *SMALL]
    status, out, error = run(capsys, *command, "--export")
    assert (status, error) == (0, "")
    assert "Dataset:    the file reviews.csv, 320 to train, 40 to validate, 40 to test" in out
    assert out.count("Prediction: ") == 1
    card = json.loads((reviews.parent / f"saved_models/{name}/1/card.json").read_text())
    assert card["metrics"]["test_accuracy"] > 0.9
    assert card["labels"] == ["neg", "pos"]
    assert card["config"]["task"] == "text_classification"
    reviews.rename(reviews.with_name("away.csv"))
    status, out, _ = run(capsys, "predict", name, "a lovely plot", "the dull film")
    assert status == 0
    assert [line.split(": ")[1].split()[0] for line in out.splitlines()[1:]] == ["pos", "neg"]
    assert run(capsys, "export", name)[0] == 0
    assert run(capsys, "promote", next((reviews.parent / "runs" / name).iterdir()))[0] == 0
    status, _, error = run(capsys, "evaluate", name)
    assert (status, error) == (
        2,
        "error: Expected a CSV or JSON-lines file, received reviews.csv (No such file or directory).\n",
    )
    reviews.with_name("away.csv").rename(reviews)
    status, out, _ = run(capsys, "evaluate", name, "--saved-model")
    assert status == 0
    assert f"test accuracy        {card['metrics']['test_accuracy']:.4f}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lstm", "--task=text_classification"], "Expected the name of an architecture, received 'lstm'"),
        (["bidirectional_lstm", "--task=texts"], "Expected the name of a task, received 'texts'."),
        (["bidirectional_lstm", "--task=text_classification"], "Expected --data=FILE or --dataset=NAME of TFDS"),
        (["generative_lstm", "--task=text_classification", "--data=reviews.csv"], "with the argument `vocabulary`"),
        (["bidirectional_lstm", "--task=text_classification", "--data=none.csv"], "received none.csv (No such file"),
        (
            ["bidirectional_lstm", "--task=text_classification", "--data=reviews.csv", "--text=review"],
            "Expected a column 'review' in reviews.csv. There are: label, text.",
        ),
        (
            ["bidirectional_lstm", "--task=text_classification", "--data=reviews.csv", "--test=2"],
            "Expected test to be a share above 0 and below 100 %, or data, received '2'.",
        ),
        (
            ["bidirectional_lstm", "--task=text_classification", "--data=reviews.csv", "--unit=2"],
            "Expected a setting of this recipe, received '--unit=2'. Did you mean units",
        ),
    ],
)
def test_what_it_says_when_it_cannot(arguments, message, reviews, capsys):
    status, _, error = run(capsys, "train", *arguments)
    assert status == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not list(reviews.parent.glob("runs/*/*"))


def test_every_task_for_data_of_ones_own_builds_with_an_architecture_before_the_data_are_there():
    fitting = {"sequence_to_sequence": "encoder_decoder_lstm", "language_modelling": "generative_lstm"}
    assert {"text_classification"} <= own.tasks().keys()
    for name in own.tasks():
        architecture = fitting.get(name, "stacked_lstm")
        assert architecture in archs.list_archs()
        recipe = own.recipe(architecture, [f"--task={name}", "--data=a.csv", "--units=4"])
        config = recipe.Config()
        assert recipe.build_model(config, recipe.Task(config)).count_params() > 0


def test_the_data_of_a_file_are_called_by_its_name(reviews):
    recipe = own.recipe("bidirectional_lstm", ["--task=text_classification", f"--data={reviews}"])
    splits = recipe.load(recipe.Config(data=str(reviews)), None)
    assert batching.described(splits.facts) == "the file reviews.csv"


def test_two_tasks_of_one_name_are_told(monkeypatch):
    module = importlib.import_module("recipes.tasks.language_modelling")
    again = type("Again", (module.CharacterModelling,), {})
    monkeypatch.setattr(module, "Again", again, raising=False)
    with pytest.raises(ValueError, match="received 'language_modelling' of CharacterModelling and Again"):
        own.tasks()
    again.name = "again"
    assert own.tasks()["again"] is again


def sensors(draw):
    """Rows of two sensors, some for each recording, whose first one rises or falls."""
    rows = [["recording", "x", "y", "label"]]
    for recording in range(60):
        label = ("up", "down")[recording % 2]
        x = draw.normal() + np.arange(draw.integers(4, 9)) * (1 if label == "up" else -1)
        rows += [[recording, value, draw.normal(), label] for value in x]
    return rows


def sentences(draw):
    """Sentences of words, each with its label."""
    kinds = {"the": "D", "a": "D", "dog": "N", "cat": "N", "sees": "V", "likes": "V"}
    rows = [["text", "labels"]]
    for _ in range(60):
        words = draw.choice(list(kinds), draw.integers(2, 6))
        rows.append([" ".join(words), " ".join(kinds[word] for word in words)])
    return rows


def series(draw):
    """A wave and a second column."""
    time = np.arange(300)
    return [["value", "other"], *zip(np.sin(time / 5) - 1, draw.normal(size=300), strict=True)]


def pairs(draw):
    """Texts, and the same words in capital letters."""
    rows = [["source", "target"]]
    for _ in range(60):
        text = " ".join(draw.choice(["one", "two", "three"], draw.integers(1, 4)))
        rows.append([text, text.upper()])
    return rows


def texts(draw):
    """Texts to go on with."""
    return [["text"], *([" ".join(draw.choice(["ab", "ba"], 30))] for _ in range(20))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "architecture", "make", "options", "request_"),
    [
        ("sequence_classification", "vanilla_lstm", sensors, ["--sequence=recording"], "1,2\n2,3\n"),
        ("tagging", "bidirectional_lstm", sentences, ["--features=8"], "the cat likes"),
        ("forecasting", "stacked_lstm", series, ["--horizon=3", "--window=20", "--target=value"], "1 2\n0 1\n"),
        ("sequence_to_sequence", "encoder_decoder_lstm", pairs, ["--features=8"], "two one"),
        ("language_modelling", "generative_lstm", texts, ["--features=8", "--batch_size=4"], "ab b"),
    ],
)
def test_each_task_takes_a_csv_file(task, architecture, make, options, request_, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own.csv", make(np.random.default_rng(0)))
    small = ["--units=8", "--epochs=1"]
    command = ["train", architecture, f"--task={task}", "--data=own.csv", *options, *small, "--export"]
    status, out, error = run(capsys, *command)
    assert (status, error) == (0, ""), error
    assert "SavedModel: " in out
    if "\n" in request_:
        (tmp_path / "request.txt").write_text(request_)
        request_ = "request.txt"
    status, out, error = run(capsys, "predict", f"{architecture}_own", request_, "test:0")
    assert (status, error) == (0, ""), error
    assert len(out.splitlines()) >= 3


TEXTS = "text,label\n" + 20 * "a good film,pos\na bad film,neg\n"
ROWS = "id,x,label\n" + "".join(f"{number},{number}.5,{'ab'[number % 2]}\n" for number in range(40))
TAGS = "text,labels\n" + 20 * "the cat,D N\n"
SERIES = "x\n" + "".join(f"{number}\n" for number in range(200))
PAIRS = "source,target\n" + 20 * "one,ONE\n"
OF_TASK = {  # architecture, options, and a file that is whole
    "text_classification": ("bidirectional_lstm", [], TEXTS),
    "sequence_classification": ("vanilla_lstm", ["--sequence=id"], ROWS),
    "tagging": ("bidirectional_lstm", [], TAGS),
    "forecasting": ("stacked_lstm", [], SERIES),
    "sequence_to_sequence": ("encoder_decoder_lstm", [], PAIRS),
    "language_modelling": ("generative_lstm", [], "text\n" + 20 * "abc\n"),
}


@pytest.mark.parametrize(
    ("task", "damage", "message"),
    [
        (
            "text_classification",
            lambda text: text.replace("label", "stars"),
            "a column 'label' in own.csv. There are: stars, text.",
        ),
        (
            "sequence_to_sequence",
            lambda text: text.replace("target", "tarket"),
            "a column 'target' in own.csv. Did you ",
        ),
        ("language_modelling", lambda text: text.replace("text", "texts"), "a column 'text' in own.csv. Did you mean "),
        ("text_classification", lambda text: "", "a header and rows in own.csv, received an empty file."),
        ("forecasting", lambda text: "x\n", "rows in own.csv, received none."),
        (
            "text_classification",
            lambda text: text.replace("neg", "pos"),
            "two labels or more in column 'label' of own.csv, received 'pos' only.",
        ),
        (
            "sequence_classification",
            lambda text: text.replace(",b", ",a"),
            "two labels or more in column 'label' of own.csv, received 'a' only.",
        ),
        (
            "tagging",
            lambda text: text.replace("D N", "N N"),
            "two labels or more in column 'labels' of own.csv, received 'N' only.",
        ),
        (
            "text_classification",
            lambda text: f"{text}sch\N{LATIN SMALL LETTER O WITH DIAERESIS}n,pos\n".encode("latin-1"),
            "UTF-8 in own.csv, line 42, received the byte 0xf6.",
        ),
        ("forecasting", lambda text: text.encode("utf-16"), "UTF-8 in own.csv, line 1, received the byte 0xff."),
        (
            "text_classification",
            lambda text: f"{text}a good film\n",
            "2 fields in own.csv, line 42, one for each column of the header, received 1.",
        ),
        (
            "sequence_classification",
            lambda text: text.replace("3.5", "3.5,4"),
            "3 fields in own.csv, line 5, one for each column of the header, received 4.",
        ),
        (
            "tagging",
            lambda text: f"{text}the cat,D\n",
            "a label for each of 2 words in own.csv, line 22, column 'labels', received 1.",
        ),
        (
            "sequence_classification",
            lambda text: text.replace("3.5", "NaN", 1),
            "a finite number in own.csv, line 5, column 'x', received 'NaN'.",
        ),
        (
            "sequence_classification",
            lambda text: text.replace("3.5", "3e300", 1),
            "a number up to 3.4e+38 in own.csv, line 5, column 'x', received '3e300'.",
        ),
        (
            "forecasting",
            lambda text: text.replace("\n3\n", "\n\n-inf\n"),
            "a finite number in own.csv, line 6, column 'x', received '-inf'.",
        ),
        (
            "text_classification",
            lambda text: f"{text}{1_000_001 * 'x'},pos\n",
            "at most 1000000 characters in own.csv, line 42, column 'text', received 1000001.",
        ),
        (
            "sequence_to_sequence",
            lambda text: f"{text}{101 * 'a '},b\n",
            "at most 100 words in own.csv, line 22, column 'source', received 101.",
        ),
        (
            "text_classification",
            lambda text: text.replace("text,label", "text,text"),
            "different columns in own.csv, line 1, received 'text' twice.",
        ),
        (
            "sequence_classification",
            lambda text: text.replace("3.5", "much", 1),
            "a finite number in own.csv, line 5, column 'x', received 'much'.",
        ),
        (
            "sequence_classification",
            lambda text: text.replace(",x,", ",label,").replace(",label\n", ",id\n"),
            "different columns in own.csv, line 1, received 'id' twice.",
        ),
        (
            "sequence_classification",
            lambda text: re.sub(r",(x|\d+\.5),", ",", text),
            "columns of numbers beside label, id in own.csv, received none.",
        ),
        (
            "text_classification",
            lambda text: (text, "text,label\na film,pos\na film,good\n"),
            "a label of the training part in test.csv, line 3, column 'label', received 'good'. There are: neg, pos.",
        ),
        (
            "sequence_classification",
            lambda text: (text, "id,x,label\n1,2,c\n"),
            "a label of the training part in test.csv, line 2, column 'label', received 'c'. There are: a, b.",
        ),
        ("text_classification", lambda text: f"{text}\0,pos\n", "a text in own.csv, line 42, column 'text', received "),
        ("forecasting", lambda text: "x\n" + 30 * "1\n", "51 time steps or more for the training, received 24."),
    ],
)
def test_a_damaged_file_is_told_in_one_line_and_leaves_no_run(task, damage, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    architecture, options, whole = OF_TASK[task]
    content = damage(whole)
    content, test = content if isinstance(content, tuple) else (content, None)
    assert content != whole or test
    (tmp_path / "own.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    if test:
        (tmp_path / "test.csv").write_text(test)
        options = [*options, "--test=test.csv"]
    status, _, error = run(capsys, "train", architecture, f"--task={task}", "--data=own.csv", *options)
    assert status == 2
    assert len(error.splitlines()) == 1
    assert error.startswith("error: ")
    assert f"Expected {message}" in error
    assert not list(tmp_path.glob("runs/*/*"))


def test_vectors_of_different_sizes_are_told_with_their_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = [{"x": [[1, 2]] * 3, "label": "a"}, {"x": [[1, 2, 3]], "label": "b"}] * 20
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    status, _, error = run(capsys, "train", "vanilla_lstm", "--task=sequence_classification", "--data=own.jsonl")
    assert status == 2
    assert "numbers for each time step in own.jsonl, line " in error
    assert ", column 'x', received " in error
    assert len(error.splitlines()) == 1


def test_a_sequence_with_two_labels_is_told_with_its_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = sensors(np.random.default_rng(0))
    rows[2][3] = "down"
    write(tmp_path / "own.csv", rows)
    command = ["train", "vanilla_lstm", "--task=sequence_classification", "--data=own.csv", "--sequence=recording"]
    status, _, error = run(capsys, *command)
    place = "own.csv, line 3, column 'label'"
    assert (status, error) == (
        2,
        f"error: Expected one label for all rows of recording '0', 'up', in {place}, received 'down'.\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(own.tasks()))
def test_a_new_page_trains_as_it_is(task, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "new", "my_recipe", f"--task={task}")[0] == 0
    text = (tmp_path / "my_recipe.py").read_text()
    assert len(text.splitlines()) < 60
    ruff = pathlib.Path(sys.executable).with_name("ruff")
    config = pathlib.Path(own.__file__).parents[2] / "pyproject.toml"
    subprocess.run([ruff, "check", f"--config={config}", "my_recipe.py"], check=True)
    status, _, error = run(capsys, "train", "./my_recipe.py", "--epochs=1", "--units=8")
    assert (status, error) == (0, "")
    (folder,) = (tmp_path / "runs/my_recipe").iterdir()
    if task == "tagging":
        assert run(capsys, "promote", folder)[0] == 0
        assert run(capsys, "predict", "./my_recipe.py", "the cat")[0] == 0
    status, _, error = run(capsys, "new", "my_recipe", f"--task={task}")
    assert (status, error) == (2, "error: Expected the name of a page that is not there yet, received my_recipe.py.\n")


def test_a_page_may_build_on_the_settings_of_its_task(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.py").write_text(SHORT)
    status, out, _ = run(capsys, "show", "./short.py")
    assert status == 0
    assert "    epochs: int = 1  # one will do\n" in out
    assert "    word_dropout = 0.1\n" in out
    assert out.count("monitor: ") == out.count("dataset: ") == 1
    recipe = page.recipe("./short.py")
    assert (recipe.Config().epochs, recipe.Config(longest=3).longest) == (1, 3)
    with pytest.raises(ValueError, match="longest"):
        recipe.Config(longest=0)


SHORT = '''
"""Short."""

import archs
from recipes._core import own
from recipes._core.settings import settings
from recipes.tasks.text_classification import TextClassification as Task


@settings
class Config(own.settings_of(Task)):
    dataset: str = "short"
    epochs: int = 1  # one will do


def load(config, data_dir):
    """Nothing."""


def build_model(config, task):
    return archs.bidirectional_lstm(units=[config.units], **task.model_arguments())
'''


def test_a_new_page_reads_a_file(reviews, capsys):
    command = ["new", "films", "--task=text_classification", "--data=reviews.csv", "--architecture=stacked_lstm"]
    assert run(capsys, *command)[0] == 0
    recipe = page.recipe("./films.py")
    splits = recipe.load(recipe.Config(), None)
    assert (task_module.count(splits.train), splits.labels) == (320, ["neg", "pos"])
    assert recipe.build_model(recipe.Config(), recipe.Task(recipe.Config())).name == "stacked_lstm"


def test_a_new_page_of_an_architecture_of_one_layer(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "new", "mine", "--task=sequence_classification", "--architecture=ntm")[0] == 0
    recipe = page.recipe("./mine.py")
    assert recipe.build_model(recipe.Config(), recipe.Task(recipe.Config())).name == "ntm"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x y", "--task=tagging"], "Expected a name of letters, digits and _, received 'x y'."),
        (["x", "--task=taging"], "Expected the name of a task, received 'taging'."),
        (["x", "--task=tagging", "--architecture=lstm"], "Expected the name of an architecture, received 'lstm'."),
        (["x", "--task=tagging", "--data=a", "--dataset=b"], "Expected --data or --dataset, received both."),
    ],
)
def test_a_new_page_that_cannot_be(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, _, error = run(capsys, "new", *arguments)
    assert status == 2
    assert message in error
    assert not list(tmp_path.iterdir())
