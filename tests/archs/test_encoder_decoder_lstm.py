"""What is particular to encoder-decoder models: where the decoder starts, what it writes, where it looks."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import archs

END, OTHERS, LONGEST = 2, (0, 1), 4
KINDS = [(attention, ways) for attention in (None, "bahdanau", "luong") for ways in (False, True)]
RNG = np.random.default_rng(0)
X = {"inputs": RNG.integers(0, 7, (3, 5)).astype("int32"), "lengths": np.array([5, 2, 3], "int32")}


def random_model(attention="bahdanau", bidirectional=False, **options):
    options = {"lengths": True, "vocabulary": 7} | options
    model = archs.encoder_decoder_lstm(4, [6, 5], 3, attention=attention, bidirectional=bidirectional, **options)
    rng = np.random.default_rng(1)
    model.set_weights([0.7 * rng.normal(size=w.shape) for w in model.weights])
    return model


def all_sequences(model):
    """Every sequence that can be written, with its log probability, for each row of X, the most probable first."""
    written = [s for n in range(LONGEST + 1) for s in itertools.product(OTHERS, repeat=n)]
    targets = np.full((len(written), LONGEST), END)
    for row, s in zip(targets, written, strict=True):
        row[: len(s)] = s
    counted = np.minimum([len(s) + 1 for s in written], LONGEST)
    for row in range(3):
        x = {name: np.repeat(value[row : row + 1], len(written), axis=0) for name, value in X.items()}
        x["decoder_inputs"] = np.pad(targets[:, :-1], [(1, 0), (0, 0)][::-1])
        shares = keras.ops.log_softmax(model(x | {"decoder_lengths": counted}))
        gains = np.take_along_axis(np.asarray(shares), targets[..., None], axis=-1)[..., 0]
        totals = [g[:n].sum() for g, n in zip(gains, counted, strict=True)]
        yield sorted(zip(totals, written, strict=True), reverse=True)


@pytest.mark.parametrize(("attention", "bidirectional"), KINDS)
def test_a_wide_beam_finds_what_trying_everything_finds(attention, bidirectional):
    model = random_model(attention, bidirectional)
    search = tf.function(
        lambda request: archs.decoding.beam_search(model, request, start=0, end=END, max_length=LONGEST, beam=31)
    )
    found = search({name: tf.constant(value) for name, value in X.items()})
    for row, expected in enumerate(all_sequences(model)):
        for place, (total, tokens) in enumerate(expected[:5]):
            length = int(found["lengths"][row, place])
            assert tuple(found["tokens"][row, place, :length].numpy()) == tokens
            assert np.all(found["tokens"][row, place, length:] == END)
            np.testing.assert_allclose(found["log_probabilities"][row, place], total, atol=1e-4)


def test_a_beam_of_one_is_greedy_and_blind_to_other_rows():
    model = random_model()
    search = {"start": 0, "end": END, "max_length": 9}
    greedy = archs.decoding.beam_search(model, X, **search)
    for row in range(3):
        tokens, request = [0], {name: value[row : row + 1] for name, value in X.items()}
        request["inputs"] = request["inputs"][:, : request["lengths"][0]]
        while len(tokens) < 10 and tokens[-1] != END:
            x = request | {"decoder_inputs": np.array([tokens]), "decoder_lengths": np.array([len(tokens)])}
            tokens.append(int(np.argmax(model(x)[0, -1])))
        expected = [*tokens[1:], *[END] * 9][:9]
        np.testing.assert_array_equal(greedy["tokens"][row, 0], expected)
        alone = archs.decoding.beam_search(model, request, **search)
        np.testing.assert_array_equal(alone["tokens"][0], greedy["tokens"][row])


@pytest.mark.parametrize(("attention", "bidirectional"), KINDS)
def test_a_model_of_half_precision_writes_and_looks_as_it_is_trained_to(attention, bidirectional):
    model = random_model(attention, bidirectional, dtype="mixed_bfloat16")
    found = archs.decoding.beam_search(model, X, start=0, end=END, max_length=LONGEST, beam=31)
    for row, sequences in enumerate(all_sequences(model)):
        assert float(found["log_probabilities"][row, 0]) == pytest.approx(sequences[0][0], abs=0.1)
    if attention:
        looked = archs.decoding.attention(model, X, found["tokens"][:, 0])
        expected = archs.decoding.attention(random_model(attention, bidirectional), X, found["tokens"][:, 0])
        np.testing.assert_allclose(looked, expected, atol=0.05)


def test_length_penalty_orders_the_same_sequences_otherwise():
    model, search = random_model(), {"start": 0, "end": END, "max_length": LONGEST, "beam": 31}
    found = archs.decoding.beam_search(model, X, length_penalty=3.0, **search)
    values = found["log_probabilities"] / ((6.0 + tf.cast(found["lengths"], tf.float32)) / 6.0) ** 3.0
    assert np.all(np.diff(values) <= 1e-6)
    plain = archs.decoding.beam_search(model, X, **search)
    assert np.any(plain["tokens"] != found["tokens"])
    np.testing.assert_allclose(*(np.sort(a["log_probabilities"]) for a in (plain, found)), rtol=1e-6)


def test_rows_search_as_if_alone_each_with_its_own_settings():
    model, (beams, limits, penalties) = random_model(), ([1, 4, 2], [5, 2, LONGEST], [0.0, 1.0, 3.0])

    @tf.function(input_signature=[tf.TensorSpec((None,), "int32")] * 2 + [tf.TensorSpec((None,), "float32")])
    def search(beam, max_length, length_penalty):
        settings = {"beam": beam, "max_length": max_length, "length_penalty": length_penalty}
        return archs.decoding.beam_search(model, X, start=0, end=END, **settings)

    together = {name: value.numpy() for name, value in search(beams, limits, penalties).items()}
    assert together["tokens"].shape == (3, 4, 5)
    for row, (beam, limit, penalty) in enumerate(zip(beams, limits, penalties, strict=True)):
        alone = archs.decoding.beam_search(
            model, X, start=0, end=END, beam=beam, max_length=limit, length_penalty=penalty
        )
        np.testing.assert_array_equal(together["tokens"][row, :beam, :limit], alone["tokens"][row])
        assert np.all(together["tokens"][row, :, limit:] == END)
        for name in ("lengths", "log_probabilities"):
            np.testing.assert_allclose(together[name][row, :beam], alone[name][row], atol=1e-5)
        assert np.all(together["log_probabilities"][row, beam:] <= -1e9)
        assert np.all(together["lengths"][row, beam:] == 0)


def test_a_beam_wider_than_there_are_sequences_is_filled_up_with_empty_ones():
    model, limits = random_model(), np.array([1, 2, LONGEST])
    found = archs.decoding.beam_search(
        model, X, start=0, end=END, beam=np.array([40, 39, 40]), max_length=limits, length_penalty=1
    )
    tokens, scores = (found[name].numpy() for name in ("tokens", "log_probabilities"))
    for row, (count, limit) in enumerate(zip((3, 7, 31), limits, strict=True)):
        assert np.all(scores[row, :count] > -1e3)
        assert np.all(scores[row, count:] == -1e9)
        assert np.all(tokens[row, count:] == END)
        assert np.all(tokens[row, :, limit:] == END)
        assert len({tuple(sequence) for sequence in tokens[row, :count]}) == count


@pytest.mark.parametrize("attention", ["bahdanau", "luong"])
def test_attention_is_what_the_decoder_read(attention):
    model = random_model(attention)
    decoder_inputs = RNG.integers(0, 3, (3, 6))
    weights = np.asarray(tf.function(archs.decoding.attention)(model, X, tf.constant(decoder_inputs)))
    assert weights.shape == (3, 6, 5)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, atol=1e-5)
    assert np.all(weights[1, :, 2:] == 0)
    assert np.ptp(weights[0], axis=0).max() > 1e-3
    decoder, encoded = model.get_layer("decoder_2").cell, model.get_layer("encoder")(X)
    decoder.memorize(encoded["memory"], encoded["mask"])
    x = model.get_layer("decoder_embedding")(decoder_inputs[:, 0])
    old = list(encoded["states"][1])
    _, new = decoder(model.get_layer("decoder_1").cell(x, list(encoded["states"][0]))[0], old)
    np.testing.assert_allclose(decoder.alignment(old, new), weights[:, 0], atol=1e-6)


def test_without_attention_only_the_final_states_pass():
    model = random_model(None)
    encoded = model.get_layer("encoder")(X)
    assert list(encoded) == ["states"]
    assert [len(states) for states in encoded["states"]] == [2, 2]
    with pytest.raises(ValueError, match="Expected a model with attention"):
        archs.decoding.attention(model, X, np.zeros((3, 1)))


def test_a_reloaded_model_writes_the_same(tmp_path):
    model = random_model("luong", True, dropout=0.2, recurrent_dropout=0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    search = {"start": 0, "end": END, "max_length": LONGEST, "beam": 3}
    first, second = (archs.decoding.beam_search(m, X, **search)["log_probabilities"] for m in (model, loaded))
    np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize(("attention", "bidirectional"), KINDS)
def test_token_zero_is_padding_for_the_encoder_and_the_decoder(attention, bidirectional):
    model = random_model(attention, bidirectional, lengths=False, mask_zero=True)
    rows = [np.array([3, 1, 4]), np.array([5]), np.array([2, 6, 5, 3])]
    written = [np.array([1, 2, 1]), np.array([2]), np.array([1, 1])]
    x, fed = keras.utils.pad_sequences(rows), keras.utils.pad_sequences(written)
    together = np.asarray(model({"inputs": x, "decoder_inputs": fed}))
    found = archs.decoding.beam_search(model, x, start=1, end=END, max_length=LONGEST, beam=3)
    looked = archs.decoding.attention(model, x, fed) if attention else None
    for i, (row, after) in enumerate(zip(rows, written, strict=True)):
        alone = model({"inputs": row[None], "decoder_inputs": after[None]})
        np.testing.assert_allclose(together[i, -len(after) :], alone[0], atol=1e-5)
        one = archs.decoding.beam_search(model, row[None], start=1, end=END, max_length=LONGEST, beam=3)
        np.testing.assert_array_equal(one["tokens"][0], found["tokens"][i])
        np.testing.assert_allclose(one["log_probabilities"][0], found["log_probabilities"][i], atol=1e-5)
        if attention:
            seen = archs.decoding.attention(model, row[None], after[None])
            np.testing.assert_allclose(looked[i, -len(after) :, -len(row) :], seen[0], atol=1e-5)
    with pytest.raises(ValueError, match="`start` to be an integer from 1 to 2, received 0"):
        archs.decoding.beam_search(model, x, start=0, end=END, max_length=LONGEST)


def test_cells_of_others_write_without_attention():
    model = random_model(None, cell=keras.layers.GRUCell)
    found = archs.decoding.beam_search(model, X, start=0, end=END, max_length=LONGEST, beam=31)
    for row, expected in enumerate(all_sequences(model)):
        np.testing.assert_allclose(found["log_probabilities"][row, 0], expected[0][0], atol=1e-4)


def test_a_request_is_what_the_encoder_takes():
    model, search = random_model(), {"start": 0, "end": END, "max_length": LONGEST}
    for wrong, message in [
        (X["inputs"], "a dict of inputs and lengths, received ndarray"),
        ({"inputs": X["inputs"]}, r"a dict of inputs and lengths, received \['inputs'\]"),
        (X | {"lengths": [5, 6, 1]}, "Expected lengths from 0 to the number of time steps, received 6"),
        (X | {"inputs": X["inputs"] + 7}, "Expected tokens from 0 to 6, received"),
        (X | {"inputs": [[1, 2], [3], [4]]}, "lists of different lengths"),
        (X | {"inputs": [1, 2, 3]}, r"`inputs` of shape \(batch, time\), none of them 0, received \(3,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            archs.decoding.beam_search(model, wrong, **search)
        with pytest.raises(ValueError, match=message):
            archs.decoding.attention(model, wrong, np.zeros((3, 2), int))
    for wrong, message in [
        ([0, 1], r"`decoder_inputs` of shape \(batch, steps\)"),
        ([[0.5, 1]] * 3, "`decoder_inputs` to be integers, received float64"),
        ([[0, 1]], "`decoder_inputs` of the 3 rows of the request, received 1"),
        ([[0, 3]] * 3, "Expected tokens from 0 to 2, received 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            archs.decoding.attention(model, X, wrong)


def test_settings_of_a_search_may_be_lists():
    model, search = random_model(), {"start": 0, "end": END}
    settings = {"beam": [1, 4, 2], "max_length": [5, 2, 3], "length_penalty": [0.0, 1.0, 3.0]}
    found = archs.decoding.beam_search(model, X, **search, **settings)
    arrays = {name: np.array(values) for name, values in settings.items()}
    expected = archs.decoding.beam_search(model, X, **search, **arrays)
    np.testing.assert_array_equal(found["tokens"], expected["tokens"])


def test_other_models_and_values_are_refused():
    vanilla = archs.vanilla_lstm(4, 6, 2)
    with pytest.raises(ValueError, match="Expected a model of `encoder_decoder_lstm`"):
        archs.decoding.beam_search(vanilla, X, start=0, end=1, max_length=3)
    for wrong in (
        {"beam": 0},
        {"beam": 1.5},
        {"beam": [1, 0, 2]},
        {"beam": [1, 2]},
        {"max_length": 0},
        {"max_length": True},
        {"max_length": np.array([1.5, 2.0, 3.0])},
        {"end": 3},
        {"end": True},
        {"start": -1},
        {"start": 1.5},
        {"start": None},
        {"length_penalty": float("nan")},
        {"length_penalty": "long"},
        {"length_penalty": [1.0, 2.0]},
        {"length_penalty": ["a", "b", "c"]},
        {"length_penalty": tf.constant([1.0, float("inf"), 0.0])},
    ):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
            archs.decoding.beam_search(random_model(), X, **{"start": 0, "end": END, "max_length": 3} | wrong)
    with pytest.raises(ValueError, match=r"'bahdanau', 'luong', received 'dot'"):
        archs.encoder_decoder_lstm(4, 6, 3, attention="dot")
