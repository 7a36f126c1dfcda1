from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from napari_ct2mri.errors import PairError
from napari_ct2mri.pix2pix.pairs import PairRow, read_pairs, write_pairs

HEADER = "ct,mr,patient,contrast,split\n"
MakePairs = Callable[..., Path]


def test_rows_are_read_in_order_with_absolute_meaning(make_pairs: MakePairs) -> None:
    pairs = read_pairs(make_pairs({"a": ("T2", "train"), "b": ("T1", "val")}, slices=2))
    assert pairs.contrasts == ("T2", "T1")
    assert [row.line for row in pairs.rows] == [2, 3, 4, 5]
    assert [row.patient for row in pairs.where("val").rows] == ["b", "b"]
    assert all(row.ct.is_file() for row in pairs.rows)
    assert not pairs.where("train", "T1").rows


def test_the_contrast_with_most_rows_comes_first(make_pairs: MakePairs) -> None:
    pairs = read_pairs(make_pairs({"a": ("PD", "train"), "b": ("T2", "train"), "c": ("T2", "val")}))
    assert pairs.contrasts == ("T2", "PD")


def test_what_is_written_is_read(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = read_pairs(make_pairs())
    (tmp_path / "deeper").mkdir()
    copy = tmp_path / "deeper" / "copy.csv"
    write_pairs(copy, pairs.rows)
    again = read_pairs(copy)
    assert [(r.ct.resolve(), r.slice_index) for r in again.rows] == [
        (r.ct.resolve(), r.slice_index) for r in pairs.rows
    ]
    assert "../a-ct-0.png" in copy.read_text()


def test_spaces_around_cells_say_nothing(make_pairs: MakePairs) -> None:
    path = make_pairs()
    path.write_text(HEADER + " a-ct-0.png , a-mr-0.png , a , T2 , train \n")
    (row,) = read_pairs(path).rows
    assert (row.ct.name, row.mr.name) == ("a-ct-0.png", "a-mr-0.png")
    assert (row.patient, row.contrast, row.split) == ("a", "T2", "train")


def test_a_list_that_breaks_off_leaves_the_former(make_pairs: MakePairs) -> None:
    path = make_pairs()
    row, before = read_pairs(path).rows[0], sorted(path.parent.iterdir())
    text = path.read_text()
    with pytest.raises(UnicodeEncodeError):
        write_pairs(path, [row, replace(row, patient="\ud800")])
    assert path.read_text() == text
    assert sorted(path.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; expected the columns"),
        (HEADER, "no rows"),
        ("ct,mr,patient,split\n", "lacks contrast"),
        (HEADER.replace("\n", ",colour\n"), "unknown colour"),
        (HEADER + "a-ct-0.png,a-mr-0.png,a,T2\n", "line 2: has more or fewer cells"),
        (HEADER + "a-ct-0.png,a-mr-0.png,,T2,train\n", "line 2: patient is empty"),
        (HEADER + "a-ct-0.png,a-mr-0.png,a,T2,training\n", "'training' is not one of train"),
        (HEADER + "a-ct-0.png,a-ct-0.png,a,T2,train\n", "are the same file"),
        (HEADER + "a-ct-0.png,a-mr-0.png,a,T2 weighted,train\n", "line 2: contrast 'T2 weighted'"),
    ],
)
def test_a_broken_list_is_one_line(make_pairs: MakePairs, text: str, message: str) -> None:
    path = make_pairs()
    path.write_text(text)
    with pytest.raises(PairError, match=message) as caught:
        read_pairs(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("index", ["--5", "-", "\u00b2", "5-", "\u0665", "1.5", "+3", "1234567890"])
def test_a_slice_that_is_no_whole_number_names_its_line(make_pairs: MakePairs, index: str) -> None:
    path = make_pairs()
    header = HEADER.replace("\n", ",slice\n")
    path.write_text(header + f"a-ct-0.png,a-mr-0.png,a,T2,train,{index}\n", encoding="utf-8")
    with pytest.raises(PairError, match=r"line 2: slice .* is not a whole number"):
        read_pairs(path)


def test_slices_are_counted_from_anywhere(make_pairs: MakePairs) -> None:
    path = make_pairs()
    rows = "".join(f"a-ct-0.png,a-mr-0.png,a,T2,train,{index}\n" for index in ("-5", "07", ""))
    path.write_text(HEADER.replace("\n", ",slice\n") + rows)
    assert [row.slice_index for row in read_pairs(path).rows] == [-5, 7, None]


def test_a_file_missing_on_row_17_is_named(make_pairs: MakePairs) -> None:
    path = make_pairs(dict.fromkeys("abcdefg", ("T2", "train")))
    lines = path.read_text().splitlines()
    lines[16] = lines[16].replace("-ct-", "-gone-")
    path.write_text("\n".join(lines))
    with pytest.raises(PairError, match=r"line 17: f-gone-0\.png does not exist"):
        read_pairs(path)


def test_a_patient_in_two_splits_is_named(make_pairs: MakePairs) -> None:
    path = make_pairs()
    path.write_text(path.read_text().replace("b,T2,train,2", "b,T2,test,2"))
    with pytest.raises(PairError, match="patient 'b' stands in two splits, train and test"):
        read_pairs(path)


def test_binary_is_no_csv(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(bytes(range(256)))
    with pytest.raises(PairError, match="not a CSV"):
        read_pairs(path)


def test_a_row_is_a_value(tmp_path: Path) -> None:
    row = PairRow(tmp_path / "a", tmp_path / "b", "p", "T2", "train")
    with pytest.raises(AttributeError):
        row.patient = "q"  # type: ignore[misc]
