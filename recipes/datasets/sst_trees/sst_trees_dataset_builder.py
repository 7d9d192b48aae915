"""sst_trees: sentences of film reviews as binary trees, with the sentiment of every phrase."""

import tensorflow_datasets as tfds

_FILES = {"train": "train", "validation": "dev", "test": "test"}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of sst_trees."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    train.txt, dev.txt and test.txt of the archive trainDevTestTrees_PTB.zip at https://nlp.stanford.edu/sentiment.
    """

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"tree": tfds.features.Text()}),
            homepage="https://nlp.stanford.edu/sentiment",
            license="not stated",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(dl_manager.manual_dir / f"{file}.txt") for split, file in _FILES.items()}

    def _generate_examples(self, path):
        # Some words hold a non-breaking space, which separates nothing.
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")):
            if line.strip(" "):
                yield number, {"tree": line.strip(" ")}
