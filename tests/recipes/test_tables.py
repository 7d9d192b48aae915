"""Tables of one's own: what is read, and that each damage is told in one line with its place."""

import json

import numpy as np
import pytest

from recipes._core.data import tables
from recipes._core.errors import RecipeError


def written(tmp_path, content, name="own.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_csv_with_quotes_and_lines_within_fields(tmp_path):
    table = tables.read(written(tmp_path, '\ufeffid,text\r\n1,"a, ""b""\nc"\r\n\r\n2,ä\r\n'))
    assert table.names == ["id", "text"]
    assert table.texts("text") == ['a, "b"\nc', "ä"]
    assert table.numbers("id") == [1.0, 2.0]
    assert table.lines == [2, 5]


def test_only_line_feeds_and_carriage_returns_end_a_line_of_csv(tmp_path):
    odd = "a\N{LINE SEPARATOR}b\x0cc\x1cd\x85e"
    table = tables.read(written(tmp_path, f"text,n\n{odd},1\r\nb,2\r"))
    assert table.column("text") == [odd, "b"]
    assert table.lines == [2, 3]


def test_json_lines(tmp_path):
    lines = [{"text": "a", "x": [1, 2]}, {"x": [3], "text": "b"}]
    table = tables.read(written(tmp_path, "\n".join(map(json.dumps, lines)), "own.jsonl"))
    assert table.names == ["text", "x"]
    assert table.rows == [["a", [1, 2]], ["b", [3]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expected a header and rows in {path}, received an empty file."),
        ("text,label\n", "Expected rows in {path}, received none."),
        (b"text,label\na,1\n\xff,2\n", "Expected UTF-8 in {path}, line 3, received the byte 0xff."),
        ("text,label\na,1\nb\n", "Expected 2 fields in {path}, line 3, one for each column of the header, received 1."),
        ("text,label,text\na,1,b\n", "Expected different columns in {path}, line 1, received 'text' twice."),
        (
            "text,x\n".encode("utf-16-le"),
            "Expected UTF-8 in {path}, line 1, received the character 0, as UTF-16 has it.",
        ),
        ("text,\na,1\n", "Expected a name for each column in {path}, line 1, received ['text', '']."),
        ('text,label\n"a,1\n', "Expected CSV in {path}, line 2: unexpected end of data."),
        (
            f"text,label\n{'a' * 1_000_001},1\n",
            "Expected at most 1000000 characters in {path}, line 2, column 'text', received 1000001.",
        ),
    ],
)
def test_a_damaged_csv_file_is_told(content, message, tmp_path):
    path = written(tmp_path, content)
    with pytest.raises(RecipeError) as error:
        tables.read(path)
    assert str(error.value) == message.format(path=path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": 1}\n{"a": 1', "Expected JSON in {path}, line 2: "),
        ('{"a": 1}\n[1]', "Expected an object {{...}} in {path}, line 2, received '[1]'."),
        ('{"a": 1}\n\n{"b": 1}', "Expected the fields of the first line in {path}, line 3; they differ in a, b."),
        ("[" * 100_000, "Expected JSON in {path}, line 1: maximum recursion depth exceeded"),
        (
            '{"a": "%s"}' % ("a" * 1_000_001),
            "Expected at most 1000000 characters in {path}, line 1, column 'a', received 1000001.",
        ),
        ('{"a": 1, "a": 2}', "Expected different columns in {path}, line 1, received 'a' twice."),
    ],
)
def test_damaged_json_lines_are_told(content, message, tmp_path):
    path = written(tmp_path, content, "own.jsonl")
    with pytest.raises(RecipeError) as error:
        tables.read(path)
    assert str(error.value).startswith(message.format(path=path))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecipeError, match=r"Expected a CSV or JSON-lines file, received .*none\.csv \(No such file"):
        tables.read(tmp_path / "none.csv")


@pytest.mark.parametrize("wrong", ["", "nan", "inf", "many", "1,5"])
def test_a_number_that_is_none_is_told_with_its_place(wrong, tmp_path):
    path = written(tmp_path, f'x,y\n1,2\n3,"{wrong}"\n')
    with pytest.raises(RecipeError) as error:
        tables.read(path).numbers("y")
    assert str(error.value) == f"Expected a finite number in {path}, line 3, column 'y', received {wrong!r}."


@pytest.mark.parametrize(("wrong", "received"), [("1e39", "1e39"), (-(10**400), "-1" + 78 * "0")])
def test_a_number_that_float32_cannot_hold_is_told(wrong, received):
    table = tables.Table("own", ["x"], [[1], [wrong]])
    with pytest.raises(RecipeError) as error:
        table.numbers("x")
    wanted = "a number up to 3.4e+38" if isinstance(wrong, str) else "a finite number"
    assert str(error.value) == f"Expected {wanted} in own, row 2, column 'x', received {received!r}."
    with pytest.raises(RecipeError, match="Expected a list of finite numbers in own, row 1, column 'x'"):
        tables.Table("own", ["x"], [[[1, wrong]]]).sequence(0, ["x"])


@pytest.mark.parametrize("wrong", ["", "\0 \0", "\N{NO-BREAK SPACE}", "a\ud800", None])
def test_a_text_or_label_that_says_nothing_is_told(wrong):
    table = tables.Table("own", ["x"], [["a"], [wrong]])
    for kind in ("text", "label"):
        with pytest.raises(RecipeError) as error:
            getattr(table, f"{kind}s")("x")
        assert str(error.value) == f"Expected a {kind} in own, row 2, column 'x', received {wrong!r}."


def test_columns_are_found_by_name_or_by_their_only_kind(tmp_path):
    path = written(tmp_path, "review,label\na,1\n")
    with pytest.raises(RecipeError, match=r"Expected a column 'texts' in .*own\.csv\. There are: label, review\."):
        tables.read(path).find("texts", "text")
    table = tables.Table("data", ["review", "score"], [["a", "1"]], kinds={"review": "text", "score": "label"})
    assert (table.find("text", "text"), table.find("score", "text")) == ("review", "score")
    table = tables.Table("data", ["a", "b"], [["a", "b"]], kinds={"a": "text", "b": "text"})
    with pytest.raises(RecipeError, match=r"'text' in data\. Several hold a text: name one of a, b\."):
        table.find("text", "text")


def test_labels_are_those_of_the_training_part(tmp_path):
    train, test = (
        tables.read(written(tmp_path, f"label\n{content}\n", f"{name}.csv"))
        for name, content in (("train", "b\na\nb"), ("test", "a\nc"))
    )
    labels, numbers = tables.numbered({"train": train, "validation": train}, "label")
    assert labels == ["a", "b"]
    np.testing.assert_array_equal(numbers["train"], [1, 0, 1])
    with pytest.raises(RecipeError) as error:
        tables.numbered({"train": train, "test": test}, "label")
    place = f"{tmp_path / 'test.csv'}, line 3, column 'label'"
    assert str(error.value) == f"Expected a label of the training part in {place}, received 'c'. There are: a, b."
    one = tables.read(written(tmp_path, "label\na\na\n"))
    with pytest.raises(RecipeError, match=r"two labels or more in column 'label' of .*own\.csv, received 'a' only"):
        tables.numbered({"train": one}, "label")


def test_shares_are_disjoint_and_whole_and_keep_what_belongs_together(tmp_path):
    content = "id,n\n" + "".join(f"{number // 3},{number}\n" for number in range(60))
    table = tables.read(written(tmp_path, content))
    shares = {"validation": 0.1, "test": 0.2}
    for seed, key in ((0, None), (0, "id"), (None, None)):
        parts = tables.divided(table, shares, seed, key)
        assert [len(parts[name]) for name in ("train", "validation", "test")] == [42, 6, 12]
        numbers = [number for part in parts.values() for number in part.numbers("n")]
        assert sorted(numbers) == list(range(60))
        if key:
            assert not set(parts["train"].column(key)) & set(parts["test"].column(key))
    assert parts["test"].numbers("n") == list(range(48, 60))
    assert tables.divided(table, shares, 1)["test"].rows != tables.divided(table, shares, 0)["test"].rows
    with pytest.raises(RecipeError, match=r"of 3 rows of .* validation gets none"):
        tables.divided(table.some([0, 1, 2]), shares, 0)
