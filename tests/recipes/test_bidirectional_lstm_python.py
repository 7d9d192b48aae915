"""Syntax colouring: exact labels, and a text that is answered in pieces as if it were one."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from recipes import bidirectional_lstm_python as recipe
from recipes._core.command import cli
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines, plots
from recipes._core.export import export
from recipes.datasets.python_source import python_source_dataset_builder as source

NAME = "bidirectional_lstm_python"
CODE = '''class A(B):  # one
    def id(self, int=0x1F):
        """Two
lines."""
        return self.id == int(1.5) and f"{x!r}" \\
            or not print
'''


def test_each_character_has_the_class_that_python_gives_it():
    expected = [
        ("class A(B):  # one\n", "kkkkk.donoo..ccccc."),
        ("    def id(self, int=0x1F):\n", "....kkk.ddonnnno.bbbo0000oo."),
        ('        """Two\n', "........sssssss"),
        ('lines."""\n', "sssssssss."),
        ('        return self.id == int(1.5) and f"{x!r}" \\\n', "........kkkkkk.nnnnonn.oo.bbbo000o.kkk.ssssssss..."),
        ("            or not print\n", "............kk.kkk.bbbbb."),
    ]
    assert "".join(line for line, _ in expected) == CODE
    assert source.classify(CODE) == "".join(labels for _, labels in expected)


@pytest.mark.parametrize("code", ['f"{a + 1}"', 'rf"""{\n{1}:>{w}}\n{{"""', "f'{{}} é' 'b'"])
def test_a_formatted_string_is_a_string_to_its_end_in_every_python(code):
    assert set(source.classify(code).replace(".", "")) == {"s"}


def learned(**settings):
    """A task that has learned the classes."""
    task = recipe.Task(recipe.Config(**settings))
    task.learn(batching.Splits({}, {}, {}, {}, labels=list(source.CLASSES.values())))
    return task


def small_model():
    task = learned(units=4, layers=1, features=3)
    model = recipe.build_model(task.config, task)
    return model, export.as_arrays(task.signatures(model))


def as_classes(letters):
    """The number of the class for each letter of `labels`."""
    return learned().targets({"labels": tf.constant([letters])}).flat_values.numpy()


def test_a_long_text_is_answered_in_pieces_with_their_context(monkeypatch):
    monkeypatch.setattr(recipe, "PART", 60)
    monkeypatch.setattr(recipe, "CONTEXT", 15)
    model, answer = small_model()
    text = CODE[:140]
    received = answer({"text": np.array([text])})
    assert "".join(received["character"][0]) == text
    codes = tf.constant([[ord(character) for character in text]])
    for start, end in ((0, recipe.PART), (recipe.PART, 2 * recipe.PART), (2 * recipe.PART, len(text))):
        left = max(0, start - recipe.CONTEXT)
        right = min(len(text), left + recipe.PART + 2 * recipe.CONTEXT)
        logits = model({"inputs": codes[:, left:right], "lengths": tf.constant([right - left])})
        expected = tf.nn.softmax(logits)[:, start - left : end - left]
        np.testing.assert_allclose(received["probabilities"][:, start:end], expected, atol=1e-6)
    assert set(received["label"][0]) <= set(source.CLASSES.values())


def test_an_answer_is_the_same_whatever_else_is_in_the_batch():
    _, answer = small_model()
    texts = ["x = 1\n", CODE * 8, "ä\t"]
    together = answer({"text": np.array(texts)})
    for row, text in enumerate(texts):
        alone = answer({"text": np.array([text])})
        np.testing.assert_array_equal(together["label"][row, : len(text)], alone["label"][0])
        np.testing.assert_allclose(together["probabilities"][row, : len(text)], alone["probabilities"][0], atol=1e-6)
        assert not np.any(together["probabilities"][row, len(text) :])
        assert set(together["label"][row, len(text) :]) <= {""}


def test_an_empty_text_is_refused():
    _, answer = small_model()
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected 1 or more"):
        answer({"text": np.array(["x", ""])})
    with pytest.raises(tf.errors.InvalidArgumentError, match="empty batch"):
        answer({"text": np.array([], "U")})


def test_characters_beyond_ascii_are_one_token_and_tabs_are_spaces():
    inputs = learned().preprocess(tf.constant(["a\n\t\r é中\0", "Z"]))
    assert inputs["inputs"].numpy().tolist() == [[97, 10, 32, 32, 32, 127, 127, 32], [90, *[0] * 7]]
    assert inputs["lengths"].numpy().tolist() == [8, 1]


def test_windows_carry_the_labels_of_their_characters():
    files = {"text": tf.constant([CODE, "é = 1\n"]), "labels": tf.constant([source.classify(CODE), "n.o.0."])}
    whole = source.classify(CODE) + "n.o.0."
    codes = np.minimum([ord(character) for character in CODE + "é = 1\n"], 127)
    for training in (False, True):
        batches = learned(window=20, batch_size=4, seed=3).batches(files, training)
        seen = []
        for inputs, classes in batches.epoch(1).as_numpy_iterator():
            assert set(inputs["lengths"]) == {20}
            for row, labels in zip(inputs["inputs"], classes, strict=True):
                places = [i for i in range(len(codes) - 19) if np.array_equal(codes[i : i + 20], row)]
                assert any(np.array_equal(as_classes(whole[i : i + 20]), labels) for i in places)
                seen += places
        assert (sorted(seen) == list(range(0, len(codes) - 19, 20))) != training


def test_baselines_answer_a_character_or_word_with_its_most_frequent_class():
    assert recipe.words("if a1 ==\n 2") == [*["if"] * 2, " ", *["a1"] * 2, " ", "=", "=", "\n ", "\n ", "2"]
    assert baselines.most_frequent("aab", "xyx", "ab", "xx") == 1.0
    assert baselines.most_frequent("aaabc", "xxyzz", "aad", "xyz") == 2 / 3  # d: as most that were seen once
    assert baselines.most_frequent("aabbb", "xxyyy", "d", "y") == 1.0


def test_show_gives_the_text_back_in_colours():
    answer = {"character": np.array([["i", "f", "\n", ""]]), "label": np.array([["keyword", "keyword", "other", ""]])}
    assert learned().show(answer) == "\n\x1b[34mif\x1b[39m\n\x1b[0m"
    assert set(recipe.COLOURS) == set(source.CLASSES.values())


def test_a_request_comes_from_a_line_or_a_file(tmp_path):
    (tmp_path / "code.py").write_text(CODE)
    task = learned()
    assert task.read(str(tmp_path / "code.py"))["text"] == [CODE]
    assert task.read("x = 1")["text"] == ["x = 1"]
    assert task.read("x" * 5000)["text"] == ["x" * 5000]
    (tmp_path / "latin.py").write_bytes("é".encode("latin-1"))
    (tmp_path / "empty.py").write_text("")
    for given, message in [
        (str(tmp_path / "latin.py"), "Expected the path of a Python file in UTF-8"),
        (str(tmp_path / "empty.py"), "received no character"),
        (str(tmp_path / "none.py"), "Expected the path of a Python file"),
    ]:
        with pytest.raises(RecipeError, match=message):
            task.read(given)


def test_the_page_of_code_marks_what_is_wrong(tmp_path):
    colours = {name: colour for name, (_, colour) in recipe.COLOURS.items()}
    truth = np.array(list(source.CLASSES.values()))[as_classes(source.classify(CODE))]
    pictures = []
    for answers in (truth, np.where(np.arange(len(truth)) % 3, truth, "comment")):
        plots.coloured_text(CODE, answers, truth, colours, tmp_path / "code.png")
        pictures.append(np.asarray(Image.open(tmp_path / "code.png").convert("RGB"), int))
    red = [np.sum((p[..., 0] > 200) & (p[..., 1] < 60) & (p[..., 2] < 60)) for p in pictures]
    assert red[0] == 0 < red[1]


def test_a_request_shows_the_beginning_of_a_file():
    model, answer = small_model()
    test = {"text": tf.constant(["é" + CODE, "y"]), "labels": tf.constant(["n" + source.classify(CODE), "n"])}
    sample = learned().sample(model, batching.Splits({}, {}, test, {}))
    assert sample["serving_default"]["text"].tolist() == ["é" + CODE[:59]]
    assert answer(sample["logits"], "logits")["logits"].shape == (1, 60, 9)


def test_metrics_of_a_hand_made_case(tmp_path):
    code = "\ndef f():\n    return 1\n"
    train = {"text": tf.constant(["def\n", "f = ()\n"]), "labels": tf.constant(["kkk.", "n.o.oo."])}
    test = {"text": tf.constant([code, "f"]), "labels": tf.constant([source.classify(code), "n"])}

    def answer(request):
        (text,) = request["text"]
        return {"label": np.array([["name"] * len(text)])}

    assert learned().evaluate(answer, batching.Splits(train, {}, test, {}), tmp_path) == {
        "test_accuracy": 1 / 24,
        "each_character": 16 / 24,
        "each_word": 11 / 24,
    }
    assert (tmp_path / "coloured.png").stat().st_size > 1000


@pytest.mark.slow
def test_end_to_end(data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    budget = ["--epochs=1", "--units=8", "--layers=1", "--window=1000"]
    assert cli.main(["train", NAME, *budget, f"--data-dir={data_dir}", "--export"]) == 0
    card = json.loads((tmp_path / f"saved_models/{NAME}/1/card.json").read_text())
    assert card["metrics"]["test_accuracy"] > card["metrics"]["each_character"] - 0.2
    assert 0.4 < card["metrics"]["each_character"] < card["metrics"]["each_word"] < 0.95
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    assert (folder / "coloured.png").stat().st_size > 10_000
    capsys.readouterr()
    assert cli.main(["evaluate", NAME, "--saved-model", f"--data-dir={data_dir}"]) == 0
    assert f"test accuracy        {card['metrics']['test_accuracy']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", NAME, "x = 1"]) == 0
    assert "\x1b[" in capsys.readouterr().out
    (tmp_path / "long.py").write_text("x" * 1_000_001)
    assert cli.main(["predict", NAME, "long.py"]) == 2
    assert capsys.readouterr().err == "error: text: expected at most 1000000 time steps, received 1000001\n"


def test_a_window_longer_than_the_text_is_refused():
    files = {"text": tf.constant(["x = 1", "y"]), "labels": tf.constant(["n.o.0", "n"])}
    with pytest.raises(RecipeError, match="Expected a `window` of at most 6 characters, received 7"):
        learned(window=7).batches(files)
