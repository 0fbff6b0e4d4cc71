import pytest

from tag2mask.data.records import split_role


@pytest.mark.parametrize(
    ("role", "names"),
    [
        ("train", "train Training train2017"),
        ("val", "val VALID validation2012"),
        ("test", "test testing Test2014"),
        (None, "train1 test12 trainval val2014_nonempty extra all"),
    ],
)
def test_usual_names_of_splits_say_what_they_are_for_of_any_year(role, names):
    assert {name: split_role(name) for name in names.split()} == dict.fromkeys(names.split(), role)
