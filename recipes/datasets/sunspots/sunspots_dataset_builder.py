"""sunspots: monthly sunspot numbers that ship in the package statsmodels."""

import hashlib
import importlib.metadata

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

_PACKAGE, _FILE = "statsmodels", "statsmodels/datasets/sunspots/src/sunspots_monthly.dat"
_SHA256 = "cc303d26340b6d599bc2878899f8c50c12323dc04b52a26ad047965ea2b9d2a3"


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of sunspots."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"year": np.int32, "month": np.int32, "sunspots": np.float32}),
            homepage="https://www.statsmodels.org/stable/datasets/generated/sunspots.html",
            license="public domain",
            disable_shuffling=True,  # a series
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # The file is on this machine.
        return {"train": self._generate_examples(self._read())}

    def _generate_examples(self, lines):
        rows = [line.split() for line in lines if line[:4].isdigit()]
        months = [(int(row[0]), month, float(number)) for row in rows for month, number in enumerate(row[1:], 1)]
        for index, (year, month, number) in enumerate(months):
            yield index, {"year": year, "month": month, "sunspots": number}

    @staticmethod
    def _read():
        """The lines of the package's table: in those of numbers, a year and its months."""
        try:
            path = importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)
        except importlib.metadata.PackageNotFoundError as error:
            raise ModuleNotFoundError(
                f"sunspots reads its numbers from the package {_PACKAGE}, which is not installed: "
                "pip install statsmodels"
            ) from error
        text = epath.Path(path).read_bytes()
        received = hashlib.sha256(text).hexdigest()
        if received != _SHA256:
            raise ValueError(f"Expected {path} to hold the numbers with sha256 {_SHA256}, received {received}.")
        return text.decode().splitlines()
