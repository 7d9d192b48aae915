"""CTC without the padding, against TensorFlow's own with lengths; and the labels read off."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

DRAW = np.random.default_rng(0)
CLASSES = 4
X = DRAW.normal(size=(4, 9, 5)).astype("float32")
LENGTHS = np.array([9, 4, 6, 3])
ROWS = [[1, 2, 2, 3], [3], [2, 1, 2], []]
LABELS = keras.utils.pad_sequences(ROWS, padding="post")


def tagger(**options):
    keras.utils.set_random_seed(0)
    return archs.bidirectional_lstm(**{"features": 5, "units": 6, "outputs": CLASSES, "lengths": True} | options)


def expected_of(logits, rows=ROWS):
    """The loss of each row without padding."""
    losses = []
    for one, row in zip(logits, rows, strict=True):
        given = {"label_length": [len(row)], "logit_length": [len(one)], "blank_index": 0, "logits_time_major": False}
        losses.append(tf.nn.ctc_loss([row or [0]], one[None], **given)[0])
    return np.array(losses)


@pytest.mark.parametrize(
    "labels", [LABELS, keras.utils.pad_sequences(ROWS, padding="pre"), np.pad(LABELS, [(0, 0), (0, 3)])]
)
def test_the_loss_is_that_of_each_row_alone(labels):
    model, x = tagger(), {"inputs": X, "lengths": LENGTHS}
    logits = [one[:n] for one, n in zip(np.asarray(model(x)), LENGTHS, strict=True)]
    expected = expected_of(logits)
    np.testing.assert_allclose(archs.losses.CTC(reduction=None)(labels, model(x)), expected, rtol=1e-5)
    model.compile(keras.optimizers.SGD(0.0), archs.losses.CTC())
    assert model.evaluate(x, labels, verbose=0) == pytest.approx(expected.mean(), rel=1e-5)
    assert model.fit(x, labels, verbose=0).history["loss"] == pytest.approx([expected.mean()], rel=1e-5)
    longer = {"inputs": np.pad(X, [(0, 0), (0, 5), (0, 0)], constant_values=7.0), "lengths": LENGTHS}
    assert model.evaluate(longer, labels, verbose=0) == pytest.approx(expected.mean(), rel=1e-5)
    weights = np.array([1.0, 0.0, 2.0, 1.0])
    received = model.evaluate(x, labels, sample_weight=weights, verbose=0)
    assert received == pytest.approx((expected * weights).mean(), rel=1e-5)


def test_without_a_mask_it_is_that_of_keras():
    model = tagger(lengths=False)
    expected = keras.losses.CTC()(LABELS, model(X))
    np.testing.assert_allclose(archs.losses.CTC()(LABELS, model(X)), expected, rtol=1e-6)
    np.testing.assert_allclose(archs.losses.CTC()(LABELS, np.asarray(model(X))), expected, rtol=1e-6)


def test_a_mask_may_leave_out_any_step():
    model = tagger(vocabulary=7, lengths=False, mask_zero=True)
    tokens = np.array([[0, 3, 1, 0, 5, 2, 4], [1, 0, 6, 3, 0, 0, 2]])
    rows = [[1, 2], [3]]
    logits = np.asarray(model(tokens))
    expected = expected_of([one[row > 0] for one, row in zip(logits, tokens, strict=True)], rows)
    labels = keras.utils.pad_sequences(rows, padding="post")
    np.testing.assert_allclose(archs.losses.CTC(reduction=None)(labels, model(tokens)), expected, rtol=1e-5)
    for row in range(2):
        alone = archs.decoding.ctc_decode(model, tokens[row : row + 1][:, tokens[row] > 0], beam=2)
        together = archs.decoding.ctc_decode(model, tokens, beam=2)
        np.testing.assert_allclose(together["log_probabilities"][row], alone["log_probabilities"][0], rtol=1e-5)


@pytest.mark.slow
def test_a_model_learns_the_labels_and_reloads(tmp_path):
    rows = [[1, 2], [2, 2], [3], [1, 3]]
    x = np.zeros((4, 12, 5), "float32")
    lengths = np.array([12, 9, 7, 12])
    for row, labels in enumerate(rows):
        for place, label in enumerate(labels):
            x[row, 1 + 3 * place : 3 + 3 * place, label] = 1.0
    model = tagger(units=12)
    model.compile(keras.optimizers.Adam(0.03), archs.losses.CTC())
    request, labels = {"inputs": x, "lengths": lengths}, keras.utils.pad_sequences(rows, padding="post")
    model.fit(request, labels, epochs=80, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.loss, archs.losses.CTC)
    for beam in (1, 4):
        found = tf.function(lambda x, beam=beam: archs.decoding.ctc_decode(loaded, x, beam=beam))(
            {"inputs": tf.constant(x), "lengths": tf.constant(lengths, "int32")}
        )
        np.testing.assert_array_equal(found["lengths"], [len(row) for row in rows])
        np.testing.assert_array_equal(found["tokens"][:, :2], labels)
        assert not np.any(found["tokens"][:, 2:])


@pytest.mark.parametrize("row", range(4))
def test_decoded_labels_have_the_probability_of_their_paths(row):
    model = tagger()
    lengths = np.minimum(LENGTHS, 5)
    x = {"inputs": X[:, :5], "lengths": lengths}
    shares = np.asarray(keras.ops.log_softmax(model(x)))[row, : lengths[row]]
    labellings = {}
    for path in itertools.product(range(CLASSES), repeat=len(shares)):
        labels = tuple(label for label, _ in itertools.groupby(path) if label)
        score = sum(share[label] for share, label in zip(shares, path, strict=True))
        labellings[labels] = np.logaddexp(labellings.get(labels, -np.inf), score)
    best = max(labellings, key=labellings.get)
    greedy = tuple(label for label, _ in itertools.groupby(shares.argmax(axis=-1)) if label)
    for beam, labels, score in ((200, best, labellings[best]), (1, greedy, shares.max(axis=-1).sum())):
        found = archs.decoding.ctc_decode(model, x, beam=beam)
        length = int(found["lengths"][row])
        assert tuple(found["tokens"][row, :length].numpy()) == labels
        assert not np.any(found["tokens"][row, length:])
        assert float(found["log_probabilities"][row]) == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3, 1], r"labels of shape \(batch, labels\), received \(4,\)"),
        (np.full((4, 1), 4), "Expected labels from 1 to 3, and 0 for padding, received 4"),
        (np.tile([[1, 2, 1, 3]], (4, 1)), "a time step for each label, .* received 3"),
        ([[1, 1, 1], [0, 0, 0], [1, 2, 1], [1, 2, 2]], "one between two equal ones; in the rows .*, received 3"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    model, x = tagger(), {"inputs": X, "lengths": LENGTHS}
    with pytest.raises(ValueError, match=message):
        archs.losses.CTC()(np.array(labels), model(x))


def test_one_answer_for_a_sequence_is_refused():
    model, x = tagger(return_sequences=False), {"inputs": X, "lengths": LENGTHS}
    with pytest.raises(ValueError, match=r"\(batch, time, classes\), received \(4, 4\). Give the model"):
        archs.losses.CTC()(LABELS, model(x))
    with pytest.raises(ValueError, match=r"\(batch, time, classes\), received \(4, 4\). Give the model"):
        archs.decoding.ctc_decode(model, x)
    with pytest.raises(ValueError, match="`beam` to be a positive integer, received 0"):
        archs.decoding.ctc_decode(tagger(), x, beam=0)


def test_labels_of_a_graph_are_checked_within_it():
    model, x = tagger(), {"inputs": X, "lengths": LENGTHS}
    model.compile("sgd", archs.losses.CTC(), jit_compile=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected labels from 1 to 3"):
        model.fit(x, np.full((4, 1), 4), verbose=0)
