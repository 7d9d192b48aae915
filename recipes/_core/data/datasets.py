"""TFDS builders: prepared also where there is no network, read, and described for the card."""

import contextlib
import hashlib
import importlib
import importlib.util
import logging
import pathlib
import queue
import socket
import sys
import threading
import time
import urllib.parse
import urllib.request
import warnings

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf import json_format
from tensorflow_datasets.core import constants
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from recipes._core.errors import RecipeError, reason, told
from recipes._core.files import PATTERN, locked

# As shipped, ten retries with back-off: a source that does not answer would hang for 205 seconds.
downloader.MAX_RETRIES = 3
logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each, also after our own message

_SECONDS_TO_CONNECT = 3  # to one address; in all, twice as many


def prepare(name, *, embedded=None, data_dir=None):
    """The TFDS builder `name`, ours or TFDS' own, with its data prepared on disk.

    Args:
        name: of the builder, such as `"mnist"` or, with a configuration, `"scan/simple"`.
        embedded: name of the recipe's dataset that needs no download, if it has one, for the error message.
        data_dir: where TFDS keeps its data. Default: TFDS' own, `~/tensorflow_datasets`.

    Several processes may ask for one dataset at a time: one prepares it, and the others wait for that.

    Raises:
        RecipeError: the source files are not there and cannot be downloaded, or hold something else; the data folder
            cannot be written to, or what it holds is damaged.
    """
    plain = name.partition("/")[0]
    if importlib.util.find_spec(f"recipes.datasets.{plain}"):
        importlib.import_module(f"recipes.datasets.{plain}.{plain}_dataset_builder")
    builder = _builder(name, data_dir)
    root = builder.data_path.parents[2 if builder.builder_config else 1]
    if set(PATTERN) & set(str(root)):
        raise RecipeError(f"Expected a data folder without any of {PATTERN} in its name, received {root}.")
    if builder.is_prepared():
        return builder
    with contextlib.ExitStack() as stack:
        if "://" not in str(root):  # elsewhere there are no locks
            try:
                pathlib.Path(root).mkdir(parents=True, exist_ok=True)
                lock = locked(root / f".{plain}.lock", f"Waiting for another process that prepares {plain} ...")
                stack.enter_context(lock)
            except OSError as error:
                raise RecipeError(f"The dataset {name!r} cannot be prepared in {root}: {error}") from error
            builder = _builder(name, data_dir)
        if not builder.is_prepared():
            _prepare(builder, name, root, embedded)
            builder = _builder(name, data_dir)
    if not builder.is_prepared():
        raise RecipeError(f"{_damaged(builder)} (dataset_info.json is not there).")
    return builder


def _builder(name, data_dir):
    """The TFDS builder, which has read what is in the data folder of its dataset."""
    place = data_dir or constants.DATA_DIR
    if "://" in str(place):
        words, kinds = f"Expected a data folder that TensorFlow can read, received {place}", (Exception,)
    else:
        words = f"{place} holds a damaged {name!r}; remove its folder there, and it is prepared anew"
        kinds = (json_format.ParseError, UnicodeDecodeError, tf.errors.OpError, OSError)
    with told(words, *kinds):
        return tfds.builder(name, data_dir=data_dir)


def _damaged(builder):
    return f"{builder.data_dir} is damaged; remove it, and the dataset is prepared anew"


def _prepare(builder, name, root, embedded):
    """Downloads and prepares the data of a builder."""
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    downloads = root / "downloads"
    manual = downloads / "manual" / builder.name
    print(f"Preparing {name} in {root} (once) ...", flush=True)
    try:
        if not _anything_placed(builder, downloads):
            _check_network(builder)
        # The files of different builders may have one name (mnist, fashion_mnist): a folder for each, where it exists.
        config = tfds.download.DownloadConfig(manual_dir=str(manual if manual.is_dir() else manual.parent))
        with contextlib.redirect_stdout(None), warnings.catch_warnings():
            # On stdout it announces a download also where there is none; pydub warns that it has no ffmpeg.
            warnings.filterwarnings("ignore", module=".*pydub")
            builder.download_and_prepare(download_config=config)
    except ModuleNotFoundError as error:
        raise RecipeError(str(error)) from error
    except ValueError as error:  # what is there is something else
        raise RecipeError(f"The dataset {name!r} cannot be prepared in {root}: {error}") from error
    except (AssertionError, OSError, tf.errors.OpError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
        is_missing = isinstance(error, AssertionError | FileNotFoundError | tf.errors.NotFoundError)
        if is_missing and builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
            asked = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
            raise RecipeError(f"The dataset {name!r} needs files in {manual} that only you can get: {asked}") from error
        if isinstance(error, AssertionError):
            raise
        if not builder.url_infos or _is_local(error):
            raise RecipeError(f"The dataset {name!r} cannot be prepared in {root}: {reason(error)}") from error
        instead = f"take --dataset={embedded}, which needs no download, or " if embedded else ""
        files = _source_files(builder)
        shown = ", ".join(files[:8]) + (", ..." if len(files) > 8 else "")
        raise RecipeError(
            f"The dataset {name!r} has to be downloaded, and that failed: {error}\n"
            f"Without a network, {instead}place the files\n"
            f"  {shown}\nin the folder\n  {manual}"
        ) from error


def _source_files(builder):
    """Names of the files that a builder downloads; where some bear the name of its configuration, these alone."""
    files = sorted({info.filename for info in builder.url_infos.values() if info.filename})
    if not builder.builder_config:
        return files
    plain = {name: "".join(filter(str.isalnum, name.lower())) for name in (builder.builder_config.name, *files)}
    return [name for name in files if plain[builder.builder_config.name] in plain[name]] or files


def _anything_placed(builder, downloads):
    names = {info.filename for info in (builder.url_infos or {}).values()}
    folders = [downloads / builder.name, downloads / "manual" / builder.name]
    placed = [path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file()]
    return bool(placed) or any((downloads / "manual" / name).is_file() for name in names if name)


def _check_network(builder):
    """Raises OSError within seconds where the hosts of the source files cannot be reached, which TFDS does not."""
    if urllib.request.getproxies():
        return
    waited_for = {urllib.parse.urlparse(url).hostname for url in builder.url_infos or {}}
    outcomes = queue.SimpleQueue()

    def connect(host):
        try:
            socket.create_connection((host, 443), timeout=_SECONDS_TO_CONNECT).close()
            outcomes.put((host, None))
        except OSError as error:
            outcomes.put((host, error))

    # A look-up of a name takes as long as it likes, and a host has several addresses, which are tried one by one.
    for host in waited_for:
        threading.Thread(target=connect, args=(host,), daemon=True).start()
    end = time.monotonic() + 2 * _SECONDS_TO_CONNECT
    while waited_for:
        try:
            host, error = outcomes.get(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            names = ", ".join(waited_for)
            raise OSError(f"no connection to {names} within {2 * _SECONDS_TO_CONNECT} seconds") from None
        if error:
            raise OSError(f"no connection to {host} ({error})") from error
        waited_for.remove(host)


def _is_local(error):
    """True of an error of this machine's files, and not of a network."""
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return False
    return isinstance(error, tf.errors.OpError) or getattr(error, "errno", None) is not None


def read(builder, split):
    """All examples of a split, as a dict of feature name to tensor (examples, ...).

    Raises:
        RecipeError: the records are damaged.
    """
    with told(_damaged(builder), tf.errors.OpError, OSError):
        return builder.as_dataset(split=split, batch_size=-1)


def examples(builder, split, decoders=None):
    """The examples of a split one by one, as dicts of feature name to array; as `tfds.decode` says, where it is asked.

    Raises:
        RecipeError: the records are damaged.
    """
    with told(_damaged(builder), tf.errors.OpError, OSError):
        yield from builder.as_dataset(split=split, decoders=decoders).as_numpy_iterator()


def describe(builder, *splits):
    """Name and version of a dataset, the sha256 of what `read` returned, its licence and homepage, for the card."""
    name = "/".join(filter(None, [builder.name, builder.builder_config and builder.builder_config.name]))
    facts = {"name": name, "version": str(builder.version), "sha256": sha256(*splits)}
    return facts | {"licence": builder.info.redistribution_info.license, "homepage": builder.info.homepage}


def sha256(*splits):
    """The sha256 of splits, dicts of feature name to tensor, as hexadecimal digits."""
    # Of the values, and not of the files, in whose records the features come in any order.
    digest = hashlib.sha256()
    for split in splits:
        for name in sorted(split):
            values = np.asarray(split[name])
            digest.update(f"{name} {values.shape} {values.dtype} ".encode())
            digest.update(b"\0".join(values.ravel()) if values.dtype == object else values.tobytes())
    return digest.hexdigest()
