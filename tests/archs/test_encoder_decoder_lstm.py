"""Encoder-decoder models: where the decoder starts, what it writes, where it looks."""

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


@pytest.mark.sampled(3)
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


@pytest.mark.sampled(3)
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


MECHANISMS = [
    {"attention": "luong_dot"},
    {"attention": "luong_concat", "coverage": "fertility"},
    {"heads": 5, "coverage": "score", "bidirectional": True},
    {"attention": "luong", "local": "predictive", "window": 2, "decoder_units": [6, 4]},
    {"local": "monotonic", "window": 1},
]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("options", MECHANISMS)
def test_a_model_writes_and_looks_by_any_mechanism_of_attention(options, tmp_path):
    model = random_model(**options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    search = tf.function(
        lambda request: archs.decoding.beam_search(loaded, request, start=0, end=END, max_length=LONGEST, beam=31)
    )
    found = search({name: tf.constant(value) for name, value in X.items()})
    for row, expected in enumerate(all_sequences(model)):
        np.testing.assert_allclose(found["log_probabilities"][row, :5], [total for total, _ in expected[:5]], atol=1e-4)
    weights = np.asarray(archs.decoding.attention(model, X, RNG.integers(0, 3, (3, 6))))
    assert np.all(weights[np.broadcast_to(np.arange(5) >= X["lengths"][:, None, None], weights.shape)] == 0)
    assert np.all(weights.sum(axis=-1) < 1 + 1e-5)


@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_the_loss_of_coverage_is_added_in_training_alone(factor):
    model = random_model(coverage="score", coverage_loss=factor)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss)
    fed, counts = RNG.integers(0, 3, (3, 6)), np.array([6, 2, 4])
    x, y = X | {"decoder_inputs": fed, "decoder_lengths": counts}, RNG.integers(0, 3, (3, 6))
    inside = np.arange(6) < counts[:, None]
    entropy = float(loss(y[inside], np.asarray(model(x))[inside]))
    alpha = np.asarray(archs.decoding.attention(model, X, fed))
    again = np.minimum(alpha, np.cumsum(alpha, axis=1) - alpha).sum(axis=-1)
    added = factor * np.where(inside, again, 0).sum() / counts.sum()
    assert model.evaluate(x, y, verbose=0) == pytest.approx(entropy, rel=1e-5)
    assert model.fit(x, y, verbose=0).history["loss"] == pytest.approx([entropy + added], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"attention": None, "heads": 2},
            "Expected `heads`, `local`, `window` and `coverage` with an `attention`, received",
        ),
        ({"attention": "luong", "coverage": "score"}, "'bahdanau' or 'luong_concat' with `coverage='score'`"),
        ({"coverage": "sum"}, "`coverage` to be one of None, 'score', 'fertility', received 'sum'"),
        ({"coverage": "score", "coverage_loss": -1}, "`coverage_loss` to be 0 or more, received -1"),
        (
            {"attention": "luong_dot", "bidirectional": True},
            "a memory of size 6, as the output of the cell, .* received 12",
        ),
        ({"heads": 4}, "`heads` to divide 6, the size of a query, and 6, that of the memory, received 4"),
    ],
)
def test_attention_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        archs.encoder_decoder_lstm(4, 6, 3, **options)


@pytest.mark.sampled(3)
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


def test_what_is_never_to_be_written_is_not():
    model = random_model()
    found = archs.decoding.beam_search(model, X, start=0, end=END, max_length=LONGEST, beam=8, never=[1])
    for row, expected in enumerate(all_sequences(model)):
        rest = [(total, written) for total, written in expected if 1 not in written]
        assert len(rest) == LONGEST + 1
        np.testing.assert_allclose(
            found["log_probabilities"][row, : len(rest)], [total for total, _ in rest], rtol=1e-4
        )
        assert np.all(found["log_probabilities"][row, len(rest) :] == -1e9)
        for tokens, (_, written) in zip(found["tokens"][row], rest, strict=False):
            assert [int(token) for token in tokens if token != END] == list(written)
    assert not np.any(found["tokens"] == 1)


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
        {"never": [0, 3]},
        {"never": [END]},
    ):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
            archs.decoding.beam_search(random_model(), X, **{"start": 0, "end": END, "max_length": 3} | wrong)
    with pytest.raises(ValueError, match=r"'luong_dot', 'luong_concat', received 'dot'"):
        archs.encoder_decoder_lstm(4, 6, 3, attention="dot")


@pytest.mark.sampled(3)
@pytest.mark.parametrize("attention", [None, "bahdanau", "luong"])
@pytest.mark.parametrize(("sizes", "heights"), [([5], [1]), ([7, 5], [0, 1]), ([6, 6, 5], [0, 0, 1])])
def test_a_decoder_of_other_sizes_starts_from_bridged_states(attention, sizes, heights, tmp_path):
    model = random_model(attention, decoder_units=sizes)
    cells = [model.get_layer(f"decoder_{number}").cell for number in range(1, len(sizes) + 1)]
    assert [cell.units for cell in cells] == sizes
    encoder = model.get_layer("encoder")
    names = {layer.name for layer in encoder.layers}
    finals = keras.Model(encoder.input, [encoder.get_layer(f"encoder_{n}").output[1:] for n in (1, 2)])(X)
    starts = encoder(X)["states"]
    for number, (size, height) in enumerate(zip(sizes, heights, strict=True), 1):
        start = starts[number - 1][-2:]  # the first of one that attends is what it read
        for name, state, final in zip("hc", start, finals[height], strict=True):
            bridge, is_other = f"bridge_{number}_{name}", final.shape[-1] != size
            assert (bridge in names) == is_other
            expected = final
            if is_other:
                kernel, bias = encoder.get_layer(bridge).get_weights()
                expected = np.tanh(np.asarray(final) @ kernel + bias)
            np.testing.assert_allclose(state, expected, atol=1e-5)
    model.save(tmp_path / "model.keras")
    search = {"start": 0, "end": END, "max_length": LONGEST, "beam": 31}
    found = archs.decoding.beam_search(keras.saving.load_model(tmp_path / "model.keras"), X, **search)
    for row, expected in enumerate(all_sequences(model)):
        np.testing.assert_allclose(found["log_probabilities"][row, 0], expected[0][0], atol=1e-4)


def test_a_decoder_of_the_same_sizes_has_no_bridge():
    model = random_model(decoder_units=[6, 5])
    assert not any(layer.name.startswith("bridge") for layer in model.get_layer("encoder").layers)
    other = random_model()
    assert [layer.name for layer in model.layers] == [layer.name for layer in other.layers]
    x = X | {"decoder_inputs": np.zeros((3, 4), int), "decoder_lengths": np.array([4, 4, 4])}
    np.testing.assert_array_equal(model(x), other(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder_units": 0}, "`units` to be a positive integer, received 0"),
        ({"decoder_units": []}, "Expected a list of `units` and of `cell`"),
        (
            {"decoder_units": 5, "cell": "slstm"},
            "sizes of the encoder with SLSTMCell, .* c, n, m are one memory, received 5",
        ),
        ({"decoder_features": 0}, "`decoder_features` to be a positive integer, received 0"),
        ({"decoder_features": (3, 4)}, r"`decoder_features` to be a positive integer, received \(3, 4\)"),
    ],
)
def test_a_decoder_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        archs.encoder_decoder_lstm(4, 6, 3, **options)


def test_clocks_are_not_bridged():
    model = archs.encoder_decoder_lstm(4, 6, 3, cell="phased_lstm", decoder_units=5, attention=None)
    names = [layer.name for layer in model.get_layer("encoder").layers if layer.name.startswith("bridge")]
    assert names == ["bridge_1_h", "bridge_1_c"]


def test_a_decoder_of_vectors_forecasts_with_what_is_known():
    model = archs.encoder_decoder_lstm(1, 8, 1, decoder_features=2, lengths=True)
    rng = np.random.default_rng(0)
    known = rng.normal(size=(64, 5, 2)).astype("float32")
    x = {"inputs": rng.normal(size=(64, 6, 1)), "lengths": rng.integers(1, 7, 64)}
    x |= {"decoder_inputs": known, "decoder_lengths": np.full(64, 5)}
    model.compile(keras.optimizers.Adam(0.02), "mse")
    y = known.sum(axis=-1, keepdims=True)
    losses = model.fit(x, y, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.2 * losses[0]
    changed = x | {"decoder_inputs": np.where(np.arange(5)[:, None] < 3, known, 9.0)}
    np.testing.assert_allclose(model(changed)[:, :3], model(x)[:, :3], atol=1e-5)
    request = {"inputs": x["inputs"], "lengths": x["lengths"]}
    for call in (
        lambda: archs.decoding.beam_search(model, request, start=0, end=0, max_length=3),
        lambda: archs.decoding.sample(model, request, start=0, end=0, max_length=3),
        lambda: archs.decoding.attention(model, request, [[0]] * 64),
    ):
        with pytest.raises(
            ValueError, match=r"whose decoder reads vectors \(`decoder_features`\). A call of the model"
        ):
            call()


@pytest.mark.sampled(3)
@pytest.mark.parametrize(("attention", "bidirectional"), KINDS)
def test_samples_are_drawn_by_the_probabilities_of_their_tokens(attention, bidirectional):
    model, count = random_model(attention, bidirectional), 2000
    request = {name: np.repeat(value[1:2], count, axis=0) for name, value in X.items()}
    draw = tf.function(
        lambda x: archs.decoding.sample(model, x, start=0, end=END, max_length=LONGEST, seed=np.arange(count))
    )
    found = {name: value.numpy() for name, value in draw(request).items()}
    _, sequences, _ = all_sequences(model)
    shares = {tokens: np.exp(total) for total, tokens in sequences}
    drawn = [tuple(row[:n]) for row, n in zip(found["tokens"], found["lengths"], strict=True)]
    for tokens, share in shares.items():
        assert drawn.count(tokens) / count == pytest.approx(share, abs=0.04)
    for tokens, score in zip(drawn, found["log_probabilities"], strict=True):
        assert score == pytest.approx(np.log(shares[tokens]), abs=1e-3)
    assert all(np.all(row[n:] == END) for row, n in zip(found["tokens"], found["lengths"], strict=True))


def test_a_row_is_sampled_by_its_own_settings():
    model, limits, seeds = random_model(), np.array([LONGEST, 2, 3]), np.array([5, 6, 7])
    settings = {"temperature": [0.5, 1.0, 2.0], "top_k": [0, 2, 0], "top_p": [0.9, 1.0, 0.5]}
    given = {"start": 0, "end": END}
    together = archs.decoding.sample(model, X, max_length=limits, seed=seeds, **settings, **given)
    for row in range(3):
        alone = archs.decoding.sample(
            model,
            {name: value[row : row + 1] for name, value in X.items()},
            max_length=int(limits[row]),
            seed=int(seeds[row]),
            **{name: values[row] for name, values in settings.items()},
            **given,
        )
        np.testing.assert_array_equal(together["tokens"][row, : limits[row]], alone["tokens"][0])
        assert np.all(together["tokens"][row, limits[row] :] == END)
        np.testing.assert_allclose(together["log_probabilities"][row], alone["log_probabilities"][0], atol=1e-5)
    greedy = archs.decoding.beam_search(model, X, max_length=LONGEST, **given)
    likeliest = archs.decoding.sample(model, X, max_length=LONGEST, top_k=1, **given)
    for name, values in likeliest.items():
        np.testing.assert_allclose(values, greedy[name][:, 0], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"`temperature` to be a positive number .*`top_k=1`\), received 0"),
        ({"top_p": [0.5, 1.0]}, r"Expected one `top_p`, or one for each row, received \(2,\)"),
        ({"seed": 0.5}, r"`seed` to be an integer of 64 bits, received 0\.5"),
        ({"max_length": 0}, "`max_length` to be a positive integer, received 0"),
        ({"start": 3}, "`start` to be an integer from 0 to 2, received 3"),
    ],
)
def test_settings_of_a_sample_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        archs.decoding.sample(random_model(), X, **{"start": 0, "end": END, "max_length": 3} | settings)


def test_logits_that_are_not_finite_are_not_drawn_from():
    model = random_model()
    model.get_layer("outputs").bias.assign([0, float("nan"), 0])
    with pytest.raises(ValueError, match="Expected the largest logit of a row to be finite, received nan"):
        archs.decoding.sample(model, X, start=0, end=END, max_length=3)
