"""One small training, shared by the tests that need a trained model."""

import os

import pytest

from recipes._core.command import cli


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder for datasets, one for all processes of a run: each is prepared once."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp("tensorflow_datasets")
    folder = tmp_path_factory.getbasetemp().parent / "tensorflow_datasets"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def trained(data_dir, tmp_path_factory):
    """A folder with `runs/` and `saved_models/`, as `train` leaves it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["--units=16", "--epochs=2", "--dropout=0.1", "--export", f"--data-dir={data_dir}", "--device=cpu"]
        assert cli.main(["train", "vanilla_lstm_mnist", *arguments]) == 0
    return folder


@pytest.fixture
def in_trained(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def no_network(monkeypatch):
    """Fails every look-up of a host and every connection, as a machine without a network does."""

    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(f"socket.{name}", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
