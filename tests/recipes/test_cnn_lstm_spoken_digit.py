"""Spoken digits: the spectrogram in the graph, files from a person, and the commands on a tiny budget."""

import json
import os
import pathlib
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from scipy.io import wavfile

from recipes import cnn_lstm_spoken_digit as page
from recipes._core.command import cli
from recipes._core.data import datasets, signals
from recipes._core.errors import RecipeError
from recipes._core.export import export

NAME = "cnn_lstm_spoken_digit"


def tone(pitch, seconds=0.25, rate=8000):
    return np.sin(2 * np.pi * pitch * np.arange(seconds * rate) / rate).astype(np.float32)


def loudest(samples):
    """The frequency that is loudest in samples at 8 kHz."""
    return np.fft.rfftfreq(len(samples), 1 / 8000)[np.abs(np.fft.rfft(samples)).argmax()]


def two_recordings():
    samples = np.stack([tone(500) * np.linspace(0, 1, 2000, dtype=np.float32), tone(1500)])
    samples[1, 1111:] = 0
    return samples, np.array([2000, 1111], np.int32)


def test_a_spectrogram_is_blind_to_loudness_and_to_padding():
    samples, lengths = two_recordings()
    frames, counts = page.log_mel(samples, lengths)
    assert frames.shape == (2, 25, 40)
    np.testing.assert_array_equal(counts, [25, 14])
    assert not np.any(frames[1, 14:])
    np.testing.assert_allclose(page.log_mel(samples / 50, lengths)[0], frames, atol=1e-3)
    np.testing.assert_allclose(page.log_mel(samples[1:, :1111], lengths[1:])[0], frames[1:, :14], atol=1e-4)
    silence, _ = page.log_mel(np.zeros((1, 300), np.float32), np.array([300]))
    np.testing.assert_allclose(silence, 0, atol=1e-5)


def test_the_bands_of_a_spectrogram_rise_with_the_pitch():
    first = [
        int(np.argmax(page.log_mel(np.concatenate([tone(pitch), 0 * tone(1)])[None], np.array([4000]))[0][0, 5]))
        for pitch in (200, 500, 1000, 2000, 3500)
    ]
    assert first == sorted(set(first))


def test_training_recordings_vary_as_the_settings_say():
    samples, lengths = two_recordings()
    seed = tf.constant([3, 4])
    still = {"pitch": 0, "crop": 0, "noise": 0, "stretch": 0, "shift": 0, "mask": 0}
    plain = page.Config(**still)
    same, same_lengths = page.another_voice(samples, lengths, plain, seed)
    np.testing.assert_array_equal(same_lengths, lengths)
    np.testing.assert_allclose(same, samples, atol=1e-6)
    frames, counts = page.log_mel(samples, lengths)
    unchanged = page.another_pace(frames, counts, plain, seed)
    np.testing.assert_array_equal(unchanged[1], counts)
    np.testing.assert_allclose(unchanged[0], frames, atol=1e-6)

    many = np.tile(tone(500), (50, 1))
    heard, heard_lengths = page.another_voice(many, np.full(50, 2000), page.Config(**still | {"pitch": 0.2}), seed)
    speeds = 2000 / heard_lengths.numpy()
    assert 0.8 < speeds.min() < 0.9 < 1.1 < speeds.max() < 1.25
    for row, length, speed in zip(heard.numpy(), heard_lengths.numpy(), speeds, strict=True):
        assert loudest(row[:length]) == pytest.approx(500 * speed, abs=6)
        assert not row[length:].any()
    noisy, _ = page.another_voice(many, np.full(50, 2000), page.Config(**still | {"noise": 0.5}), seed)
    assert 0.01 < np.std(noisy - many) < 0.5 * np.std(many)

    masked, _ = page.another_pace(tf.ones((50, 30, 40)), tf.fill((50,), 30), page.Config(**still | {"mask": 0.2}), seed)
    for axis, most in ((1, 6), (2, 8)):
        hidden = np.all(masked == 0, axis=3 - axis).sum(axis=1)
        assert hidden.min() == 0
        assert most / 2 < hidden.max() <= most


def test_a_recording_played_faster_is_shorter_and_higher_whatever_stands_behind_it():
    samples, lengths = two_recordings()
    for speed in page.SPEEDS:
        heard, counts = page.played(samples, lengths, speed)
        np.testing.assert_allclose(counts, lengths / speed, atol=1)
        assert loudest(heard.numpy()[1, : counts[1]]) == pytest.approx(1500 * speed, abs=8)
        alone, _ = page.played(samples[1:, :1111], lengths[1:], speed)
        np.testing.assert_allclose(alone[0], heard[1, : counts[1]], atol=1e-6)
    np.testing.assert_allclose(page.played(samples, lengths, 1.0)[0], samples, atol=1e-6)


def test_the_signature_answers_recordings_and_refuses_what_is_none():
    task = page.Task(page.Config(units=4, filters=4))
    task.restore({"labels": list("0123456789")})
    answer = export.as_arrays(task.signatures(page.build_model(task.config, task)))
    samples, lengths = two_recordings()
    expected = answer({"samples": samples, "lengths": lengths})
    assert list(expected["label"]) == [str(row.argmax()) for row in expected["probabilities"]]
    alone = answer({"samples": samples[1:, :1111], "lengths": lengths[1:]})
    np.testing.assert_allclose(alone["logits"][0], expected["logits"][1], atol=1e-4)
    samples[1, 1111:] = np.inf  # behind the length
    np.testing.assert_allclose(
        answer({"samples": samples, "lengths": lengths})["logits"], expected["logits"], atol=1e-4
    )
    assert answer({"samples": np.ones((1, 1), np.float32), "lengths": np.ones(1, np.int32)})["label"].shape == (1,)
    for given, message in [
        ((samples, lengths[:1]), "expected one for each row"),
        ((samples[:0], lengths[:0]), "received an empty batch"),
        ((samples[:, :0], lengths * 0), "expected 1 or more"),
        ((samples, lengths * 0 + 2000), "expected finite numbers"),
    ]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            answer(dict(zip(("samples", "lengths"), given, strict=True)))


@pytest.mark.parametrize(
    ("rate", "kind", "channels"), [(8000, "int16", 1), (16000, "int16", 2), (44100, "uint8", 1), (8000, "float32", 2)]
)
def test_wav_files_are_mixed_down_and_resampled(rate, kind, channels, tmp_path):
    samples = 0.5 * tone(440, seconds=0.5, rate=rate)
    written = {"int16": samples * 2**15, "uint8": samples * 2**7 + 128, "float32": samples}[kind].astype(kind)
    wavfile.write(tmp_path / "tone.wav", rate, np.stack([written] * channels, axis=1) if channels > 1 else written)
    read = signals.read_wav(str(tmp_path / "tone.wav"), 8000)
    assert read.dtype == np.float32
    assert len(read) == 4000
    assert loudest(read) == pytest.approx(440, abs=2)
    assert np.abs(read[500:-500]).max() == pytest.approx(0.5, abs=0.02)


def test_files_that_are_no_sound_are_refused(tmp_path):
    (tmp_path / "text.wav").write_text("no sound in here")
    (tmp_path / "empty.wav").write_text("")
    wavfile.write(tmp_path / "silent.wav", 8000, np.zeros(100, np.int16))
    for name, message in [
        ("none.wav", "Expected the path of a WAV file or test:N, received"),
        ("text.wav", "Expected the path of a WAV file or test:N, received"),
        ("empty.wav", "Expected the path of a WAV file or test:N, received"),
        ("silent.wav", "has 100 samples of silence"),
    ]:
        with pytest.raises(RecipeError, match=message):
            page.Task(page.Config()).read(str(tmp_path / name))


def test_signals_are_read_between_their_rows():
    rows = np.array([[[0.0, 1], [2, 3], [6, 7], [9, 9]]], np.float32)
    places = np.array([[0, 0.5, 1.25, 3]], np.float32)
    np.testing.assert_allclose(signals.interpolate(rows, places)[0], [[0, 1], [1, 2], [3, 4], [9, 9]])
    np.testing.assert_allclose(signals.resample(rows, np.array([3]), 5)[0, :, 0], [0, 1, 2, 4, 6])


def test_without_a_network_it_says_what_to_place_where(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    assert cli.main(["train", NAME, "--speaker=lucas"]) == 2
    assert "lucas" in capsys.readouterr().err
    assert cli.main(["train", NAME, f"--data-dir={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert "free-spoken-digit-dataset-1.0.9.tar.gz" in error
    assert str(tmp_path / "downloads/manual/spoken_digit") in error
    assert time.monotonic() - started < 15


@pytest.mark.tfds
def test_the_page_trains_exports_and_answers(no_network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "spoken_digit"
    shutil.copytree(sources, tmp_path / "data/downloads/manual/spoken_digit")
    options = ["--data-dir=data"]
    assert cli.main(["train", NAME, "--epochs=1", "--units=8", "--filters=8", "--cell=gru", "--export", *options]) == 0
    assert "1,880 to train, 120 to validate, 500 to test" in capsys.readouterr().out
    (folder,) = (tmp_path / "runs" / NAME).iterdir()
    metrics = json.loads((folder / "card.json").read_text())["metrics"]
    assert list(metrics) == ["test_accuracy", "majority_class", "dtw_1nn"]
    assert metrics["majority_class"] == 0.1
    assert 0.1 < metrics["test_accuracy"] < 1
    assert 0.3 < metrics["dtw_1nn"] < 1
    assert {"confusion_matrix.png", "spectrograms.png"} < {path.name for path in folder.iterdir()}
    assert cli.main(["evaluate", NAME, "--saved-model", *options]) == 0
    out = capsys.readouterr().out
    for name, value in metrics.items():
        assert f"  {name.replace('_', ' '):<20} {value:.4f}" in out
    assert cli.main(["predict", NAME, "test:3", *options]) == 0
    answered = capsys.readouterr().out
    test = page.load(page.Config(), "data").test
    request = page.Task(page.Config()).test_request(test, 3)
    wavfile.write("digit.wav", 8000, (request["samples"][0] * 2**15).astype(np.int16))
    assert cli.main(["predict", NAME, "digit.wav"]) == 0
    alone = capsys.readouterr().out.replace("digit.wav:", "test:3:").rstrip()
    assert answered == f"{alone}, in truth {int(test['label'][3])}\n"


@pytest.mark.tfds
def test_the_tested_speaker_or_the_tested_takes_are_in_no_other_split(tmp_path):
    sources = pathlib.Path(os.environ["TFDS_SOURCES"]) / "spoken_digit"
    shutil.copytree(sources, tmp_path / "downloads/manual/spoken_digit")
    builder = datasets.prepare("spoken_digit", data_dir=tmp_path)
    speaker_of = {
        example["audio"].astype(np.int16).tobytes(): example["audio/filename"].decode().split("_")[1:]
        for example in builder.as_dataset(split="train").as_numpy_iterator()
    }
    for held_out, sizes in (("george", (1880, 120, 500)), ("take", (2100, 150, 250))):
        splits = page.load(page.Config(speaker=held_out), tmp_path)
        columns = [splits.train, splits.validation, splits.test]
        names = [
            [
                speaker_of[row[:length].tobytes()]
                for row, length in zip(part["samples"].numpy(), part["samples_length"].numpy(), strict=True)
            ]
            for part in columns
        ]
        assert tuple(map(len, names)) == sizes
        if held_out == "take":
            assert {take for _, take in names[2]} == {f"{number}.wav" for number in range(5)}
            assert not {take for part in names[:2] for _, take in part} & {take for _, take in names[2]}
        else:
            assert {speaker for speaker, _ in names[2]} == {held_out}
            assert held_out not in {speaker for part in names[:2] for speaker, _ in part}
