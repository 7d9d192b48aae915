"""The pages of language models: streams, what texts cost, what is drawn, and what they are held to."""

import gzip
import json
import math
import os
import pathlib
import shutil
import string

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes import generative_lstm_python, generative_lstm_shakespeare
from recipes._core import baselines, cli, export, language
from recipes._core.errors import RecipeError
from recipes._core.language import EDGE, UNKNOWN

ALPHABET = language.Alphabet("cab\n")


def make_model(cell="lstm"):
    keras.utils.set_random_seed(0)
    model = archs.generative_lstm(3, [5, 4], ALPHABET.size, cell=cell, lengths=True, stateful=True, batch_size=2)
    model.get_layer("outputs").kernel.assign(tf.random.stateless_normal((4, ALPHABET.size), (0, 0), stddev=3))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def answer(model):
    return export.as_arrays(language.signatures(model, ALPHABET))


def asked(*prompts, **settings):
    requests = [language.request(prompt, **settings) for prompt in prompts]
    return {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}


def test_characters_are_tokens_and_back():
    assert ALPHABET.characters == "\nabc"
    tokens = ALPHABET.tokens(tf.constant(["abä", "", "\nc", b"a\xff"]))
    assert tokens.to_list() == [[3, 4, UNKNOWN], [], [2, 5], [3, UNKNOWN]]
    texts = ALPHABET.texts([[3, 4, UNKNOWN], [5, 2, 2]], [3, 2])
    assert [text.decode() for text in texts.numpy()] == ["ab\ufffd", "c\n"]
    assert [document.tolist() for document in ALPHABET.documents(["ab", "c"])] == [[EDGE, 3, 4, EDGE], [EDGE, 5, EDGE]]


def read_back(batches, batch_size):
    """The sequences that the rows of a stream read, put together again."""
    rows, sequences = [None] * batch_size, []
    for inputs, targets in batches.epoch().as_numpy_iterator():
        for row in range(batch_size):
            length = inputs["lengths"][row]
            if inputs["starts"][row]:
                rows[row] = [inputs["inputs"][row, 0]]
                sequences.append(rows[row])
            if length:
                assert inputs["inputs"][row, 0] == rows[row][-1]
                np.testing.assert_array_equal(inputs["inputs"][row, 1:length], targets[row, : length - 1])
                rows[row].extend(targets[row, :length])
            assert not targets[row, length:].any()
    return sequences


def test_streams_read_each_sequence_once_and_go_on_where_they_stopped():
    draw = np.random.default_rng(0)
    sequences = [draw.integers(1, 1000, size) for size in (2, 30, 12, 7, 9, 8, 3, 20)]
    batches = language.streams(sequences, batch_size=3, window=4, longest=1000)
    assert sorted(map(list, read_back(batches, 3))) == sorted(map(list, sequences))
    parts = read_back(language.streams(sequences, batch_size=3, window=4, longest=10), 3)
    expected = [s[start : start + 11] for s in sequences for start in range(0, len(s) - 1, 10)]
    assert sorted(map(list, parts)) == sorted(map(list, expected))
    other = language.streams(sequences, batch_size=3, window=4, longest=1000, seed=1)
    assert sorted(map(list, read_back(other, 3))) == sorted(map(list, sequences))
    assert np.any(np.asarray(other.columns["tokens"]) != np.asarray(batches.columns["tokens"]))


def test_one_text_is_cut_in_a_part_for_each_row():
    document = np.arange(1, 105)  # 103 to predict
    batches = language.streams([document], batch_size=4, window=5, longest=26)
    first, *_, last = batches.epoch().as_numpy_iterator()
    assert first[0]["starts"].all()
    assert first[0]["inputs"][:, 0].tolist() == [1, 27, 53, 79]
    assert not last[0]["starts"].any()
    assert last[0]["lengths"].tolist() == [1, 1, 1, 0]
    assert len(batches) == 6


@pytest.mark.parametrize("cell", ["lstm", "coupled_lstm", "phased_lstm"])
def test_score_is_what_prefill_and_steps_say(cell, monkeypatch):
    monkeypatch.setattr(language, "_AT_ONCE", 6 * ALPHABET.size)  # of two texts, three characters at a time
    model = make_model(cell)
    answer = export.as_arrays(language.signatures(model, ALPHABET))
    texts = ["abc\nabca", "cä"]
    scores = answer({"text": np.array(texts)}, "score")
    assert scores["characters"].tolist() == [8, 2]
    for row, text in enumerate(texts):
        tokens, costs = ALPHABET.tokens([text])[0].numpy(), []
        now = answer({"prompt": np.array([""])}, "prefill")
        for position, token in enumerate(tokens):
            costs.append(-tf.nn.log_softmax(now["logits"])[0, token] / math.log(2))
            costs[-1] += np.log2(0x110000) * (token == UNKNOWN)
            states = {name: state for name, state in now.items() if name != "logits"}
            now = answer({"token": np.array([token], np.int32)} | states, "step")
            read = answer({"prompt": np.array([text[: position + 1]])}, "prefill")
            for name, value in read.items():
                np.testing.assert_allclose(now[name], value, atol=1e-4)
        np.testing.assert_allclose(scores["bits_of_each"][row, : len(tokens)], costs, rtol=1e-4, atol=1e-4)
        assert not scores["bits_of_each"][row, len(tokens) :].any()
        assert scores["bits"][row] == pytest.approx(np.sum(costs), rel=1e-4)


def test_texts_that_take_too_much_memory_are_refused(model, monkeypatch):
    monkeypatch.setattr(language, "LONGEST_TEXT", 9)
    answer = export.as_arrays(language.signatures(model, ALPHABET))
    answer(asked("abcabcabc"))
    message = "expected at most 9 characters, those of the longest for each row"
    for name, signature in (("prompt", "generate"), ("prompt", "prefill"), ("text", "score")):
        request = asked("abcab", "a") if signature == "generate" else {name: np.array(["abcab", "a"])}
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name}: {message}"):
            answer(request, signature)


def test_training_has_the_loss_that_score_tells(model, answer):
    text = "abcabb\nca"
    model.compile(loss=language.bits)
    batches = language.streams([ALPHABET.documents([text])[0][:-1]], 2, window=20, longest=20)
    loss = model.evaluate(batches.epoch(), verbose=0)
    scored = answer({"text": np.array([text])}, "score")
    assert loss == pytest.approx(scored["bits"][0] / 9, rel=1e-5)


def test_a_row_is_drawn_by_its_own_settings(answer):
    alone = answer(asked("ab", max_new_tokens=30, seed=3))
    both = answer(asked("ab", "", max_new_tokens=30, seed=3))
    assert both["text"][0] == alone["text"][0]
    assert both["characters"][0] == len(alone["text"][0]) <= 30
    assert both["text"][1] != alone["text"][0]
    assert answer(asked("ab", max_new_tokens=30, seed=4))["text"][0] != alone["text"][0]
    nothing = answer(asked("ab", max_new_tokens=0))
    assert nothing["text"].tolist() == [""]
    assert nothing["characters"].tolist() == [0]
    likeliest = answer(asked("ab", max_new_tokens=1, top_k=1))["text"][0]
    logits = answer({"prompt": np.array(["ab"])}, "prefill")["logits"][0]
    assert likeliest == ("\ufffd", "", *ALPHABET.characters)[logits.argmax()]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, "temperature: expected a positive number"),
        ({"temperature": math.inf}, "temperature: expected a positive number"),
        ({"temperature": math.nan}, "temperature: expected a positive number"),
        ({"top_k": -1}, "top_k: expected 1 to 6, or 0 for all"),
        ({"top_p": 0}, "top_p: expected a number above 0 and up to 1"),
        ({"top_p": 1.5}, "top_p: expected a number above 0 and up to 1"),
        ({"max_new_tokens": -1}, "max_new_tokens: expected 0 to 10000"),
        ({"max_new_tokens": 10001}, "max_new_tokens: expected 0 to 10000"),
    ],
)
def test_settings_out_of_range_are_refused(answer, settings, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(asked("ab", **settings))


def test_requests_without_what_they_need_are_refused(answer, model):
    two_prompts = asked("ab") | {"prompt": np.array(["a", "b"])}
    empty = {name: value[:0] for name, value in asked("ab").items()}
    step = language.sample(model, ALPHABET, "a")["step"] | {"token": np.array([6], np.int32)}
    for message, *request in (
        ("max_new_tokens: expected one for each row", two_prompts),
        ("prompt: expected at least one row", empty),
        ("text: expected at least one row", {"text": np.zeros(0, "U1")}, "score"),
        ("text: expected at least one character in each", {"text": np.array(["a", ""])}, "score"),
        ("prompt: expected at least one row", {"prompt": np.zeros(0, "U1")}, "prefill"),
        ("token: expected 0 to 5", step, "step"),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(*request)


def test_ngrams_by_hand():
    known = np.array([EDGE, 2, 3, 2, 3, EDGE, EDGE, 2, 4, EDGE])
    asked = np.array([EDGE, 2, 3, EDGE, EDGE, 5, 2])
    uniform = 1 / 6
    # Five characters of three kinds: 2 three times ... 3 twice, 4 once; 5 never.
    one = {token: (count + 3 * uniform) / (6 + 3) for token, count in {2: 3, 3: 2, 4: 1, 5: 0}.items()}
    np.testing.assert_allclose(
        baselines.ngram_bits(known, asked, 1, 6, EDGE), -np.log2([one[2], one[3], one[5], one[2]]), rtol=1e-12
    )
    begins = {token: (count + 1 * one[token]) / (2 + 1) for token, count in {2: 2, 5: 0}.items()}
    after_2 = (2 + 2 * one[3]) / (3 + 2)
    expected = [begins[2], after_2, begins[5], one[2]]  # 5 was followed by nothing
    np.testing.assert_allclose(baselines.ngram_bits(known, asked, 2, 6, EDGE), -np.log2(expected), rtol=1e-12)


def test_ngrams_are_probabilities():
    draw = np.random.default_rng(0)
    known = np.concatenate([[EDGE], draw.integers(2, 6, 300), [EDGE]])
    for order in (1, 2, 3, 5):
        chances = [
            2 ** -baselines.ngram_bits(known, np.array([EDGE, 4, 2, 2, 3, last]), order, 6, EDGE)[-1]
            for last in (0, 2, 3, 4, 5)
        ]
        edge = 1 - sum(chances)  # below the lowest order, the edge is as likely as any
        assert 0 < edge < 1e-2


def test_figures_are_bits_of_all_test_texts_together(answer):
    test, train = ["abcab\n", "cabä"], ["abc\n" * 20, "cab" * 20]
    figures, costs = language.figures(answer, test, train, ALPHABET)
    assert next(iter(figures)) == generative_lstm_python.METRIC == generative_lstm_shakespeare.METRIC
    assert figures["test_bits_per_character"] == pytest.approx(costs.sum() / 10, rel=1e-5)
    known, both = ("".join(texts).encode() for texts in (train, train + test))
    assert figures["gzip"] == 8 * len(gzip.compress("abcab\ncabä".encode(), 9)) / 10
    assert figures["gzip_after_training"] == 8 * (len(gzip.compress(both, 9)) - len(gzip.compress(known, 9))) / 10
    assert 0 < figures["xz_after_training"] < figures["xz"]
    counted = baselines.ngram_bits(*(np.concatenate(ALPHABET.documents(t)) for t in (train, test)), 1, 6, EDGE)
    assert figures["unigram"] == pytest.approx((counted.sum() + np.log2(0x110000)) / 10)  # one is the ä


@pytest.mark.parametrize("page", [generative_lstm_shakespeare, generative_lstm_python])
def test_alphabets(page):
    assert set(string.ascii_letters) < set(page.ALPHABET.characters)
    assert page.build_model(page.Config(units=4, cell="coupled_lstm"), steps=1).output_shape[-1] == page.ALPHABET.size


def test_a_text_or_a_file_or_a_test_document_goes_on(tmp_path):
    documents = ["0123456789" * 30, "short"]
    (tmp_path / "a.txt").write_text("söme\ntext")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    for text, prompt in (
        ("First Citizen:", "First Citizen:"),
        ("", ""),
        ("x" * 5000, "x" * 5000),
        (str(tmp_path / "a.txt"), "söme\ntext"),
        ("test:0", "0123456789" * 20),
        ("test:1", "short"),
    ):
        assert language.read_input(text, lambda: documents)["prompt"].tolist() == [prompt]
    with pytest.raises(RecipeError, match=r"N from 0 to 1, received 'test:2'"):
        language.read_input("test:2", lambda: documents)
    with pytest.raises(RecipeError, match=r"a text in UTF-8, received .*b\.txt"):
        language.read_input(str(tmp_path / "b.txt"), lambda: documents)
    assert language.show({"text": np.array(["a\nb"])}) == "\na\nb"


def test_without_a_network_it_says_which_file_to_place(no_network, tmp_path):
    with pytest.raises(RecipeError) as error:
        generative_lstm_shakespeare.load(generative_lstm_shakespeare.Config(), tmp_path)
    for part in ("input.txt", str(tmp_path / "downloads/manual/tiny_shakespeare")):
        assert part in str(error.value)


def train_evaluate_and_predict(name, batch_size, options, capsys, folder):
    small = ["--epochs=1", "--units=16", "--features=8", f"--batch-size={batch_size}", "--device=cpu"]
    assert cli.main(["train", name, *small, *options]) == 0
    card = json.loads((folder / f"saved_models/{name}/1/card.json").read_text())
    assert 1 < card["metrics"]["5_gram"] < card["metrics"]["unigram"] < 5
    assert set(card["sample"]) == {"serving_default", "generate", "score", "prefill", "step"}
    capsys.readouterr()
    assert cli.main(["evaluate", name, "--saved-model", *options]) == 0
    assert f"{card['metrics']['test_bits_per_character']:.4f}" in capsys.readouterr().out
    assert cli.main(["predict", name, "First Citizen:", *options]) == 0
    assert len(capsys.readouterr().out) > 100
    (run,) = (folder / "runs" / name).iterdir()
    assert len((run / "sample.txt").read_text()) > 100
    assert (run / "surprise.png").stat().st_size > 10000


@pytest.mark.tfds
def test_train_on_shakespeare(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "tiny_shakespeare"
    shutil.copytree(sources, tmp_path / "data/downloads/manual/tiny_shakespeare")
    name = "generative_lstm_shakespeare"
    train_evaluate_and_predict(name, 128, ["--data-dir=data"], capsys, tmp_path)


@pytest.mark.slow
def test_train_on_python(no_network, data_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "generative_lstm_python"
    train_evaluate_and_predict(name, 256, [f"--data-dir={data_dir}"], capsys, tmp_path)
