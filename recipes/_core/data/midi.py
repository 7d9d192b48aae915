"""Piano rolls from and to MIDI files: arrays (frames, 88) of 0 and 1, from A0, MIDI note 21, to C8."""

import mido
import numpy as np

from recipes._core.errors import RecipeError

LOWEST, KEYS = 21, 88
NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def key_name(key):
    """The name of a column of a roll, such as C4."""
    octave, tone = divmod(key + LOWEST, 12)
    return f"{NAMES[tone]}{octave - 1}"


def read_roll(path, beats):
    """The roll of a MIDI file: what sounds in the middle of each frame of `beats` quarter notes; drums are left out.

    Raises:
        RecipeError: there is no such file, it is no MIDI file, or it has no note of a piano.
    """
    try:
        file = mido.MidiFile(path)
    except (OSError, EOFError, ValueError, IndexError, KeyError) as error:
        raise RecipeError(f"Expected the path of a MIDI file or test:N, received {path!r} ({error}).") from None
    notes, sounding, now = [], {}, 0
    for message in mido.merge_tracks(file.tracks):
        now += message.time
        if message.type not in ("note_on", "note_off") or message.channel == 9:
            continue
        voice = message.channel, message.note
        if voice in sounding:
            notes.append((sounding.pop(voice), now, message.note - LOWEST))
        if message.type == "note_on" and message.velocity:
            sounding[voice] = now
    notes = [note for note in notes if 0 <= note[2] < KEYS]
    if not notes:
        raise RecipeError(f"Expected a MIDI file with notes from A0 to C8, received {path!r}, which has none.")
    frame = beats * file.ticks_per_beat
    roll = np.zeros((max(1, round(max(end for _, end, _ in notes) / frame)), KEYS), np.uint8)
    middles = (np.arange(len(roll)) + 0.5) * frame
    for start, end, key in notes:
        roll[(start <= middles) & (middles < end), key] = 1
    return roll


def write_roll(roll, path, beats, tempo=100):
    """Writes a roll as a MIDI file, at `tempo` quarter notes a minute; a key that stays down sounds on."""
    file = mido.MidiFile(ticks_per_beat=480)
    track = file.add_track()
    track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(tempo)))
    padded = np.pad(np.asarray(roll, np.int8), [(1, 1), (0, 0)])
    frame, last = round(480 * beats), 0
    for number, key in np.argwhere(np.diff(padded, axis=0)):
        kind = "note_on" if padded[number + 1, key] else "note_off"
        track.append(mido.Message(kind, note=int(key) + LOWEST, time=(int(number) - last) * frame))
        last = int(number)
    file.save(path)
