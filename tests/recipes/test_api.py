"""Training from Python, on data of one's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import recipes
from recipes._core.command import cli

pandas = pytest.importorskip("pandas")
WORDS = {"pos": ["good", "fine", "lovely"], "neg": ["bad", "dull", "poor"]}
SMALL = {"epochs": 4, "learning_rate": 0.03}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reviews(rows=200):
    draw = np.random.default_rng(0)
    labels = [("pos", "neg")[row % 2] for row in range(rows)]
    texts = [" ".join([*draw.choice(["the", "a", "film", "plot"], 6), draw.choice(WORDS[label])]) for label in labels]
    return {"review": texts, "label": labels}


def signals(rows=120):
    draw = np.random.default_rng(0)
    sequences = [draw.normal(row % 2, size=(draw.integers(4, 9), 3)).astype("float32") for row in range(rows)]
    return {"signal": sequences, "label": [row % 2 for row in range(rows)]}


def small_model():
    return keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(6), keras.layers.Dense(2)], name="small")


@pytest.mark.slow
def test_a_frame_goes_the_whole_way(capsys):
    frame = pandas.DataFrame(reviews())
    run = recipes.train(
        "reviews", frame, task="text_classification", model="bidirectional_lstm", text="review", units=8, **SMALL
    )
    assert run.metrics["test_accuracy"] > 0.9
    assert {"card.json", "model.keras", "curves.png", "confusion_matrix.png", "metrics.csv"} <= {
        path.name for path in run.folder.iterdir()
    }
    assert run.predict("a lovely plot")[0]["label"] == ["pos"]
    assert run.evaluate() == run.metrics
    _, card = run.export()
    assert card["metrics"] == run.metrics
    capsys.readouterr()
    assert cli.main(["predict", "reviews", "the dull film"]) == 0
    assert "the dull film: neg" in capsys.readouterr().out
    assert cli.main(["promote", str(run.folder)]) == 0
    assert cli.main(["evaluate", "reviews"]) == 2
    assert "Expected the data of reviews from Python" in capsys.readouterr().err
    assert recipes.load_run(run.folder).predict("a lovely plot")[0]["label"] == ["pos"]


@pytest.mark.slow
def test_a_keras_model_of_ones_own_reads_no_padding():
    model = small_model()
    run = recipes.train("signals", signals(), task="sequence_classification", model=model, columns="signal", **SMALL)
    assert run.metrics["test_accuracy"] > 0.8
    answers = [
        run.answer({"sequences": np.pad(np.ones((1, 4, 3), "float32"), ((0, 0), (0, more), (0, 0))), "lengths": [4]})
        for more in (0, 5)
    ]
    np.testing.assert_allclose(answers[0]["logits"], answers[1]["logits"], rtol=1e-5)
    np.testing.assert_array_equal(run.model.get_weights()[0], model.get_weights()[0])


@pytest.mark.slow
def test_a_dataset_a_function_and_splits_of_ones_own():
    rows = tf.data.Dataset.from_tensor_slices(reviews())

    def build(config, task):
        tokens = keras.Input((None,), dtype="int32")
        embedded = keras.layers.Embedding(len(task.words), 8, mask_zero=True)(tokens)
        return keras.Model(tokens, keras.layers.Dense(2)(keras.layers.GRU(config.units)(embedded)))

    run = recipes.train(
        "reviews",
        rows.take(160),
        task="text_classification",
        model=build,
        validation=rows.skip(160).take(20),
        test=rows.skip(180),
        text="review",
        units=8,
        **SMALL,
    )
    assert run.metrics["test_accuracy"] > 0.9
    assert run.card["dataset"]["name"] == "reviews"


def test_a_builder_of_tfds(tmp_path):
    builder = tfds.dataset_builders.TfDataBuilder(
        name="notes",
        version="1.0.0",
        split_datasets={"train": tf.data.Dataset.from_tensor_slices(reviews(60))},
        features=tfds.features.FeaturesDict(
            {"review": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["neg", "pos"])}
        ),
        data_dir=tmp_path / "tfds",
    )
    options = {"task": "text_classification", "model": "bidirectional_lstm", "units": 4, "epochs": 1}
    run = recipes.train("notes", builder, **options)
    assert run.card["dataset"]["version"] == "1.0.0"
    assert run.card["config"]["architecture"] == "bidirectional_lstm"


@pytest.mark.slow
def test_what_is_finished_is_not_trained_again_and_what_is_not_goes_on(capsys):
    class Stop(keras.callbacks.Callback):
        is_full = True

        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1 and self.is_full:
                raise OSError("No space left on device")

    options = {"task": "sequence_classification", "columns": "signal", **SMALL}
    with pytest.raises(recipes.RecipeError, match=r"stopped: No space left on device\. Mend that"):
        recipes.train("signals", signals(), model=small_model(), callbacks=[Stop()], **options)
    with pytest.raises(recipes.RecipeError, match=r"Expected the 1 callbacks .* was started, received 0"):
        recipes.train("signals", signals(), model=small_model(), resume=True, **options)
    Stop.is_full = False
    run = recipes.train("signals", signals(), model=small_model(), callbacks=[Stop()], resume=True, **options)
    assert run.card["training"]["epochs"] == 4
    again = recipes.train("signals", signals(), model=small_model(), resume=True, **options)
    assert again.folder == run.folder
    further = recipes.train("signals", signals(), model=small_model(), warm_start=str(run.folder), **options)
    assert "Starts from" in capsys.readouterr().out
    assert further.folder != run.folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "text_clasification"}, "received 'text_clasification'. .*text_classification"),
        ({"model": "bidirectional"}, "Expected the name of an architecture, received 'bidirectional'"),
        ({"model": 3}, "a name, a keras.Model or a function, received 3"),
        ({"name": "vanilla_lstm_mnist"}, "that no page and no module of Python has, received 'vanilla_lstm_mnist'"),
        ({"name": "my reviews"}, "letters, digits and _"),
        ({"epoch": 3}, "received 'epoch'. .*epochs"),
        ({"epochs": 0}, "epochs"),
        ({"data": [1, 2]}, "a path, a dict of columns, a frame or a tf.data.Dataset, received list"),
        ({"data": {"text": ["a"], "label": ["x", "y"]}}, "columns of one length, received {'text': 1, 'label': 2}"),
        ({"data": {"text": [], "label": []}}, "Expected rows in the dict, received none"),
        ({"text": "txt"}, "a column 'txt' in the dict"),
        (
            {"data": {"text": ["a", None] * 20, "label": ["x", "y"] * 20}},
            "a text in the dict, row .*, column 'text', received None",
        ),
        ({"test": 1.5}, "test to be a share above 0 and below 100 %, or data, received 1.5"),
        ({"warm_start": "away"}, "warm_start to be the folder of a finished run or a .keras file, received away"),
    ],
)
def test_what_it_says_when_it_cannot(change, message, here):
    arguments = {
        "name": "x",
        "data": {"text": ["a", "b"] * 20, "label": ["x", "y"] * 20},
        "model": "bidirectional_lstm",
    }
    arguments |= {"task": "text_classification", "validation": 0.1} | change
    with pytest.raises(recipes.RecipeError, match=message):
        recipes.train(**arguments)
    assert not list(here.glob("runs/*/*"))
