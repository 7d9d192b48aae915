"""python_source: the source of the Python standard library, each character with its class."""

import builtins
import hashlib
import io
import keyword
import pathlib
import platform
import sys
import sysconfig
import tokenize

import tensorflow_datasets as tfds

CLASSES = {
    "k": "keyword",
    "b": "builtin",
    "d": "definition",
    "n": "name",
    "s": "string",
    "c": "comment",
    "0": "number",
    "o": "operator",
    ".": "other",
}
_KINDS = {tokenize.STRING: "s", tokenize.COMMENT: "c", tokenize.NUMBER: "0", tokenize.OP: "o"}
_BUILTINS = {name for name in dir(builtins) if not name.startswith("_")}


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of python_source; its configuration is the version of the Python that runs."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=platform.python_version())]

    def _info(self):
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"name": text, "text": text, "labels": text}),
            homepage="https://docs.python.org/3/library/",
            license="PSF-2.0",
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # The files are on this machine.
        return {split: self._generate_examples(split) for split in ("train", "validation", "test")}

    def _generate_examples(self, split):
        folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
        for path in sorted(folder.glob("*.py")):
            # The others belong to an installation: its settings, what a distribution adds.
            if path.stem in sys.stdlib_module_names and split_of(path.stem) == split:
                with tokenize.open(path) as file:
                    text = file.read()
                yield path.stem, {"name": path.stem, "text": text, "labels": classify(text)}


def split_of(name):
    """The split of a module, by a hash of its name."""
    tenth = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return {0: "test", 1: "validation"}.get(tenth, "train")


def classify(text):
    """A letter of `CLASSES` for each character of a Python source; lines end with a newline character."""
    lines = io.StringIO(text).readlines()
    labels = [["."] * len(line) for line in lines] + [[]]  # a token may end on the line behind the last
    before, opened = "", []  # the token before; where formatted strings began, which are several tokens from 3.12 on
    for token in tokenize.generate_tokens(iter(lines).__next__):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            opened.append(token.start)
        elif kind.endswith("STRING_END"):
            _fill(labels, opened.pop(), token.end, "s")
        elif not opened and token.type == tokenize.NAME:
            _fill(labels, token.start, token.end, _class_of_name(token.string, before))
        elif not opened and token.type in _KINDS:
            _fill(labels, token.start, token.end, _KINDS[token.type])
        if token.type not in (tokenize.NL, tokenize.COMMENT):
            before = token.string
    return "".join("".join(line) for line in labels)


def _class_of_name(name, before):
    if keyword.iskeyword(name):
        return "k"
    if before in ("def", "class"):
        return "d"
    return "b" if name in _BUILTINS and before != "." else "n"


def _fill(labels, start, end, label):
    """Labels what is from `start` up to `end`, both (line from 1, column from 0), line ends within included."""
    for row in range(start[0], end[0] + 1):
        line = labels[row - 1]
        left = start[1] if row == start[0] else 0
        right = end[1] if row == end[0] else len(line)
        line[left:right] = label * (right - left)
