"""Files and folders: what a command line may name, and writing that loses nothing."""

import errno
import fcntl
import os
import pathlib
import resource
import threading

import pytest
import tensorflow as tf

from recipes._core import errors, files
from recipes._core.errors import RecipeError


@pytest.fixture
def small_files():
    """No file may have more than 100 bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.path("~/runs") == files.folder("~/runs") == tmp_path / "runs"
    assert files.path("a~b") == pathlib.Path("a~b")


@pytest.mark.parametrize("name", ["a[b", "a]b", "a*", "a?", "a\\b", "gs://bucket/a"])
def test_a_folder_that_tensorflow_would_read_as_something_else_is_refused(name):
    with pytest.raises(RecipeError, match="Expected a folder"):
        files.folder(name)
    assert files.path("a[b") == pathlib.Path("a[b")


def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    files.check_writable(tmp_path, tmp_path / "a/b/c")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in (tmp_path / "file", tmp_path / "file/a", tmp_path / "link/a", pathlib.Path("/proc/a")):
        with pytest.raises(RecipeError, match=f"Expected a folder that can be written to, received {place} "):
            files.check_writable(tmp_path, place)


def test_a_place_in_which_folders_cannot_be_renamed_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(pathlib.Path, "rename", refuse)
    with pytest.raises(RecipeError, match="Invalid cross-device link"):
        files.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_told_before(tmp_path, monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(RecipeError, match="File too large"):
            files.check_writable(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_leaves_the_old_file(tmp_path, small_files):
    files.write_json(tmp_path / "a.json", {"old": "ä"})
    with pytest.raises(OSError, match="File too large"):
        files.write_json(tmp_path / "a.json", {"new": "x" * 200})
    assert files.read_json(tmp_path / "a.json") == {"old": "ä"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"[1]", b"\xff"])
def test_a_damaged_json_file_is_named(content, tmp_path):
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(RecipeError, match=r"card\.json is damaged: expected "):
        files.read_json(tmp_path / "card.json")


def test_a_lock_is_held_by_one_and_can_be_waited_for(tmp_path, capsys):
    done = threading.Event()

    def wait():
        with files.locked(tmp_path / "lock", "Waiting"):
            done.set()

    with files.locked(tmp_path / "lock"):
        with pytest.raises(BlockingIOError), files.locked(tmp_path / "lock"):
            pass
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not done.wait(0.2)
    waiting.join(10)
    assert done.is_set()
    assert capsys.readouterr().out == "Waiting\n"


def test_where_there_are_no_locks_work_goes_on(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.locked(tmp_path / "lock"), files.locked(tmp_path / "lock"):
        pass


def raised(function):
    with pytest.raises(Exception) as error:  # noqa: PT011
        function()
    return error.value


def test_an_error_of_the_machine_is_told_from_one_of_the_code(tmp_path, small_files):
    variable = tf.Variable(tf.zeros(1000))
    full = raised(lambda: tf.train.Checkpoint(v=variable).write(str(tmp_path / "a")))
    assert errors.is_of_machine(full)
    assert errors.reason(full).startswith(str(tmp_path))
    assert errors.reason(full).endswith("; File too large")
    gone = raised(lambda: next(iter(tf.data.TFRecordDataset(str(tmp_path / "none")))))
    assert errors.is_of_machine(gone)
    assert errors.reason(gone).endswith("none; No such file or directory")
    (tmp_path / "r").write_bytes(b"certainly no record")
    assert errors.is_of_machine(raised(lambda: next(iter(tf.data.TFRecordDataset(str(tmp_path / "r"))))))
    assert errors.is_of_machine(raised(lambda: tf.io.gfile.GFile("nowhere://a").read()))
    for function in (lambda: tf.reshape(tf.zeros(3), (2, 2)), lambda: {}["a"], lambda: tf.zeros(2) @ tf.zeros(3)):
        assert not errors.is_of_machine(raised(function))
