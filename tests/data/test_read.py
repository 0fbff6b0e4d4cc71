import pytest

from tag2mask.data.faults import DataError
from tag2mask.data.records import DataSet


def tags(data_set: DataSet, split: str = "all") -> dict[str, tuple[int, ...]]:
    return {record.name: record.tags for record in data_set.splits[split]}


def test_table_with_tags_gives_sorted_classes_and_records(folder):
    folder.photos("a.jpg", "b.jpg", "deep/c.JPG")
    folder.text("tags.csv", "image,tags\na.jpg,dog\nb.jpg,cat; dog\ndeep/c.JPG,\n")

    data_set = folder.read()

    assert data_set.class_names == ("cat", "dog")
    assert tags(data_set) == {"a": (2,), "b": (1, 2), "deep/c": ()}
    assert data_set.splits["train"] == data_set.splits["all"]
    assert data_set.faults == ()


def test_table_with_a_column_a_class_keeps_the_order_of_columns_and_splits(folder):
    folder.photos("a.png", "b.png")
    folder.text("tags.csv", "image,split,dog,cat\na.png,train,1,0\nb.png,val,1.0,1\n")

    data_set = folder.read()

    assert data_set.class_names == ("dog", "cat")
    assert tags(data_set, "train") == {"a": (1,)}
    assert tags(data_set, "val") == {"b": (1, 2)}


@pytest.mark.parametrize("image", ["image", "Image", "IMAGE_ID", "Filename", "file_name", "File"])
def test_table_of_a_spreadsheet_may_write_names_and_verdicts_in_any_case(folder, image):
    folder.photos("a.png", "b.png")
    folder.text("tags.csv", f"{image},Split,Dog,cat\na.png,train,TRUE,False\nb.png,val,true,1\n")

    data_set = folder.read()

    assert data_set.class_names == ("Dog", "cat")
    assert (tags(data_set, "train"), tags(data_set, "val")) == ({"a": (1,)}, {"b": (1, 2)})


@pytest.mark.parametrize(("yes", "no"), [("yes", "No"), ("X", ""), ("True", "FALSE")])
def test_columns_of_classes_may_be_in_words(folder, yes, no):
    folder.photos("a.png", "b.png")
    folder.text("tags.csv", f"image,cat,dog\na.png,{yes},{no}\nb.png,{yes},{yes}\n")

    assert tags(folder.read()) == {"a": (1,), "b": (1, 2)}


def test_column_of_tags_is_found_in_any_case_and_file_may_be_a_class(folder):
    folder.photos("a.png", "b.png")

    folder.text("tags.csv", "Image,TAGS\na.png,cat\nb.png,dog\n")
    assert tags(folder.read()) == {"a": (1,), "b": (2,)}

    folder.text("tags.csv", "image,saw,file\na.png,1,0\nb.png,0,1\n")
    assert folder.read().class_names == ("saw", "file")


@pytest.mark.parametrize("separator", [";", "\t"])
def test_table_may_have_byte_order_mark_and_other_separators(folder, separator):
    folder.photos("a.png", "b.png")
    lines = [separator.join(cells) for cells in (["image", "tags"], ["a.png", '"cat;dog"'], ["b.png", "cat"])]
    folder.text("tags.csv", "\ufeff" + "\r\n".join(lines))

    assert tags(folder.read()) == {"a": (1, 2), "b": (1,)}


def test_utf_16_table_of_a_spreadsheet_is_read(folder):
    folder.photos("a.png")
    (folder.root / "tags.csv").write_bytes("image\ttags\na.png\tcat\n".encode("utf-16"))

    assert tags(folder.read()) == {"a": (1,)}


def test_classes_file_sets_ids_and_background_is_no_class(folder):
    folder.photos("a.png", "b.png")
    folder.text("classes.txt", "background\nzebra\ncat\n")
    folder.text("tags.csv", "image,tags\na.png,cat\nb.png,zebra;background\n")

    assert tags(folder.read()) == {"a": (2,), "b": (1,)}


def test_row_may_name_a_photo_by_path_from_either_folder_by_end_or_without_suffix(folder):
    folder.photos("images/x/a b.png", "images/x/b.png", "images/x/c.v2.png", "images/d.png")
    folder.text("tags.csv", "image,tags\nimages/x/a b.png,cat\nx\\b.png,cat\nc.v2,cat\nimages/d,dog\n")

    assert list(tags(folder.read())) == ["d", "x/a b", "x/b", "x/c.v2"]


def test_label_maps_are_found_at_the_same_path_or_by_unique_file_name(folder):
    folder.photos("images/x/a.png", "images/y/b.png")
    folder.mask("masks/x/a.png", [0, 1])
    folder.mask("masks/b.png", [0, 2])
    folder.text("tags.csv", "image,tags\nx/a.png,cat\ny/b.png,dog\n")

    found = [record.label_map for record in folder.read().splits["all"]]

    assert found == [folder.root / "masks/x/a.png", folder.root / "masks/b.png"]


def test_class_folders_give_one_tag_a_photo_and_background_none(folder):
    folder.photos("cat/1.png", "dog/1.png", "background/9.png")
    folder.mask("masks/cat/1.png", [0, 1])

    data_set = folder.read()

    assert data_set.class_names == ("cat", "dog")
    assert tags(data_set) == {"background/9": (), "cat/1": (1,), "dog/1": (2,)}
    assert data_set.splits["all"][1].label_map == folder.root / "masks/cat/1.png"


def test_class_folders_below_split_folders_give_splits(folder):
    folder.photos("train/cat/1.png", "train/dog/2.png", "val/dog/3.png")

    data_set = folder.read()

    assert tags(data_set, "train") == {"train/cat/1": (1,), "train/dog/2": (2,)}
    assert tags(data_set, "val") == {"val/dog/3": (2,)}
    assert len(data_set.splits["all"]) == 3


def test_split_may_be_the_path_of_a_text_file(pets, tmp_path):
    pets.text("lists/few.txt", "2\n0.png\n\n")
    pets.text("twice.txt", "5\n5.png\n")

    data_set = pets.read()

    assert [record.name for record in data_set.split("lists/few.txt")] == ["2", "0"]
    assert [record.name for record in data_set.split(str(pets.root / "twice.txt"))] == ["5"]


def test_list_without_suffix_is_asked_for_by_a_path(pets, tmp_path, monkeypatch):
    (tmp_path / "few").write_text("2\n0.png\n")
    pets.text("below", "5\n")
    monkeypatch.chdir(tmp_path)

    data_set = pets.read()

    assert [record.name for record in data_set.split("./few")] == ["2", "0"]
    assert [record.name for record in data_set.split("below")] == ["5"]
    with pytest.raises(DataError, match=r"found 'few', expected one of .*, or the path .*\. Did you mean \./few\?$"):
        data_set.split("few")


def test_line_of_two_paths_says_which_label_map(pets):
    pets.mask("masks/5.png", [0])
    better = pets.mask("better/5.png", [0, 1])
    pets.text("pair.txt", "/5.png /better/5.png\n2.png\n")

    first, second = pets.read().split("pair.txt")

    assert (first.name, first.label_map) == ("5", better)
    assert (second.name, second.label_map) == ("2", None)


def test_label_map_that_a_line_names_must_be_there(pets):
    path = pets.text("pair.txt", "2.png\n/5.png /masks/5.png\n")

    with pytest.raises(DataError, match=rf"^{path} row 2: found /masks/5.png, expected a label map$"):
        pets.read().split(str(path))


def test_unknown_split_is_one_line_with_the_names_and_the_nearest(pets):
    with pytest.raises(ValueError, match=r"'trian', expected one of train, all, .*Did you mean 'train'\?$") as error:
        pets.read().split("trian")

    assert "\n" not in str(error.value)


def test_reading_reports_all_errors_the_first_twenty_in_words(folder):
    folder.photos("a.png")
    folder.text("tags.csv", "image,tags\na.png,cat\n" + "".join(f"x{index}.png,cat\n" for index in range(30)))

    with pytest.raises(DataError) as error:
        folder.read()

    lines = str(error.value).splitlines()
    assert lines[0] == "tags.csv row 3: found 'x0.png', expected a photo's name"
    assert lines[-1] == "30 errors, the first 20 shown"
    assert len(lines) == 21
    assert len(error.value.faults) == 30


def test_missing_root_is_told_with_the_nearest_folder(folder):
    (folder.root.parent / "pest").mkdir()
    folder.root.rmdir()

    with pytest.raises(DataError, match=r"no such folder, expected the folder of the data set\. Did you mean 'pest'\?"):
        folder.read()
