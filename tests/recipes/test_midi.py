"""Piano rolls to and from MIDI files."""

import mido
import numpy as np
import pytest

from recipes._core.data import midi
from recipes._core.errors import RecipeError


def test_keys_have_the_names_of_a_piano():
    assert [midi.key_name(key) for key in (0, 3, 39, 40, 87)] == ["A0", "C1", "C4", "C#4", "C8"]


@pytest.mark.parametrize("beats", [1.0, 0.5])
def test_a_roll_comes_back_from_its_file(beats, tmp_path):
    roll = (np.random.default_rng(0).random((30, 88)) < 0.1).astype(np.uint8)
    roll[-1, 7] = 1  # silence at the end is not in a file
    midi.write_roll(roll, tmp_path / "roll.mid", beats)
    np.testing.assert_array_equal(midi.read_roll(str(tmp_path / "roll.mid"), beats), roll)


def test_what_sounds_in_the_middle_of_a_frame_is_in_it(tmp_path):
    file = mido.MidiFile(ticks_per_beat=100)
    track = file.add_track()
    for note, start, end in ((60, 0, 149), (62, 151, 349), (64, 349, 351), (20, 400, 900)):
        now = sum(message.time for message in track)
        track.append(mido.Message("note_on", note=note, time=start - now))
        track.append(mido.Message("note_on", note=note, velocity=0, time=end - start))
    drums = file.add_track()
    drums.append(mido.Message("note_on", note=65, channel=9))
    drums.append(mido.Message("note_off", note=65, channel=9, time=400))
    file.save(tmp_path / "a.mid")
    roll = midi.read_roll(str(tmp_path / "a.mid"), 1.0)
    assert [[midi.key_name(key) for key in np.flatnonzero(frame)] for frame in roll] == [["C4"], [], ["D4"], ["E4"]]


def test_other_files_are_refused(tmp_path):
    mido.MidiFile().save(tmp_path / "silent.mid")
    (tmp_path / "text.mid").write_text("no music")
    for name, message in (("silent.mid", "which has none"), ("text.mid", "a MIDI file"), ("none.mid", "a MIDI file")):
        with pytest.raises(RecipeError, match=message):
            midi.read_roll(str(tmp_path / name), 1.0)
