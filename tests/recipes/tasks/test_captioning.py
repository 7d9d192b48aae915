"""The task of captions: vocabulary, batches, signatures, figures, for any pictures with captions."""

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
from recipes._core.evaluate.bleu import bleu
from recipes._core.export import export
from recipes.tasks.captioning import UNKNOWN, Captioning, exact, in_boxes

SIDE = 12
CONFIG = types.SimpleNamespace(side=SIDE, beam=2, batch_size=2, learning_rate=1e-3, clipnorm=1.0, seed=0)
CAPTIONS = [["A dog, left of a cat.", "a Dog and a cat."], ["a cat.", ""], ["a dog.", "A cat on a mat."]]


class Small(Captioning):
    longest, min_count, several = 8, 2, 2
    names = ("dog", "cat")


class Coloured(Small):
    in_colours = True


def columns(*colours, captions=CAPTIONS):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (len(captions), SIDE, SIDE, *colours), np.uint8)
    return {"image": images, "caption": tf.constant(captions)}


def learned(task=Small, *colours):
    task, known = task(CONFIG), columns(*colours)
    task.learn(batching.Splits(known, known, known, {}))
    return task


def small_model(task, hard=False):
    keras.utils.set_random_seed(0)
    return archs.attention_captioner(
        features=(SIDE, SIDE, 3 if task.in_colours else 1),
        units=6,
        outputs=len(task.vocabulary),
        filters=[4, 5],
        hard=hard,
        lengths=True,
    )


@pytest.fixture(scope="module")
def task():
    return learned()


@pytest.fixture(scope="module")
def model(task):
    model = small_model(task)
    draw = np.random.default_rng(1)
    for weight in model.trainable_weights:  # so that words, and where they look, differ
        weight.assign(draw.normal(size=weight.shape) * 1.5 / np.sqrt(weight.shape[0]))
    return model


@pytest.fixture(scope="module")
def answer(task, model):
    return export.as_arrays(task.signatures(model))


def test_a_vocabulary_is_of_small_words_and_marks_that_are_frequent(task):
    assert task.pieces == [UNKNOWN, "a", ".", "cat", "dog"]
    numbers = task.vocabulary.numbers(task.words(tf.constant(["A Dog, a HORSE."])))
    assert numbers.to_list() == [[2, 5, 1, 2, 1, 3]]
    assert task.written(tf.constant([[2, 5, 3, 0]])).numpy().tolist() == [b"a dog."]


def test_what_is_kept_is_enough_to_answer_without_the_data(task, model, answer):
    other = Small(CONFIG)
    other.restore(task.state())
    request = task.test_request(columns(), 1)
    expected, received = answer(request), export.as_arrays(other.signatures(model))(request)
    for name, value in expected.items():
        np.testing.assert_array_equal(received[name], value)
    assert task.state() == {"pieces": task.pieces}


def test_captions_of_any_lengths_share_a_batch_where_they_are_mixed():
    data = columns(captions=[["a dog."], ["a cat and a dog."]] * 20)
    kinds = {}
    for batches in ("sorted", "mixed"):
        task = Small(types.SimpleNamespace(**vars(CONFIG) | {"batches": batches}))
        task.learn(batching.Splits(data, data, data, {}))
        for training in (True, False):
            epoch = task.batches(data, training).epoch().as_numpy_iterator()
            kinds[batches, training] = [len(set(inputs["decoder_lengths"])) for inputs, _ in epoch]
    assert max(kinds["mixed", True]) == 2
    assert max(kinds["sorted", True]) == max(kinds["mixed", False]) == max(kinds["sorted", False]) == 1


@pytest.mark.parametrize(("kind", "colours"), [(Small, ()), (Coloured, (3,))])
def test_each_caption_is_an_example_with_its_picture(kind, colours):
    task, data = learned(kind, *colours), columns(*colours)
    seen = []
    for inputs, targets in task.batches(data).epoch().as_numpy_iterator():
        for image, fed, length, target in zip(
            inputs["inputs"], inputs["decoder_inputs"], inputs["decoder_lengths"], targets, strict=True
        ):
            assert fed[0] == 0
            np.testing.assert_array_equal(fed[1:], target[:-1])
            assert (target[: length - 1] > 0).all()
            assert (target[length - 1 :] == 0).all()
            assert image.shape == (SIDE, SIDE, 3 if colours else 1)
            (place,) = (n for n, one in enumerate(data["image"]) if np.allclose(one.ravel() / 255, image.ravel()))
            seen.append((place, tuple(target[: length - 1])))
    expected = [
        (number, tuple(task.vocabulary.numbers(task.words(tf.constant([text])))[0, :8].numpy()))
        for number, texts in enumerate(CAPTIONS)
        for text in texts
        if text
    ]
    assert sorted(seen) == sorted(expected)
    assert [len(words) for _, words in seen] == sorted(len(words) for _, words in expected)
    first, again = (
        np.concatenate([inputs["inputs"] for inputs, _ in task.batches(data, training=True).epoch(0)]) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("hard", [False, True])
def test_a_few_steps_of_training_learn_the_captions_of_pictures(hard):
    task, data = Small(types.SimpleNamespace(**vars(CONFIG) | {"learning_rate": 0.02})), columns()
    task.learn(batching.Splits(data, data, data, {}))
    model = small_model(task, hard)
    task.compile(model, steps=10**9)
    batch = next(iter(batching.Batches(task.batches(data).columns, 5, task.batches(data).transform).epoch()))
    before = model.test_on_batch(*batch, return_dict=True)["loss"]
    for _ in range(30):
        assert np.isfinite(model.train_on_batch(*batch, return_dict=True)["loss"])
    assert model.test_on_batch(*batch, return_dict=True)["loss"] < 0.6 * before


def test_the_best_caption_has_its_probability_and_its_words_where_they_looked(task, model, answer):
    data = columns()
    given = answer(task.request(data["image"]))
    assert given["caption"].shape == given["probabilities"].shape == given["scores"].shape == (3, 2)
    assert given["attention"].shape[2:] == (3, 3)
    assert (np.diff(given["scores"], axis=1) <= 0).all()
    for row in range(3):
        words = [word for word in given["words"][row] if word]
        assert UNKNOWN not in words
        tokens = [1 + task.pieces.index(word) for word in words]
        assert task.written(tf.constant([tokens])).numpy()[0].decode() == given["caption"][row, 0]
        np.testing.assert_allclose(given["attention"][row, : len(words)].sum(axis=(1, 2)), 1, rtol=1e-5)
        assert not given["attention"][row, len(words) :].any()
        asked = {
            "inputs": task.preprocess(tf.constant(data["image"][row : row + 1])).numpy(),
            "decoder_inputs": np.array([[0, *tokens]], np.int32),
            "decoder_lengths": np.array([len(tokens) + 1], np.int32),
        }
        logits = answer(asked, "logits")["logits"][0].astype(float)
        costs = np.log(np.exp(logits).sum(axis=1)) - logits[range(len(tokens) + 1), [*tokens, 0]]
        costs = costs[: task.longest]  # one that is cut off has no end
        assert -np.log(given["probabilities"][row, 0]) == pytest.approx(costs.sum(), rel=1e-4)
        looked = archs.decoding.attention(model, {"inputs": asked["inputs"]}, asked["decoder_inputs"][:, :-1])
        np.testing.assert_allclose(given["attention"][row, : len(words)].reshape(len(words), 9), looked[0], atol=1e-6)


def test_an_answer_is_that_of_its_picture_alone_whatever_the_beam_of_others(task, answer):
    images = columns()["image"]
    settings = {"beam": [1, 3, 2], "max_length": [8, 2, 5]}
    request = task.request(images) | {name: np.array(values, np.int32) for name, values in settings.items()}
    together = answer(request)
    for row in range(3):
        alone = answer({name: values[row : row + 1] for name, values in request.items()})
        beam, steps = settings["beam"][row], alone["words"].shape[1]
        np.testing.assert_array_equal(alone["caption"][0], together["caption"][row, :beam])
        np.testing.assert_allclose(alone["probabilities"][0], together["probabilities"][row, :beam], rtol=1e-5)
        np.testing.assert_allclose(alone["attention"][0], together["attention"][row, :steps], atol=1e-6)
        assert not together["probabilities"][row, beam:].any()
        assert len(alone["caption"][0, 0].replace(".", " .").split()) <= settings["max_length"][row]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beam": [0]}, "beam: expected 1 to 32"),
        ({"beam": [33]}, "beam: expected 1 to 32"),
        ({"max_length": [9]}, "max_length: expected 1 to 8"),
        ({"length_penalty": [-1.0]}, "length_penalty: expected 0 to 10"),
        ({"beam": [1, 1]}, "beam: expected one for each row"),
        ({"image": np.zeros((0, SIDE, SIDE)), "beam": [], "max_length": [], "length_penalty": []}, "empty batch"),
    ],
)
def test_nonsense_is_refused_with_words(task, answer, changed, message):
    request = task.test_request(columns(), 0)
    request |= {name: np.array(value, request[name].dtype) for name, value in changed.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        answer(request)


@pytest.mark.parametrize("shape", [(SIDE, SIDE), (1, SIDE, SIDE + 1), (1, SIDE, SIDE, 1), (1, SIDE, SIDE, 3)])
def test_a_picture_of_another_rank_or_size_is_refused(task, answer, shape):
    with pytest.raises((TypeError, ValueError)):
        answer(task.test_request(columns(), 0) | {"image": np.zeros(shape, np.uint8)})


def test_numbers_that_are_none_are_refused(task, answer):
    (inputs, _) = next(iter(task.batches(columns()).epoch()))
    request = {name: np.array(value) for name, value in inputs.items()}
    answer(request, "logits")
    request["inputs"][0, 3, 4, 0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs: expected finite numbers"):
        answer(request, "logits")


def test_a_caption_is_right_if_it_is_one_of_the_references(task):
    references = task.references(columns())
    assert references.tolist()[:2] == [["a dog, left of a cat.", "a dog and a cat."], ["a cat.", ""]]
    captions = np.array(["a dog and a cat.", "", "a mat."], object)
    assert exact(captions, references).tolist() == [True, False, False]


def test_the_share_of_weights_in_boxes_by_hand():
    maps = np.zeros((2, 4, 2, 4))
    maps[0, 1, 0, 1], maps[0, 1, 1, 3] = 0.75, 0.25
    maps[0, 3, 1] = 0.25
    maps[1, 0, 0, 0] = 1
    words = np.array([["a", "dog", "a", "cat"], ["cat", "", "", ""]])
    boxes = np.array([[[0, 0, 0.5, 0.375], [0.5, 0, 1, 1]], [[0.25, 0.125, 0.75, 0.5], [0, 0, 0, 0]]])
    masses, areas = in_boxes(words, maps, boxes, ("dog", "cat"))
    np.testing.assert_allclose(masses, [0.75 / 2, 1, 0.25])
    np.testing.assert_allclose(areas, [0.1875, 0.5, 0.1875])


def test_the_nearest_picture():
    known = np.random.default_rng(0).integers(0, 256, (600, 40, 40), np.uint8)
    order = np.random.default_rng(1).permutation(600)[:510]
    np.testing.assert_array_equal(baselines.nearest_picture(known, known[order] // 2 + 64), order)


def test_evaluate_by_hand(task, tmp_path):
    train = columns(captions=[["a cat.", ""]] * 2 + [["a dog.", "a dog on a mat."]])
    test = columns() | {"image": train["image"][::-1], "boxes": np.zeros((3, 2, 4), np.float32)}
    test["boxes"][:, :, 2:] = 0.5
    captions = np.array([["a dog, left of a cat.", ""], ["a dog.", ""], ["a cat on a mat.", ""]])
    given = {image.tobytes(): row for row, image in enumerate(test["image"])}

    def answer(request):
        rows = [given[image.tobytes()] for image in request["image"]]
        words = [[*task.words(tf.constant(captions[row, :1]))[0].numpy().astype("U"), *[""] * 8][:8] for row in rows]
        attention = np.zeros((len(rows), 8, 2, 2), np.float32)
        attention[:, :, 0, 0], attention[:, :, 1, 0] = 0.9, 0.1
        return {"caption": captions[rows], "words": np.array(words), "attention": attention}

    metrics = task.evaluate(answer, batching.Splits(train, train, test, {}), tmp_path)
    references = task.references(test)
    assert list(metrics)[:5] == ["exact_match", "bleu_1", "bleu_2", "bleu_3", "bleu_4"]
    assert metrics["exact_match"] == pytest.approx(2 / 3)
    for order in (1, 4):
        assert metrics[f"bleu_{order}"] == pytest.approx(bleu(captions[:, 0], references, order) / 100)
    assert metrics["bleu_1"] > metrics["bleu_4"]
    assert metrics["attention_in_box"] == pytest.approx(0.9)
    assert metrics["area_of_box"] == pytest.approx(0.25)
    assert metrics["most_frequent_caption"] == pytest.approx(1 / 3)
    assert metrics["nearest_picture"] == pytest.approx(1 / 3)  # "a dog.", "a cat.", "a cat."
    assert np.asarray(Image.open(tmp_path / "glimpses.png").convert("L")).std() > 10
    del test["boxes"]
    other = type("Other", (Small,), {"counts": "bleu_4"})(CONFIG)
    other.restore(task.state())
    others = other.evaluate(answer, batching.Splits(train, train, test, {}))
    assert next(iter(others)) == "bleu_4"
    assert others == {name: value for name, value in metrics.items() if name not in ("attention_in_box", "area_of_box")}


def test_pictures_of_a_person(tmp_path):
    drawing = np.full((60, 40, 3), 250, np.uint8)
    drawing[10:30, 20:24] = (10, 0, 60)
    Image.fromarray(drawing).save(tmp_path / "drawing.png")
    image = learned().read(str(tmp_path / "drawing.png"))["image"][0]
    assert image.shape == (SIDE, SIDE)
    assert image.max() > 150
    assert image[:2].max() == image[:, :3].max() == image[7:].max() == 0
    assert learned(Coloured, 3).read(str(tmp_path / "drawing.png"))["image"].shape == (1, SIDE, SIDE, 3)
    Image.fromarray(image).save(tmp_path / "same.png")
    np.testing.assert_array_equal(learned().read(str(tmp_path / "same.png"))["image"][0], image)
    Image.fromarray(drawing[40:]).save(tmp_path / "blank.png")
    with pytest.raises(RecipeError, match=r"Expected a drawing, but .* is blank"):
        learned().read(str(tmp_path / "blank.png"))
    for task in (learned(), learned(Coloured, 3)):
        with pytest.raises(RecipeError, match=r"Expected the path of a picture or test:N, received 'none.png'"):
            task.read("none.png")


def test_answers_and_truths_are_shown(task):
    answer = {"caption": [["a dog.", "a cat."]], "probabilities": [[0.75, 0.1]]}
    assert task.show(answer) == "a dog. (probability 0.750)"
    assert task.truth(columns(), 0) == "A dog, left of a cat. or a Dog and a cat."
    assert task.truth(columns(), 1) == "a cat."
