"""Tasks over characters and words: streams, what texts cost, what is drawn, and what they are held to."""

import collections
import gzip
import itertools
import math
import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import archs
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.evaluate import baselines
from recipes._core.export import export
from recipes.tasks import language_modelling
from recipes.tasks.language_modelling import END, UNKNOWN, CharacterModelling, WordModelling, streams, windows

CONFIG = types.SimpleNamespace(batch_size=2, window=20, learning_rate=0.1, clipnorm=1.0, seed=0)
SIZE = 6  # of both vocabularies


def splits(train, test=()):
    return batching.Splits({"text": train}, {"text": train}, {"text": test}, facts={})


def characters(texts=("cab\n",), **attributes):
    task = type("Characters", (CharacterModelling,), attributes)(CONFIG)
    task.learn(splits(texts))
    return task


def words(texts=("a bank sold\n", "the <unk>\n"), **attributes):
    """A task over words, which stand between spaces."""
    task = type("Words", (WordModelling,), {"tokenized": True} | attributes)(CONFIG)
    task.learn(splits(texts))
    return task


def make_model(cell="lstm"):
    keras.utils.set_random_seed(0)
    model = archs.generative_lstm(3, [5, 4], SIZE, cell=cell, lengths=True, stateful=True, batch_size=2)
    model.get_layer("outputs").kernel.assign(tf.random.stateless_normal((4, SIZE), (0, 0), stddev=3))
    return model


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def answer(model):
    return export.as_arrays(characters().signatures(model))


def asked(*prompts, **settings):
    requests = [characters().request(prompt, **settings) for prompt in prompts]
    return {name: np.concatenate([request[name] for request in requests]) for name in requests[0]}


def test_characters_are_tokens_and_back():
    task = characters()
    assert task.labels == ["\ufffd", "", "\n", "a", "b", "c"]
    tokens = task.vocabulary.numbers(task.split(tf.constant(["abä", "", "\nc", b"a\xff"])))
    assert tokens.to_list() == [[3, 4, UNKNOWN], [], [2, 5], [3, UNKNOWN]]
    assert [name.decode() for name in task.vocabulary.names([3, 4, UNKNOWN, END]).numpy()] == ["a", "b", "\ufffd", ""]
    documents = task.documents({"text": ["ab", "c"]})
    assert [document.tolist() for document in documents] == [[END, 3, 4, END], [END, 5, END]]


def test_the_vocabulary_is_given_or_that_of_the_training_texts():
    assert characters(alphabet="zyx").labels == ["\ufffd", "", "x", "y", "z"]
    assert CharacterModelling(CONFIG).labels == ["\ufffd", ""]  # before there are data
    restored = CharacterModelling(CONFIG)
    restored.restore(characters().state())
    assert restored.labels == characters().labels


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
    batches = streams(sequences, batch_size=3, window=4, longest=1000)
    assert sorted(map(list, read_back(batches, 3))) == sorted(map(list, sequences))
    parts = read_back(streams(sequences, batch_size=3, window=4, longest=10), 3)
    expected = [s[start : start + 11] for s in sequences for start in range(0, len(s) - 1, 10)]
    assert sorted(map(list, parts)) == sorted(map(list, expected))
    other = streams(sequences, batch_size=3, window=4, longest=1000, seed=1)
    assert sorted(map(list, read_back(other, 3))) == sorted(map(list, sequences))
    assert np.any(np.asarray(other.columns["tokens"]) != np.asarray(batches.columns["tokens"]))


def test_one_text_is_cut_in_a_part_for_each_row():
    document = np.arange(1, 105)  # 103 to predict
    batches = streams([document], batch_size=4, window=5, longest=26)
    first, *_, last = batches.epoch().as_numpy_iterator()
    assert first[0]["starts"].all()
    assert first[0]["inputs"][:, 0].tolist() == [1, 27, 53, 79]
    assert not last[0]["starts"].any()
    assert last[0]["lengths"].tolist() == [1, 1, 1, 0]
    assert len(batches) == 6


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        (True, [[END, 3, 4, 5], [5, END], [END, 5, END]]),  # six tokens to tell: of a text, a row reads three
        (False, [[END, 3, 4], [4, 5], [END, 5]]),
    ],
)
def test_rows_read_the_texts_of_a_split_to_their_end(whole, expected):
    batches = characters(whole=whole).batches({"text": ["abc", "c"]}, training=True)
    assert sorted(read_back(batches, 2)) == sorted(expected)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("cell", ["lstm", "coupled_lstm", "phased_lstm"])
def test_score_is_what_prefill_and_steps_say(cell, monkeypatch):
    monkeypatch.setattr(language_modelling, "_AT_ONCE", 6 * SIZE)  # of two texts, three characters at a time
    task, model = characters(), make_model(cell)
    answer = export.as_arrays(task.signatures(model))
    texts = ["abc\nabca", "cä"]
    scores = answer({"text": np.array(texts)}, "score")
    assert scores["characters"].tolist() == [8, 2]
    for row, text in enumerate(texts):
        tokens, costs = task.vocabulary.numbers(task.split([text]))[0].numpy(), []
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


def test_texts_that_take_too_much_memory_are_refused(model):
    answer = export.as_arrays(characters(longest=9).signatures(model))
    answer(asked("abcabcabc"))
    message = "expected at most 9 characters, those of the longest for each row"
    for name, signature in (("prompt", "generate"), ("prompt", "prefill"), ("text", "score")):
        request = asked("abcab", "a") if signature == "generate" else {name: np.array(["abcab", "a"])}
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"{name}: {message}"):
            answer(request, signature)


def test_training_has_the_loss_that_score_tells(model, answer):
    text = "abcabb\nca"
    task = characters(whole=False, part=lambda self, documents: 20)
    task.compile(model, 1)
    batches = task.batches({"text": [text]})
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
    assert likeliest == characters().labels[logits.argmax()]


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
    step = language_modelling.first_step(model) | {"token": np.array([6], np.int32)}
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
    known = np.array([END, 2, 3, 2, 3, END, END, 2, 4, END])
    asked = np.array([END, 2, 3, END, END, 5, 2])
    uniform = 1 / 6
    # Five characters of three kinds: 2 three times ... 3 twice, 4 once; 5 never.
    one = {token: (count + 3 * uniform) / (6 + 3) for token, count in {2: 3, 3: 2, 4: 1, 5: 0}.items()}
    np.testing.assert_allclose(
        baselines.ngram_bits(known, asked, 1, 6, END), -np.log2([one[2], one[3], one[5], one[2]]), rtol=1e-12
    )
    begins = {token: (count + 1 * one[token]) / (2 + 1) for token, count in {2: 2, 5: 0}.items()}
    after_2 = (2 + 2 * one[3]) / (3 + 2)
    expected = [begins[2], after_2, begins[5], one[2]]  # 5 was followed by nothing
    np.testing.assert_allclose(baselines.ngram_bits(known, asked, 2, 6, END), -np.log2(expected), rtol=1e-12)


def test_ngrams_are_probabilities():
    draw = np.random.default_rng(0)
    known = np.concatenate([[END], draw.integers(2, 6, 300), [END]])
    for order in (1, 2, 3, 5):
        chances = [
            2 ** -baselines.ngram_bits(known, np.array([END, 4, 2, 2, 3, last]), order, 6, END)[-1]
            for last in (0, 2, 3, 4, 5)
        ]
        edge = 1 - sum(chances)  # below the lowest order, the edge is as likely as any
        assert 0 < edge < 1e-2


def test_figures_are_bits_of_all_test_texts_together(answer, tmp_path):
    test, train = ["abcab\n", "cabä"], ["abc\n" * 20, "cab" * 20]
    task = characters(prompt="ca")
    figures = task.evaluate(answer, splits(train, test), tmp_path)
    assert next(iter(figures)) == "test_bits_per_character"
    assert (tmp_path / "sample.txt").read_text()[:2] == "ca"
    assert np.asarray(Image.open(tmp_path / "surprise.png").convert("L")).std() > 10
    costs = answer({"text": np.array(test)}, "score")["bits_of_each"]
    assert figures["test_bits_per_character"] == pytest.approx(costs.sum() / 10, rel=1e-5)
    known, both = ("".join(texts).encode() for texts in (train, train + test))
    assert figures["gzip"] == 8 * len(gzip.compress("abcab\ncabä".encode(), 9)) / 10
    assert figures["gzip_after_training"] == 8 * (len(gzip.compress(both, 9)) - len(gzip.compress(known, 9))) / 10
    assert 0 < figures["xz_after_training"] < figures["xz"]
    counted = baselines.ngram_bits(*(np.concatenate(task.documents({"text": t})) for t in (train, test)), 1, 6, END)
    assert figures["unigram"] == pytest.approx((counted.sum() + np.log2(0x110000)) / 10)  # one is the ä


def test_a_text_or_a_file_or_a_test_document_goes_on(tmp_path):
    task = characters()
    (tmp_path / "a.txt").write_text("söme\ntext")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    for text, prompt in (
        ("First Citizen:", "First Citizen:"),
        ("", ""),
        ("x" * 5000, "x" * 5000),
        (str(tmp_path / "a.txt"), "söme\ntext"),
    ):
        assert task.read(text)["prompt"].tolist() == [prompt]
    for number, prompt in enumerate(["0123456789" * 20, "short"]):
        request = task.test_request({"text": ["0123456789" * 30, "short"]}, number)
        assert request["prompt"].tolist() == [prompt]
    with pytest.raises(RecipeError, match=r"a text in UTF-8, received .*b\.txt"):
        task.read(str(tmp_path / "b.txt"))
    assert task.show({"text": np.array(["a\nb"])}) == "\na\nb"


def test_a_text_is_cut_into_streams_that_are_read_side_by_side_in_windows():
    parts = windows(tf.range(20), 3, 2)
    inputs = np.asarray(parts["inputs"]).reshape(3, 3, 2)  # windows, streams, words
    np.testing.assert_array_equal(inputs.transpose(1, 0, 2).reshape(3, -1), np.arange(18).reshape(3, 6))
    np.testing.assert_array_equal(parts["targets"], np.asarray(parts["inputs"]) + 1)
    with pytest.raises(RecipeError, match="a text of more than 6 words, received 6"):
        windows(tf.range(6), 3, 2)


def test_lines_are_not_empty_and_together_the_text():
    texts = tf.constant(["\n\na b\n\n  \nc\n", " d", "\n"])
    assert [line.decode() for line in language_modelling.lines(texts).numpy()] == ["\n\na b\n\n  \n", "c\n", " d"]


def test_words_between_spaces_and_words_among_punctuation():
    def split(text, tokenized):
        pieces = words(tokenized=tokenized).split(tf.constant(text))
        return [[word.decode() for word in row] for row in pieces.to_list()]

    assert split([" the <unk> sold N 's \n a\n", ""], tokenized=True) == [
        ["the", "<unk>", "sold", "N", "'s", "<eos>", "a", "<eos>"],
        [],
    ]
    assert split(["ROMEO:\nWe know't, we--\n"], tokenized=False) == [
        ["romeo", ":", "<eos>", "we", "know't", ",", "we", "-", "-", "<eos>"]
    ]


def test_words_have_numbers_and_others_that_of_the_unknown():
    task = words()
    numbers = task.vocabulary.numbers(tf.constant(["the", "bank", "<unk>", "brook", "", "<eos>"]))
    assert [task.labels[number] for number in numbers] == ["the", "bank", "<unk>", "<unk>", "<unk>", "<eos>"]


@pytest.mark.parametrize(
    ("texts", "known"),
    [
        (["a the bank the sold a\n", "the\n"], ["the", "a"]),
        (["a the bank the <unk> a\n", "the\n"], ["the", "a", "bank"]),  # it says itself which are unknown
    ],
)
def test_words_seen_once_are_unknown_where_the_text_marks_none(texts, known):
    assert WordModelling(CONFIG).labels == ["<unk>", "<eos>"]  # before there are data
    assert words(texts).labels == ["<unk>", "<eos>", *known]


@pytest.mark.parametrize("cell", ["lstm", "min_gru"])
def test_a_text_is_scored_word_by_word_however_long_it_is(cell, monkeypatch):
    keras.utils.set_random_seed(0)
    task, settings = words(), {"vocabulary": SIZE, "cell": cell, "return_sequences": True}
    net = archs.stacked_lstm(5, [5, 5], SIZE, stateful=True, batch_size=2, **settings)
    for weight in net.trainable_weights:
        weight.assign(keras.random.uniform(weight.shape, -0.5, 0.5))
    texts = ["the bank sold a brook\n the", "bank", "a\n" * 11]
    answers = []
    for window in (3, 100):
        monkeypatch.setattr(language_modelling, "_AT_ONCE", window * len(texts) * SIZE)
        answers.append(export.as_arrays(task.signatures(net))({"text": np.array(texts)}))
    for key, value in answers[0].items():
        same = np.array_equal if value.dtype.kind == "U" else lambda *pair: np.allclose(*pair, atol=1e-5)
        assert same(value, answers[1][key]), key
    answer = answers[0]
    assert answer["words"][0, :8].tolist() == ["the", "bank", "sold", "a", "<unk>", "<eos>", "the", ""]
    np.testing.assert_array_equal(answer["lengths"], [7, 1, 22])
    loop = archs.stacked_lstm(5, [5, 5], SIZE, **settings)
    loop.set_weights(net.get_weights())
    for row, length in enumerate(answer["lengths"]):
        numbers = [task.labels.index(word) for word in ["<eos>", *answer["words"][row, :length]]]
        probabilities = tf.nn.softmax(loop(np.array([numbers])))[0].numpy()
        expected = np.log([step[number] for step, number in zip(probabilities, numbers[1:], strict=False)])
        np.testing.assert_allclose(answer["log_probabilities"][row, :length], expected, atol=1e-5)
        assert not answer["log_probabilities"][row, length:].any()
        assert answer["perplexity"][row] == pytest.approx(math.exp(-expected.mean()), rel=1e-4)
        best = np.argsort(-probabilities[length])
        assert answer["next_words"][row].tolist() == [task.labels[number] for number in best]
        np.testing.assert_allclose(answer["next_probabilities"][row], probabilities[length][best], atol=1e-5)
    for texts, message in (([], "empty batch"), (["bank", " "], "1 or more")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            task.signatures(net)["serving_default"](tf.constant(texts, tf.string))


def test_kneser_ney_gives_each_context_a_distribution():
    draw = np.random.default_rng(0)
    train = draw.integers(0, 5, 60)
    for order in (1, 2, 3):
        for context in itertools.product(range(5), repeat=2):
            # How probable a word is behind a context: what it adds to the text's logarithm.
            base = math.log(baselines.kneser_ney(train, [*context], order)) * 2
            shares = [
                math.exp(base - math.log(baselines.kneser_ney(train, [*context, w], order)) * 3) for w in range(5)
            ]
            assert sum(shares) == pytest.approx(1)


def test_kneser_ney_of_a_text_counted_by_hand():
    # a b a c a b: once a c, c a; twice a b; b a once. Discount 3 / (3 + 2) = 0.6.
    train = [0, 1, 0, 2, 0, 1]
    assert collections.Counter(itertools.pairwise(train)) == {(0, 1): 2, (1, 0): 1, (0, 2): 1, (2, 0): 1}
    # a comes after b and c, b after a, c after a: twice one, once two: discount 2 / (2 + 2) = 0.5, of 4 in all.
    share = [(2 - 0.5) / 4 + 1.5 / 4 / 3, (1 - 0.5) / 4 + 1.5 / 4 / 3, (1 - 0.5) / 4 + 1.5 / 4 / 3]
    # The text b a c goes on behind b: b was never before b, a is after b, c after a once of three.
    p = [0 + 0.6 * 1 / 1 * share[1], (1 - 0.6) / 1 + 0.6 * share[0], (1 - 0.6) / 3 + 0.6 * 2 / 3 * share[2]]
    assert baselines.kneser_ney(train, [1, 0, 2], 2) == pytest.approx(math.exp(-np.log(p).mean()))
    assert baselines.kneser_ney(train, [0, 2], 1) == pytest.approx((1 / 2 * 1 / 6) ** -0.5)


def test_perplexity_is_of_the_whole_test_text(tmp_path):
    train = ["the bank a\n", "sold <unk>"]
    asked = []

    def answer(request):
        asked.extend(request["text"])
        return answers

    logs = np.log([[0.5, 0.25, 0.125, 0.5, 0.5, 0.5]])
    answers = {"words": np.array([["the", "bank", "<eos>", "a", "bank", "<eos>"]]), "log_probabilities": logs}
    metrics = words(train).evaluate(answer, splits(train, ["the bank\n", " a bank\n"]), tmp_path)
    assert asked == ["the bank\n a bank\n"]
    assert next(iter(metrics)) == "test_perplexity"
    assert metrics["test_perplexity"] == pytest.approx(2 ** (9 / 6))
    assert metrics["unigram"] == pytest.approx(6)
    assert np.asarray(Image.open(tmp_path / "surprises.png").convert("L")).std() > 10


def test_curves_show_perplexities():
    (row,) = words().curves([{"epoch": 1, "loss": 0.0, "val_loss": math.log(2)}])
    assert row["perplexity"] == 1
    assert row["val_perplexity"] == pytest.approx(2)


def test_what_is_read_has_a_word(tmp_path):
    task = words()
    (tmp_path / "a.txt").write_text("the bank\n")
    assert task.read("the bank")["text"].tolist() == ["the bank"]
    assert task.read(str(tmp_path / "a.txt"))["text"].tolist() == ["the bank\n"]
    assert task.test_request({"text": ["a\n", " the bank \n\n"]}, 1)["text"].tolist() == ["the bank"]
    with pytest.raises(RecipeError, match="a text of at least one word or test:N, received ' '"):
        task.read(" ")
