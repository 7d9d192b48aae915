"""The task of one text into another: vocabularies, batches, signatures, figures, for any pairs of texts."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs
from recipes._core.data import batching
from recipes._core.errors import RecipeError
from recipes._core.export import artifact, export
from recipes._core.settings import Count, Positive, Rate, Seed, settings
from recipes.tasks import sequence_to_sequence
from recipes.tasks.sequence_to_sequence import END, SequenceToSequence

GERMAN = ["zwei Männer gehen", "zwei Hunde gehen", "Über Hunde", "zwei Männer"]
ENGLISH = ["two men walk", "two dogs walk", "about dogs", "two men"]


@settings
class Config:
    dataset: str = "pairs"
    hidden: Rate = 0.0
    epochs: Count = 1
    batch_size: Count = 2
    learning_rate: Positive = 1e-3
    clipnorm: Positive = 1.0
    seed: Seed = 0


class Translation(SequenceToSequence):
    source, target = "german", "english"
    lowercase = ("source",)
    longest = 6


class Spelling(SequenceToSequence):
    """A word, letter by letter, backwards; from a vocabulary that is given."""

    source, target = "word", "backwards"
    source_level = target_level = "letters"
    source_pieces = target_pieces = ("a", "b", "ß", " ")
    longest = 5


def table(sources, targets, task):
    return {task.source: tf.constant(sources), task.target: tf.constant(targets)}


def splits(task, sources=GERMAN, targets=ENGLISH):
    columns = table(sources, targets, task)
    return batching.Splits(columns, columns, columns, {})


def learned(task=Translation, **data):
    task = task(Config())
    task.learn(splits(task, **data))
    return task


def small_model(task, attention="luong", seed=0):
    keras.utils.set_random_seed(seed)
    sizes = {"outputs": len(task.target_vocabulary), "vocabulary": len(task.source_vocabulary)}
    return archs.encoder_decoder_lstm(4, 6, **sizes, attention=attention, bidirectional=True, lengths=True)


@pytest.fixture(scope="module")
def task():
    return Spelling(Config())


@pytest.fixture(scope="module")
def answer(task):
    model = small_model(task)
    model.get_layer("outputs").bias.assign(tf.one_hot(END, len(task.target_vocabulary)))  # so that answers end
    return export.as_arrays(task.signatures(model))


# --- vocabularies


def test_a_vocabulary_is_taken_from_the_training_split_the_most_frequent_first():
    task = learned()
    assert task.source_pieces == ["<unk>", "zwei", "gehen", "hunde", "männer"]  # "über" is there once
    assert task.target_pieces == ["<unk>", "two", "dogs", "men", "walk"]
    numbers, lengths = task.encode(tf.constant(["ZWEI Katzen  GEHEN", "MÄNNER <unk>"]), "source")
    np.testing.assert_array_equal(numbers, [[2, 1, 3], [5, 1, 0]])
    np.testing.assert_array_equal(lengths, [3, 2])


def test_the_size_of_a_vocabulary_has_a_limit():
    class Limited(Translation):
        vocabulary_size, min_count = 2, 1

    assert learned(Limited).source_pieces == ["<unk>", "zwei", "gehen"]
    config = type("Config", (), {**dataclasses.asdict(Config()), "vocabulary_size": 1})
    task = Translation(config)
    task.learn(splits(task))
    assert task.target_pieces == ["<unk>", "two"]


def test_what_is_kept_is_enough_to_answer_without_the_data():
    task, other = learned(), Translation(Config())
    assert len(other.source_vocabulary) == len(other.target_vocabulary) == 1
    small_model(other)  # can be built, to check the settings
    other.restore(task.state())
    assert other.state() == task.state() == {"source_pieces": task.source_pieces, "target_pieces": task.target_pieces}
    model = small_model(task)
    answers = [export.as_arrays(one.signatures(model))(one.request(["zwei Katzen"])) for one in (task, other)]
    assert answers[0]["english"].tolist() == answers[1]["english"].tolist()
    np.testing.assert_array_equal(answers[0]["scores"], answers[1]["scores"])


def test_a_given_vocabulary_stays_and_refuses_others(task):
    task.learn(splits(task, ["ab"], ["ba"]))
    assert list(task.source_pieces) == ["a", "b", "ß", " "]
    with pytest.raises(RecipeError, match=r"cannot be trained on: expected a b ß  , received .*x"):
        task.batches(table(["ax"], ["ba"], task))
    with pytest.raises(RecipeError, match="expected at most 5 in a row, each one of a b ß"):
        task.batches(table(["a"], ["b" * 6], task))
    with pytest.raises(RecipeError, match=r"expected at most 6 in a row$"):
        learned().batches(table(["zwei " * 7], ["two"], learned()))


def test_letters_are_joined_without_spaces_and_keep_those_between_them(task):
    numbers, lengths = task.encode(tf.constant([" ß ba ", "a"]), "target")
    np.testing.assert_array_equal(numbers, [[3, 4, 2, 1], [1, 0, 0, 0]])
    assert [text.decode() for text in task.join(numbers).numpy()] == ["ß ba", "a"]
    assert lengths.numpy().tolist() == [4, 1]


def test_an_unknown_letter_is_one_letter_also_in_an_answer():
    class Names(Spelling):
        source_pieces = target_pieces = ()

    task = learned(Names, sources=["abba", "baß"], targets=["aabb", "aab"])
    assert task.source_pieces == ["\N{REPLACEMENT CHARACTER}", "a", "b"]
    np.testing.assert_array_equal(task.encode(tf.constant([b"a\xffb"]), "source")[0], [[2, 1, 3]])
    assert task.join(tf.constant([[2, 1, 3, 0]])).numpy()[0].decode() == "a\N{REPLACEMENT CHARACTER}b"


def test_a_word_with_the_character_0_is_not_its_beginning():
    task = learned()
    numbers, _ = task.encode(tf.constant([b"Zwei\0 zwei\0x \0"]), "source")
    np.testing.assert_array_equal(numbers, [[1, 1, 1]])


def test_punctuation_is_apart_in_training_and_closed_up_in_an_answer():
    class Written(Translation):
        source_level = target_level = "words and marks"
        lowercase = ("source", "target")
        longest, min_count = 20, 1

    text = 'A "T-Shirt", (red), at 5/6:\N{NO-BREAK SPACE}the man\'s.'
    task = learned(Written, sources=[text], targets=[text])
    spaced = 'a " t - shirt " , ( red ) , at 5 / 6 : the man\'s .'
    for side in ("source", "target"):
        assert [piece.decode() for piece in task.pieces(tf.constant([text]), side)[0].numpy()] == spaced.split()
    numbers, _ = task.encode(tf.constant([text]), "target")
    assert task.join(numbers).numpy()[0].decode() == 'a "t-shirt", (red), at 5/6: the man\'s.'
    with pytest.raises(RecipeError, match="Expected a german of 1 to 20 words and marks, or test:N, received ''"):
        task.read("")


# --- batches


def test_each_reference_is_an_example_and_the_decoder_is_fed_what_it_wrote_before(task):
    columns = table(["ab", "b"], [["ba", "ab", ""], ["b", "", ""]], task)
    pairs = task.pairs(columns)
    np.testing.assert_array_equal(pairs["inputs"], [[1, 2], [1, 2], [2, 0]])
    inputs, targets = task.example(pairs)
    np.testing.assert_array_equal(targets, [[2, 1, 0], [1, 2, 0], [2, 0, 0]])
    np.testing.assert_array_equal(inputs["decoder_inputs"], [[0, 2, 1], [0, 1, 2], [0, 2, 0]])
    np.testing.assert_array_equal(inputs["decoder_lengths"], [3, 3, 2])
    short, _ = task.example({name: column[2:] for name, column in pairs.items()})
    assert short["inputs"].shape == (1, 1)
    ((inputs, _),) = task.batches(columns).epoch()
    np.testing.assert_array_equal(inputs["lengths"], [1, 2, 2])  # in the order of their lengths


def test_a_share_of_what_the_decoder_is_fed_is_hidden_in_training():
    task = Spelling(Config(hidden=0.4, batch_size=500))
    columns = table(["a"] * 500, ["abbab"] * 500, task)
    ((told, targets),) = task.batches(columns).epoch()
    ((inputs, same),) = task.batches(columns, training=True).epoch()
    np.testing.assert_array_equal(targets, same)
    is_hidden = inputs["decoder_inputs"].numpy() != told["decoder_inputs"].numpy()
    assert not inputs["decoder_inputs"].numpy()[is_hidden].any()
    assert 0.35 < is_hidden[:, 1:].mean() < 0.45


@pytest.mark.parametrize(("batches", "sorted_by"), [("sorted", "source"), ("sorted", "target"), ("mixed", "source")])
def test_examples_of_like_lengths_share_a_batch_or_any(batches, sorted_by):
    draw = np.random.default_rng(0)
    config = type("Config", (), {**dataclasses.asdict(Config(batch_size=10)), "batches": batches})
    task = type("Sorted", (Spelling,), {"sorted_by": sorted_by})(config)
    sources, targets = (["a" * length for length in draw.integers(1, 6, 500)] for _ in range(2))
    columns = table(sources, targets, task)

    def spread(batches, name):
        return np.mean([np.ptp(inputs[name].numpy()) for inputs, _ in batches.epoch()])

    shuffled = task.batches(columns, training=True)
    first = {"source": "lengths", "target": "decoder_lengths"}[sorted_by]
    assert (spread(shuffled, first) < 1) == (batches == "sorted")
    if sorted_by == "source" and batches == "sorted":
        assert spread(shuffled, "decoder_lengths") < 2
    ((inputs, _),) = task.batches(columns).epoch()  # to validate they are sorted in any case
    assert np.all(np.diff(inputs[first]) >= 0)
    seen = sorted(length for inputs, _ in shuffled.epoch() for length in inputs["lengths"].numpy())
    assert seen == sorted(map(len, sources))


@pytest.mark.slow
def test_a_model_trains_on_the_batches():
    task = learned()
    model = small_model(task)
    train = task.batches(splits(task).train, training=True)
    task.compile(model, steps=10)
    validation = task.batches(splits(task).validation)
    history = model.fit(train.epoch(), validation_data=validation.epoch(), shuffle=False, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert {"accuracy", "val_loss", "val_accuracy"} <= history.keys()


def test_a_smoothed_loss_is_that_of_targets_of_which_a_share_is_spread():
    logits, targets = (
        np.random.default_rng(0).normal(size=(2, 3, 5)).astype("float32"),
        np.array([[0, 4, 2], [1, 1, 3]]),
    )
    for share in (0.0, 0.2):
        expected = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=share)
        received = np.mean(sequence_to_sequence.smoothed_crossentropy(share)(targets, logits))
        assert received == pytest.approx(float(expected(np.eye(5)[targets], logits)), rel=1e-5)


# --- signatures


def test_the_unknown_piece_is_never_written():
    task = learned()
    model = small_model(task)
    bias = np.zeros(len(task.target_vocabulary))
    bias[[END, 1 + task.target_pieces.index("<unk>")]] = -9, 9
    model.get_layer("outputs").bias.assign(bias)
    answer = export.as_arrays(task.signatures(model))
    best = answer(task.request(["zwei Katzen gehen"]))["english"][0]
    greedy = answer({"german": np.array(["zwei Katzen gehen"])}, "greedy")["english"][0]
    assert greedy
    assert not any("<unk>" in text for text in (*best, greedy))


def test_probabilities_are_those_of_what_is_written(task):
    model = small_model(task, seed=1)
    model.get_layer("outputs").bias.assign(2.0 * tf.one_hot(END, len(task.target_vocabulary)))
    best = export.as_arrays(task.signatures(model))(task.request(["ab"]) | {"beam": np.array([3], np.int32)})
    assert best["backwards"].shape == best["probabilities"].shape == (1, 3)
    assert len(set(best["backwards"][0])) == 3
    assert np.all(np.diff(best["probabilities"][0]) <= 0)
    for text, probability in zip(best["backwards"][0], best["probabilities"][0], strict=True):
        written = [1 + task.target_pieces.index(letter) for letter in text]
        numbers, lengths = task.encode(tf.constant(["ab"]), "source")
        fed, steps = tf.constant([[END, *written]]), 1 + len(written)
        x = {"inputs": numbers, "lengths": lengths, "decoder_inputs": fed, "decoder_lengths": tf.constant([steps])}
        shares = tf.nn.softmax(model(x))[0].numpy()
        assert probability == pytest.approx(np.prod(shares[np.arange(steps), [*written, END]]), rel=1e-4)


def test_each_row_has_its_own_beam_penalty_and_length(answer):
    asked = {
        "beam": np.array([1, 3], np.int32),
        "max_length": np.array([5, 2], np.int32),
        "length_penalty": np.array([0, 2], np.float32),
    }
    together = answer({"word": np.array(["ab", "bßa"])} | asked)
    assert together["backwards"].shape == (2, 3)
    assert together["probabilities"][0, 1:].tolist() == [0, 0]
    assert list(together["backwards"][0, 1:]) == ["", ""]
    assert np.all(np.diff(together["scores"][1]) <= 0)
    assert max(map(len, together["backwards"][1])) <= 2
    for row, word in enumerate(["ab", "bßa"]):
        alone = answer({"word": np.array([word])} | {name: value[row : row + 1] for name, value in asked.items()})
        beam = asked["beam"][row]
        assert list(together["backwards"][row, :beam]) == list(alone["backwards"][0])
        np.testing.assert_allclose(together["scores"][row, :beam], alone["scores"][0], rtol=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"beam": 0}, "beam: expected 1 to 32"),
        ({"beam": 33}, "beam: expected 1 to 32"),
        ({"max_length": 0}, "max_length: expected 1 to 5"),
        ({"max_length": 6}, "max_length: expected 1 to 5"),
        ({"length_penalty": -1}, "length_penalty: expected 0 to 10"),
        ({"length_penalty": np.nan}, "length_penalty: expected 0 to 10"),
        ({"beam": [1, 1]}, "beam: expected one for each row"),
    ],
)
def test_what_a_search_cannot_be(task, answer, setting, message):
    given = task.request(["ab"])
    ((name, value),) = setting.items()
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(given | {name: np.atleast_1d(np.array(value, given[name].dtype))})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["a", "ax"], "expected a b ß .* received.*x"),
        (["A"], "expected a b ß .* received.*A"),
        (["a", " "], "expected text, received an empty one"),
        (["a" * 6], "at most 5 in a row, each one of a b ß"),
        (np.zeros(0, str), "received an empty batch"),
    ],
)
def test_what_a_text_cannot_be(task, answer, texts, message):
    for request, signature in ((task.request(texts), "serving_default"), ({"word": np.array(texts)}, "greedy")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(request, signature)


def test_without_attention_it_answers_and_draws_nothing(task, tmp_path):
    answer = export.as_arrays(task.signatures(small_model(task, attention=None)))
    words = ["abba", "ß"]
    together = answer({"word": np.array(words)}, "greedy")
    assert together.keys() == {"backwards", "probability"}
    for row, word in enumerate(words):
        alone = answer(task.request([word]) | {"beam": np.array([1], np.int32)})
        assert together["backwards"][row] == alone["backwards"][0, 0]
    task.evaluate(answer, splits(task, ["ab"], ["ba"]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_there_is_a_sample_of_each_signature(task, answer):
    data = splits(task, ["ab", "bß"], [["ba", "bb"], ["ßb", ""]])
    sample = task.sample(None, data)
    assert sample.keys() == {"serving_default", "greedy", "logits"}
    for name, request in sample.items():
        assert all(np.all(np.isfinite(value)) for value in answer(request, name).values() if value.dtype.kind == "f")
    assert sample["greedy"]["word"].tolist() == ["ab"]
    assert task.test_request(data.test, 1)["word"].tolist() == ["bß"]
    assert task.truth(data.test, 0) == "ba or bb"
    assert task.truth(data.test, 1) == "ßb"


@pytest.mark.slow
def test_the_tables_travel_with_an_export(tmp_path):
    task = learned()
    functions, asked = task.signatures(small_model(task)), task.request(["Zwei Einhörner gehen"])
    expected = export.as_arrays(functions)(asked)
    artifact.write(tmp_path / "model", functions)
    loaded = artifact.load(tmp_path / "model")
    assert export.as_arrays(loaded.signatures)(asked)["english"].tolist() == expected["english"].tolist()


# --- for a person


def test_a_person_asks_with_a_text(task):
    assert task.read("ab")["word"].tolist() == ["ab"]
    for nonsense in ("", "x", "a" * 6):
        with pytest.raises(
            RecipeError, match=r"Expected a word of 1 to 5 of the letters a b ß .*, or test:N, received"
        ):
            task.read(nonsense)
    assert learned().read("Drei Männer")["german"].tolist() == ["Drei Männer"]
    with pytest.raises(RecipeError, match="Expected a german of 1 to 6 words, or test:N, received ''"):
        learned().read("")
    assert task.show({"backwards": [["ba", "b"]], "probabilities": [[0.98765, 0.01]]}) == "ba (probability 0.988)"


# --- figures


def told(answers, task):
    """An `answer` that gives the first of two answers to each text, and the second as the greedy one."""

    def answer(request, signature="serving_default"):
        texts = np.array([answers[text][signature == "greedy"] for text in request[task.source]])
        if signature == "greedy":
            return {task.target: texts, "attention": np.full((1, 2, len(request[task.source][0].split())), 0.5)}
        return {task.target: np.stack([texts, np.full(len(texts), "two")], axis=1)}

    return answer


def test_evaluate_measures_the_best_and_the_greedy_answers_beside_the_nearest_known(tmp_path):
    task = learned()
    columns = table(["Drei Männer", "zwei Hunde", "Über Männer", "zwei"], ["three men", "two dogs", "of men", ""], task)
    data = dataclasses.replace(splits(task), test=columns)
    answers = {
        "Drei Männer": ("three men", "two men"),
        "zwei Hunde": ("two dogs", "two dogs"),
        "Über Männer": ("about men", "about men"),
        "zwei": ("", ""),  # there is no right answer, and an empty one is none
    }
    figures = task.evaluate(told(answers, task), data, tmp_path)
    # Nearest: to "Drei Männer" and "Über Männer" it is "Über Hunde", to "zwei Hunde" it is "zwei Hunde gehen".
    assert figures == {"test_exact_match": 0.5, "greedy_exact_match": 0.25, "nearest_german": 0.0}
    assert next(iter(figures)) == "test_exact_match"
    assert (tmp_path / "attention.png").stat().st_size > 3000


def test_figures_can_be_others():
    class Shares(Translation):
        evaluated = ("greedy",)

        def figures(self, answers, references):
            words = [set(answer.split()) & set(row[0].split()) for answer, row in zip(answers, references, strict=True)]
            return {"words": float(sum(map(len, words))), "texts": float(len(answers))}

    task = learned(Shares)
    answers = {german: ("", english) for german, english in zip(GERMAN, ENGLISH, strict=True)}
    assert task.evaluate(told(answers, task), splits(task)) == {
        "test_words": 10.0,
        "nearest_german_words": 10.0,
        "test_texts": 4.0,
        "nearest_german_texts": 4.0,
    }


def test_errors_are_counted_to_the_nearest_reference():
    task = Translation(Config())
    references = np.array([["A B C", "A B D E"], ["A", ""], ["B C", "B"], ["C", ""]])
    texts, pieces = task.errors(np.array(["A B D", "", "B", "C"]), references)
    assert texts == 0.5
    assert pieces == pytest.approx((1 + 1) / (3 + 1 + 1 + 1))
    assert task.errors(np.array(["A B D E", "A", "B C", "C"]), references) == (0, 0)
    assert task.errors(np.array(["A", "A A A", "B", "C"]), references) == (0.5, pytest.approx((2 + 2) / 6))
    letters = Spelling(Config())
    assert letters.errors(np.array(["ab ß"], object), np.array([["aß", "ab b"]])) == (1, pytest.approx(1 / 4))


def test_error_rates_have_the_names_of_answers_and_pieces(task):
    rates = type("Rates", (Spelling,), {"error_rates": ("word", "letter"), "evaluated": ("greedy",)})(Config())
    data = splits(rates, ["ab", "aß"], ["ba", "ßa"])
    figures = rates.evaluate(told({"ab": ("", "ba"), "aß": ("", "ß")}, rates), data)
    assert figures == {
        "test_word_error_rate": 0.5,
        "nearest_word_word_error_rate": 0.0,
        "test_letter_error_rate": 0.25,
        "nearest_word_letter_error_rate": 0.0,
    }


def test_the_nearest_known_text_begins_with_the_most_of_the_same_letters():
    known = ["aab", "ab", "abb", "ba"]
    asked = ["abba", "a", "aaa", "bb", "ß"]
    found = [known[place] for place in sequence_to_sequence.begin_alike(asked, known)]
    assert found == ["abb", "aab", "aab", "ba", "ba"]
