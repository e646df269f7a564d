"""Bad files: each gives one error with file, line and column; never a traceback, never wrong numbers."""

import gzip
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench import data
from flipbench.data import file_bytes, locations
from flipbench.data import parse_cache as parsed
from tests.helpers.data_files import (
    DAMAGE,
    HEADER,
    IMAGES,
    KNOWN,
    LABELS,
    check_csv,
    check_idx,
    good,
    header,
    load,
    rows,
    says,
    text,
)


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(locations, "SYSTEM", ())
    monkeypatch.delenv("FLIPBENCH_DATA", raising=False)


def metadata(table, names=("lesion_id", "image_id", "dx"), separator=","):
    lines = [(f"L{i // 2}", f"I{i}", KNOWN[r[-1]]) for i, r in enumerate(table)]
    return "\n".join(separator.join(line) for line in [names, *lines]) + "\n"


# --- accepted --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hmnist_28_28_L.csv", "renamed.csv"])
@pytest.mark.parametrize("kind", ["plain", "crlf", "bom", "gz", "no end", "empty lines at the end"])
def test_every_way_to_write_the_same_table(tmp_path, kind, name):
    content = {
        "plain": text(rows()),
        "crlf": text(rows(), "\r\n"),
        "bom": "\ufeff" + text(rows()),
        "gz": text(rows()),
        "no end": text(rows()).rstrip("\n"),
        "empty lines at the end": text(rows()) + "\n\n",
    }[kind].encode()
    file = tmp_path / (name + ".gz" * (kind == "gz"))
    file.write_bytes(gzip.compress(content) if kind == "gz" else content)
    for path in (file, tmp_path):
        d = load(path)
        assert (d.shape, d.split, d.counts) == ((1, 28, 28), "row", ((4, 1),) * 7)
        whole = {(*x.flatten().tolist(), int(y)) for x, y in zip(d.train_x, d.train_y, strict=True)}
        whole |= {(*x.flatten().tolist(), int(y)) for x, y in zip(d.test_x, d.test_y, strict=True)}
        assert whole == {tuple(r) for r in rows()}
        assert "class counts differ from those of HAM10000: akiec 5 instead of 327" in " ".join(d.notes)


def test_packed_or_plain_has_the_same_hash(tmp_path):
    (tmp_path / "a.csv").write_text(text(rows()))
    (tmp_path / "b.csv").write_bytes(gzip.compress(text(rows()).encode()))  # known by its content
    assert load(tmp_path / "a.csv").sha256 == load(tmp_path / "b.csv").sha256


# --- bad tables: what is done to a good one -> what the error must say -----------------------------------------------


def cell(row, column, value):
    """A table with one value replaced."""

    def change(table):
        table[row][column] = value
        return text(table)

    return change


BAD = {
    "text": (cell(3, 12, "abc"), "line 5, column pixel0012: needs a whole number from 0 to 255, got 'abc'"),
    "nan": (cell(0, 0, "NaN"), "line 2, column pixel0000: needs a whole number from 0 to 255, got 'NaN'"),
    "empty": (cell(34, 783, ""), "line 36, column pixel0783: needs a whole number from 0 to 255, got nothing"),
    "256": (cell(7, 100, 256), "line 9, column pixel0100: needs a whole number from 0 to 255, got '256'"),
    "huge": (
        cell(7, 100, "9" * 999),
        f"line 9, column pixel0100: needs a whole number from 0 to 255, got '{'9' * 40}'...",
    ),
    "negative": (cell(7, 100, -1), "line 9, column pixel0100: needs a whole number from 0 to 255, got '-1'"),
    "fraction": (cell(1, 5, "12.0"), "line 3, column pixel0005: needs a whole number from 0 to 255, got '12.0'"),
    "space": (cell(1, 5, " 12"), "line 3, column pixel0005: needs a whole number from 0 to 255, got ' 12'"),
    "quoted": (cell(1, 5, '"12"'), "line 3, column pixel0005: needs a whole number from 0 to 255, got '\"12\"'"),
    "other digits": (cell(1, 5, "١٢"), "line 3, column pixel0005: needs a whole number from 0 to 255, got '١٢'"),
    "label 7": (cell(20, 784, 7), "line 22, column label: needs a label from 0 to 6, got 7"),
    "label name": (cell(20, 784, "mel"), "line 22, column label: needs a whole number from 0 to 255, got 'mel'"),
    "extra column": (
        lambda t: text([*t[:4], [*t[4], 9], *t[5:]]),
        "line 6: 786 columns where 785 are needed: after label stands '9'",
    ),
    "missing column": (
        lambda t: text([*t[:4], t[4][:-1], *t[5:]]),
        "line 6: 784 columns where 785 are needed: label is missing",
    ),
    "two lines in one": (lambda t: text([*t[:4], t[4] + t[5], *t[6:]]), "line 6: 1570 columns where 785 are needed"),
    "semicolons": (
        lambda t: text(t).replace(",", ";"),
        "line 1: column 1 is 'pixel0000;pixel0001;pixel0002;pixel0003;'...",
    ),
    "empty line": (lambda t: text(t[:9]) + "\n" + "\n".join(text(t[9:]).split("\n")[1:]), "line 11: the line is empty"),
    "cut off": (
        lambda t: text([*t[:-1], t[-1][:600]])[:-1],
        "line 36: 600 columns where 785 are needed: pixel0600 is missing; the file is cut off",
    ),
    "cut off at a comma": (
        lambda t: text(t)[:-2],
        "line 36, column label: needs a whole number from 0 to 255, got nothing",
    ),
    "header only": (lambda t: HEADER + "\n", "line 2: the file ends where the first image should stand"),
    "nothing": (lambda t: "", "line 1: it is an empty file"),
    "no header": (lambda t: text(t).partition("\n")[2], "line 1: column 1 is '0', not pixel0000"),
    "a column renamed": (
        lambda t: text(t).replace("pixel0500", "pixel500", 1),
        "line 1: column 501 is 'pixel500', not pixel0500",
    ),
    "label first": (
        lambda t: text(t).replace(HEADER, "label," + HEADER[:-6]),
        "line 1: column 1 is 'label', not pixel0000",
    ),
    "colour": (
        lambda t: ",".join([*(f"pixel{i:04d}" for i in range(2352)), "label"]) + "\n",
        "line 1: this is the 28 x 28 colour table of the data set ham10000_colour, with 2352 pixel columns",
    ),
    "old Mac line ends": (lambda t: text(t, "\r"), "line 1: "),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_table_is_refused_at_the_place(tmp_path, case, packed):
    change, said = BAD[case]
    content = change(rows()).encode()
    file = tmp_path / "hmnist_28_28_L.csv"
    file.write_bytes(gzip.compress(content) if packed else content)
    for path in (file, tmp_path):
        message = says(load, path)
        assert message.startswith(f"{file}, line ")
        assert said in message
    assert not list(tmp_path.glob("cache/flipbench/parsed/*")), "a bad table was cached"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gzip.compress(text(rows()).encode())[:-2000], "is cut off: the gzip data end early"),
        (gzip.compress(text(rows()).encode())[:6], "is cut off: the gzip data end early"),
        (b"\x1f\x8b\x08\x00" + b"\xff" * 100, "is a damaged gzip file"),
        (b"PK\x03\x04" + b"\x00" * 100, "is a zip archive: unpack it"),
        (text(rows()).encode("utf-16"), "is a file of unknown bytes, and ham10000 reads"),
    ],
    ids=["gz cut off", "gz header cut off", "gz damaged", "zip", "utf-16"],
)
def test_a_damaged_file_says_so(tmp_path, content, said):
    file = tmp_path / "hmnist_28_28_L.csv"
    file.write_bytes(content)
    for path in (file, tmp_path):
        message = says(load, path)
        assert message.startswith(str(file))
        assert said in message


def test_a_renamed_table_with_a_damaged_header_is_not_passed_over(tmp_path, monkeypatch):
    for place in ("env", "cache/flipbench"):
        (tmp_path / place / "ham10000").mkdir(parents=True)
    (tmp_path / "cache/flipbench/ham10000/good.csv").write_text(text(rows()))
    monkeypatch.setenv("FLIPBENCH_DATA", str(tmp_path / "env"))
    bad = tmp_path / "env/ham10000/mine.csv"
    for damaged, said in (
        (text(rows()).replace(",label", ",class", 1), "line 1: column 785 is 'class', not label"),
        (text(rows()).replace("pixel0007,", "", 1), "line 1: column 8 is 'pixel0008', not pixel0007"),
        (text(rows()).replace(",label", "", 1), "line 1: 784 columns where 785 are needed"),
    ):
        bad.write_text(damaged)
        message = says(data.load, "ham10000")
        assert message.startswith(str(bad))
        assert said in message
    bad.write_text("another,table\n")  # not ours: the next place counts
    assert data.load("ham10000").sources == (str(tmp_path / "cache/flipbench/ham10000/good.csv"),)


def test_other_tables_of_the_release_may_lie_beside(tmp_path):
    (tmp_path / "mine.csv").write_text(text(rows()))
    for name, pixels in (("hmnist_28_28_RGB.csv", 2352), ("hmnist_8_8_L.csv", 64), ("hmnist_8_8_RGB.csv", 192)):
        (tmp_path / name).write_text(",".join([*(f"pixel{i:04d}" for i in range(pixels)), "label"]) + "\n")
    assert load(tmp_path).sources == (str(tmp_path / "mine.csv"),)


@pytest.mark.filterwarnings("error")
def test_a_damaged_cache_is_parsed_anew(tmp_path):
    table = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(parsed.cached("key", 4, lambda: table), table)
    (file,) = (locations.cache() / "parsed").iterdir()
    good, draws = file.read_bytes(), random.Random(0)
    for _ in range(500):
        content = bytearray(good)
        for _ in range(draws.randint(1, 3)):
            content[draws.randrange(len(content))] = draws.randrange(256)
        file.write_bytes(content[: draws.choice([len(good), draws.randrange(len(good))])])
        assert np.array_equal(parsed.cached("key", 4, lambda: table), table)
    for other in (table.astype(np.int64), table[:0], table[:, :3], np.array(["a"], dtype=object)):
        np.savez(file, table=other)
        assert np.array_equal(parsed.cached("key", 4, lambda: table), table)
        assert file.read_bytes() == good


def test_two_tables_in_one_folder_are_a_question_for_the_user(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(text(rows()))
    assert "a.csv and b.csv: name the one you mean" in says(load, tmp_path)
    assert load(tmp_path / "a.csv").split == "row"


def test_a_file_beyond_the_limit_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(file_bytes, "LIMIT", 1000)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"0" * 10_000))
    assert "holds more than 1,000 bytes" in says(file_bytes.read, tmp_path / "bomb.gz")


# --- metadata --------------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """Pairs of rows with one label each, so that two rows may be one lesion."""
    made = [[*r[:-1], i // 2 % 7] for i, r in enumerate(rows(140))]
    (tmp_path / "images.csv").write_text(text(made))
    return made


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "HAM10000_metadata", "elsewhere/any.tab"])
def test_metadata_beside_or_named_split_by_lesion(tmp_path, table, name):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(metadata(table, separator="\t" if name.endswith("tab") else ","))
    d = load(tmp_path / "images.csv", **({"metadata": file} if "any" in name else {}))
    assert d.split == "lesion"
    assert d.counts == ((16, 4),) * 7
    lesion = {tuple(r): i // 2 for i, r in enumerate(table)}
    train, test = (
        {lesion[(*x.flatten().tolist(), int(c))] for x, c in zip(*side, strict=True)}
        for side in ((d.train_x, d.train_y), (d.test_x, d.test_y))
    )
    assert len(train | test) == 70
    assert not train & test
    assert load(tmp_path / "images.csv", split="row").split == "row"


def test_who_is_whose_lesion_enters_the_hash_and_the_rest_of_the_metadata_does_not(tmp_path, table):
    file, ref = tmp_path / "HAM10000_metadata.csv", f"ham10000(path='{tmp_path}')"
    alone = data.content_hash(ref)
    file.write_text(metadata(table))
    with_lesions = data.content_hash(ref)
    file.write_text(metadata(table, separator="\t").replace("\tI", "\tISIC_"))
    assert data.content_hash(ref) == with_lesions != alone
    file.write_text(metadata(table).replace("L0,", "L1,"))
    assert data.content_hash(ref) == data.load(ref).sha256 not in (with_lesions, alone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda m: m.replace("L1,I2,bcc", "L1,I2,mel"),
            "line 4, column dx: 'mel', but line 4 of the images has label 1, which is 'bcc'",
        ),
        (lambda m: m.rpartition("L69")[0], "139 rows for 140 images"),
        (lambda m: m + "L70,I140,nv\n", "141 rows for 140 images"),
        (lambda m: m.replace("lesion_id", "lesion", 1), "line 1: no column lesion_id"),
        (lambda m: m.replace(",dx", ",diagnosis", 1), "line 1: no column dx"),
        (lambda m: m.replace("L3,I6,df", "L3,df"), "line 8: 2 columns, and the header has 3"),
        (lambda m: m.replace("L3,I6,df", ",I6,df"), "line 8, column lesion_id: it is empty"),
        (lambda m: m.replace("L3,I6,df", 'L3,"I6,df'), "not a CSV"),
        (lambda m: "", "line 1: no column lesion_id"),
        (lambda m: m.replace("L3", "\udcff"), "is not UTF-8 text"),
    ],
)
def test_bad_metadata_is_an_error_with_the_row(tmp_path, table, change, said):
    file = tmp_path / "HAM10000_metadata.csv"
    file.write_bytes(change(metadata(table)).encode(errors="surrogateescape"))
    message = says(load, tmp_path)
    assert message.startswith(str(file))
    assert said in message


def test_metadata_that_is_not_there_or_not_wanted(tmp_path, table):
    assert "cannot be read: No such file" in says(lambda: load(tmp_path, metadata="/no/such.csv"))
    assert "leave one of the two out" in says(lambda: load(tmp_path, metadata="x.csv", split="row"))


# --- IDX -------------------------------------------------------------------------------------------------------------


BAD_IDX = {
    "good": (IMAGES, lambda b: b, None),
    "labels for images": (IMAGES, lambda b: good()[LABELS], "starts with 00 00 08 03, this one with 00 00 08 01"),
    "images for labels": (LABELS, lambda b: good()[IMAGES], "starts with 00 00 08 01, this one with 00 00 08 03"),
    "floats": (IMAGES, lambda b: b"\0\0\x0d\x03" + b[4:], "this one with 00 00 0d 03"),
    "nothing": (IMAGES, lambda b: b"", "this one with nothing"),
    "header cut off": (IMAGES, lambda b: b[:9], "cut off at byte 9, in a header of 16 bytes"),
    "cut off": (
        IMAGES,
        lambda b: b[:-1],
        "cut off: the header announces 10 x 28 x 28 values, hence 7856 bytes, and there are 7855",
    ),
    "too long": (IMAGES, lambda b: b + b"\0", "too long: the header announces 10 x 28 x 28 values"),
    "huge sizes": (
        IMAGES,
        lambda b: header(2**32 - 1, 2**32 - 1, 2**32 - 1) + b[16:],
        "cut off: the header announces 4294967295 x",
    ),
    "other shape": (IMAGES, lambda b: header(10, 14, 56) + b[16:], "images of 14 x 56 pixels; 28 x 28 are needed"),
    "label 10": (LABELS, lambda b: b[:-2] + b"\x0a\x09", "label 8 (counted from 0) is 10, not one of 0 to 9"),
    "label count": (LABELS, lambda b: header(9) + b[8:-1], "9 labels for 10 images"),
    "no label": (LABELS, lambda b: header(0), "the header announces 0 values: it holds no example"),
    "no image": (IMAGES, lambda b: header(0, 28, 28), "the header announces 0 x 28 x 28 values: it holds no example"),
    "huge images of none": (IMAGES, lambda b: header(0, 2**32 - 1, 2**32 - 1), "announces 0 x 4294967295 x 4294967295"),
    "web page": (IMAGES, lambda b: b"<!DOCTYPE html>", "this one with 3c 21 44 4f"),
}


@pytest.mark.parametrize("case", BAD_IDX)
@pytest.mark.parametrize("packed", [False, True])
def test_a_bad_idx_file_is_refused(tmp_path, case, packed):
    part, change, said = BAD_IDX[case]
    for name, content in good().items():
        content = change(content) if name == part else content
        (tmp_path / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    if said is None:
        d = data.load(f"mnist(path='{tmp_path}')")
        assert d.train_x[0].flatten().tolist() == (list(range(256)) * 4)[:784]
        assert (d.train_y.tolist(), d.test_y.tolist()) == (list(range(10)), list(range(5)))
        return
    message = says(data.load, f"mnist(path='{tmp_path}')")
    assert message.startswith(str(tmp_path / part))
    assert said in message


# --- fuzz: right, or a typed error -----------------------------------------------------------------------------------


@given(
    table=st.lists(st.lists(st.integers(0, 255), min_size=4, max_size=4), min_size=1, max_size=6),
    damage=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.sampled_from(DAMAGE)), max_size=3),
)
@settings(max_examples=400, deadline=None)
def test_a_damaged_table_is_read_by_the_letter_or_refused(table, damage):
    content = "".join(",".join(map(str, row)) + "\n" for row in table).encode()
    for position, length, piece in damage:
        content = content[:position] + piece + content[position + length :]
    check_csv(content)


@given(content=st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_table_or_refused(content):
    check_csv(content)


@given(
    start=st.sampled_from([good()[IMAGES][:40], good()[LABELS], gzip.compress(good()[LABELS])]),
    changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
    length=st.integers(0, 60),
)
@settings(max_examples=300, deadline=None)
def test_damaged_idx_and_gzip_are_read_or_refused(tmp_path_factory, start, changes, length):
    content = bytearray(start[:length])
    for position, value in changes:
        if position < len(content):
            content[position] = value
    file = tmp_path_factory.getbasetemp() / f"fuzz{random.getrandbits(32)}"
    check_idx(bytes(content), file)
    file.unlink()
