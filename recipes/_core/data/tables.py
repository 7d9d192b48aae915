"""Tables of one's own: CSV and JSON-lines files, with errors that name file, line and column."""

import csv
import io
import json
import math
import pathlib
import re

import numpy as np

from archs._core.names import nearest
from recipes._core.errors import RecipeError

LARGEST = 1_000_000  # characters of a field
_GREATEST = float(np.finfo(np.float32).max)


class Table:
    """Rows of named fields, each with the line of its file.

    Attributes:
        source: of the rows, for messages: the path of the file, or what else they came from.
        names: of the columns, in order.
        rows: list of lists of fields, in the order of `names`.
        lines: where each row stands, from 1 on; or None.
        kinds: name of a column -> what it can be used as, such as "text" or "label", where that is known.
    """

    def __init__(self, source, names, rows, lines=None, kinds=None):
        self.source, self.names, self.rows, self.lines, self.kinds = source, list(names), rows, lines, kinds or {}
        if not rows:
            raise RecipeError(f"Expected rows in {source}, received none.")

    def __len__(self):
        return len(self.rows)

    def place(self, row, name):
        """Names a field, for messages."""
        line = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return f"{self.source}, {line}, column {name!r}"

    def column(self, name):
        """The fields of a column.

        Raises:
            RecipeError: there is no such column.
        """
        if name not in self.names:
            raise RecipeError(f"Expected a column {name!r} in {self.source}. {nearest(name, self.names)}")
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def some(self, places):
        """The table of some of the rows."""
        lines = None if self.lines is None else [self.lines[place] for place in places]
        return Table(self.source, self.names, [self.rows[place] for place in places], lines, self.kinds)

    def find(self, name, kind):
        """The name of a column: `name`, where there is one; or the only column of a kind.

        Raises:
            RecipeError: there is neither.
        """
        if name in self.names:
            return name
        fitting = [column for column, its in self.kinds.items() if its == kind]
        if len(fitting) == 1:
            return fitting[0]
        several = f" Several hold a {kind}: name one of {', '.join(fitting)}." if fitting else ""
        hint = several or f" {nearest(name, self.names)}"
        raise RecipeError(f"Expected a column {name!r} in {self.source}.{hint}")

    def texts(self, name):
        """The texts of a column.

        Raises:
            RecipeError: a field is empty, or no text.
        """
        fields = self.column(name)
        for row, field in enumerate(fields):
            if not isinstance(field, str) or not _is_text(field):
                raise RecipeError(f"Expected a text in {self.place(row, name)}, received {field!r}.")
        return fields

    def numbers(self, name):
        """The numbers of a column, floats.

        Raises:
            RecipeError: a field is no finite number, or too large for float32.
        """
        values = []
        for row, field in enumerate(self.column(name)):
            try:
                value = math.nan if isinstance(field, bool) else float(field)
            except (TypeError, ValueError, OverflowError):
                value = math.nan
            if not abs(value) <= _GREATEST:
                wanted = f"a number up to {_GREATEST:.3g}" if math.isfinite(value) else "a finite number"
                raise RecipeError(f"Expected {wanted} in {self.place(row, name)}, received {str(field)[:80]!r}.")
            values.append(value)
        return values

    def sequence(self, row, names):
        """The sequence that a row's columns hold, float32 (time, features): one feature each, or all of them in one.

        Raises:
            RecipeError: a field is no list of finite numbers, or they differ in length.
        """
        values = []
        for name in names:
            field = self.rows[row][self.names.index(name)] if name in self.names else self.column(name)
            try:
                with np.errstate(over="ignore"):  # what is too large becomes infinite
                    value = np.asarray(field, np.float32)
            except (TypeError, ValueError, OverflowError):
                value = np.float32(np.nan)
            if value.ndim not in (1, 2) or not value.size or not np.all(np.isfinite(value)):
                raise RecipeError(
                    f"Expected a list of finite numbers in {self.place(row, name)}, received {str(field)[:80]!r}. "
                    "Where several rows make a sequence, --sequence names the column that says which of them do."
                )
            values.append(value.reshape(len(value), -1))
            if len(value) != len(values[0]):
                raise RecipeError(
                    f"Expected {len(values[0])} time steps in {self.place(row, name)}, received {len(value)}."
                )
        return np.concatenate(values, axis=1)

    def labels(self, name):
        """The labels of a column, as texts."""
        fields = self.column(name)
        for row, field in enumerate(fields):
            if isinstance(field, float | list | dict) or field is None or not _is_text(str(field)):
                raise RecipeError(f"Expected a label in {self.place(row, name)}, received {field!r}.")
        return [str(field).strip() for field in fields]


def _is_text(field):
    """True of a str with something to see in it, that UTF-8 can say: JSON can hold halves of a character."""
    return bool(field.replace("\0", " ").strip()) and not re.search("[\ud800-\udfff]", field)


def read(path):
    """The `Table` of a CSV file with a header, or of a file of JSON lines: `.jsonl`, `.ndjson` or `.json`.

    Raises:
        RecipeError: there is no such file, or it is damaged; the message names file, line and column.
    """
    path = pathlib.Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecipeError(f"Expected a CSV or JSON-lines file, received {path} ({error.strerror}).") from None
    text = decoded(content, path)
    if not text.strip():
        raise RecipeError(f"Expected a header and rows in {path}, received an empty file.")
    return (_json_lines if path.suffix in (".json", ".jsonl", ".ndjson") else _csv)(path, text)


def of(data):
    """The `Table` of data in Python.

    Args:
        data: the path of a file, see `read`; a pandas frame; a dict of column name to array or list (rows, ...); or a
            `tf.data.Dataset` whose elements are such dicts of one row each.

    Raises:
        RecipeError: it is none of these, or its columns differ in length.
    """
    if isinstance(data, str | pathlib.Path):
        return read(data)
    kind = type(data).__name__
    if hasattr(data, "as_numpy_iterator"):
        elements = list(data.as_numpy_iterator())
        if not elements or not isinstance(elements[0], dict):
            received = f"elements {str(elements[0])[:80]}" if elements else "none"
            raise RecipeError(f"Expected a tf.data.Dataset of dicts, one for each row, received {received}.")
        columns = {name: [element[name] for element in elements] for name in elements[0]}
    elif hasattr(data, "keys") and hasattr(data, "__getitem__"):
        columns = {str(name): list(data[name]) for name in data}  # a frame iterates over its columns, too
    else:
        raise RecipeError(f"Expected a path, a dict of columns, a frame or a tf.data.Dataset, received {kind}.")
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) > 1:
        raise RecipeError(f"Expected columns of one length, received {sizes}.")
    rows = zip(*([_plain(value) for value in values] for values in columns.values()), strict=True)
    return Table(f"the {kind}", columns, [list(row) for row in rows])


def _plain(value):
    """A value of Python: a text for bytes, and a number or a bool for one of NumPy."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def decoded(content, source):
    """The text of bytes in UTF-8, with or without a mark at its beginning.

    Raises:
        RecipeError: they are something else; the message names `source`, the line and the byte.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = content[: error.start].count(b"\n") + 1, content[error.start]
        raise RecipeError(f"Expected UTF-8 in {source}, line {line}, received the byte 0x{byte:02x}.") from None


def _csv(path, text):
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names, rows, lines, line = None, [], [], 1
    try:
        for fields in reader:
            line, start = reader.line_num + 1, line
            if not fields:
                continue
            if names is None:
                names = [name.strip() for name in fields]
                _check_header(path, start, names)
                continue
            if len(fields) != len(names):
                raise RecipeError(
                    f"Expected {len(names)} fields in {path}, line {start}, one for each column of the header, "
                    f"received {len(fields)}."
                )
            _check_sizes(path, start, names, fields)
            rows.append(fields)
            lines.append(start)
    except csv.Error as error:
        raise RecipeError(f"Expected CSV in {path}, line {reader.line_num}: {error}.") from None
    return Table(path, names, rows, lines)


def _check_sizes(path, line, names, fields):
    for name, field in zip(names, fields, strict=True):
        if isinstance(field, str) and len(field) > LARGEST:
            place = f"{path}, line {line}, column {name!r}"
            raise RecipeError(f"Expected at most {LARGEST} characters in {place}, received {len(field)}.")


def _check_header(path, line, names):
    for name in names:
        if "\0" in name:
            raise RecipeError(f"Expected UTF-8 in {path}, line {line}, received the character 0, as UTF-16 has it.")
        if not name:
            raise RecipeError(f"Expected a name for each column in {path}, line {line}, received {names}.")
        if names.count(name) > 1:
            raise RecipeError(f"Expected different columns in {path}, line {line}, received {name!r} twice.")


def _json_lines(path, text):
    names, rows, lines = None, [], []
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            pairs = json.loads(content, object_pairs_hook=list)
        except (ValueError, RecursionError) as error:
            raise RecipeError(f"Expected JSON in {path}, line {line}: {error}.") from None
        if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
            raise RecipeError(f"Expected an object {{...}} in {path}, line {line}, received {content[:80]!r}.")
        if names is None:
            names = [name for name, _ in pairs]
            _check_header(path, line, names)
        fields = dict(pairs)
        if set(fields) != set(names):
            odd = ", ".join(sorted(set(fields) ^ set(names)))
            raise RecipeError(f"Expected the fields of the first line in {path}, line {line}; they differ in {odd}.")
        rows.append([fields[name] for name in names])
        _check_sizes(path, line, names, rows[-1])
        lines.append(line)
    return Table(path, names, rows, lines)


def numbered(tables, name):
    """The labels of the training table, sorted, and for each table of a dict the numbers of its labels.

    Raises:
        RecipeError: the training table has one label only, or another table has a label that it lacks.
    """
    labels = sorted(set(tables["train"].labels(name)))
    check_several(labels, tables["train"], name)
    places = {label: number for number, label in enumerate(labels)}
    numbers = {}
    for split, table in tables.items():
        found = table.labels(name)
        for row, label in enumerate(found):
            if label not in places:
                place, hint = table.place(row, name), nearest(label, labels)
                raise RecipeError(f"Expected a label of the training part in {place}, received {label!r}. {hint}")
        numbers[split] = np.array([places[label] for label in found], np.int32)
    return labels, numbers


def check_several(labels, table, name):
    """Checks that a column has more than one label.

    Raises:
        RecipeError: it has one.
    """
    if len(labels) < 2:
        where = f"column {name!r} of {table.source}"
        raise RecipeError(f"Expected two labels or more in {where}, received {labels[0]!r} only.")


def divided(table, shares, seed, key=None):
    """Tables of a share of the rows each, drawn by a seed, and the rest: a dict with `train` and the names of `shares`.

    Args:
        table: `Table`.
        shares: name -> share of the rows, from 0 to 1.
        seed: of the draw. None: the rows stay in order, and the last ones are given away.
        key: a column; rows with the same value stay together. None: each row for itself.

    Raises:
        RecipeError: a part would be empty.
    """
    keys = list(range(len(table))) if key is None else table.column(key)
    different = list(dict.fromkeys(keys))
    if seed is not None:
        different = [different[place] for place in np.random.default_rng(seed).permutation(len(different))]
    bounds, part_of = len(different), {}
    parts = {}
    for name in reversed(shares):
        size = round(shares[name] * len(different))
        parts[name] = different[bounds - size : bounds]
        bounds -= size
    parts["train"] = different[:bounds]
    for name, members in parts.items():
        if not members:
            raise RecipeError(
                f"Expected rows for each part, but of {len(table)} rows of {table.source} {name} gets none."
            )
        part_of |= dict.fromkeys(members, name)
    rows = {name: [place for place, value in enumerate(keys) if part_of[value] == name] for name in ("train", *shares)}
    return {name: table.some(places) for name, places in rows.items()}
