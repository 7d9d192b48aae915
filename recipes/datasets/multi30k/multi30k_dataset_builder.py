"""multi30k: descriptions of pictures in English, and their translations into German and French."""

import gzip

import tensorflow_datasets as tfds
from etils import epath

_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/{}.{}.gz"
_LANGUAGES = ("de", "en", "fr")
_FILES = {"train": "train", "validation": "val", "test": "test_2016_flickr", "test_2017": "test_2017_flickr"}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of multi30k."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        return self.dataset_info_from_configs(
            features=tfds.features.Translation(languages=_LANGUAGES),
            homepage="https://github.com/multi30k/dataset",
            license="CC BY-NC-SA 4.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        urls = {
            split: {language: _URL.format(file, language) for language in _LANGUAGES} for split, file in _FILES.items()
        }
        paths = dl_manager.download(urls)
        return {split: self._generate_examples(files) for split, files in paths.items()}

    def _generate_examples(self, files):
        texts = [gzip.decompress(epath.Path(files[language]).read_bytes()).decode() for language in _LANGUAGES]
        lines = (text.removesuffix("\n").split("\n") for text in texts)
        for number, sentences in enumerate(zip(*lines, strict=True)):
            yield number, {name: text.strip() for name, text in zip(_LANGUAGES, sentences, strict=True)}
