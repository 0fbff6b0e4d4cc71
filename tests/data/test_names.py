import pytest

from tag2mask.data.names import NameIndex, path_inside, without_suffix

KEYS = ("a.jpg", "x/a.jpg", "x/b.v2.png", "y/c.png")


def test_exact_path_comes_before_path_without_suffix_before_end_of_path():
    index = NameIndex(KEYS)

    assert index.find("x/a.jpg") == ("x/a.jpg",)
    assert index.find("a") == ("a.jpg",)
    assert index.find("b.v2") == ("x/b.v2.png",)
    assert index.find("c.png") == ("y/c.png",)
    assert index.find("d") == ()


def test_only_the_suffix_of_a_photo_is_cut():
    assert without_suffix("x/b.v2.png") == "x/b.v2"
    assert without_suffix("b.v2") == "b.v2"
    assert without_suffix("B.JPG") == "B"


def test_path_inside_is_relative_and_none_when_it_leads_outside(tmp_path):
    (tmp_path / "JPEGImages").mkdir()
    (tmp_path / "JPEGImages" / "a.jpg").touch()

    assert path_inside(tmp_path, " ./x/a b.jpg") == "x/a b.jpg"
    assert path_inside(tmp_path, "x\\a.jpg") == "x/a.jpg"
    assert path_inside(tmp_path, f"{tmp_path}/x/a.jpg") == "x/a.jpg"
    assert path_inside(tmp_path, "/JPEGImages/a.jpg") == "JPEGImages/a.jpg"
    assert path_inside(tmp_path, "/JPEGImages/b.jpg") is None
    assert path_inside(tmp_path, "x/../../a.jpg") is None


@pytest.mark.parametrize("root", ["real", "link"])
@pytest.mark.parametrize("written", ["real", "link"])
def test_absolute_path_is_inside_by_whatever_name_the_folder_has(tmp_path, root, written):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    # Photos may be links too.
    (tmp_path / "real" / "x").symlink_to(tmp_path)

    inside = path_inside(tmp_path / root, f"{tmp_path}/{written}/x/a.jpg")

    assert inside == "x/a.jpg"


def test_absolute_path_of_another_folder_is_not(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "really").mkdir()

    assert path_inside(tmp_path / "real", f"{tmp_path}/really/a.jpg") is None
