"""The folders of exports, in the layout of TensorFlow Serving: <model>/<version>/."""

import pathlib


def on_disk(folder, names=()):
    """Name -> version number -> path, ascending, of each model in a folder that has a version.

    Args:
        folder: of all exports.
        names: of the models to look for. Default: all.
    """
    paths = [pathlib.Path(folder) / name for name in names] or sorted(pathlib.Path(folder).glob("[!.]*/"))
    found = {path.name: versions(path) for path in paths}
    return {name: versions for name, versions in found.items() if versions}


def versions(folder):
    """Version number -> path of each version in a model's folder, ascending, as TensorFlow Serving reads their names.

    Leading zeros are none; of two folders of one number the last in order counts.
    """
    paths = [path for path in sorted(pathlib.Path(folder).glob("[0-9]*/")) if _is_version(path.name)]
    return dict(sorted((int(path.name), path) for path in paths))


def _is_version(name):
    return name.isascii() and name.isdigit() and int(name) < 2**63
