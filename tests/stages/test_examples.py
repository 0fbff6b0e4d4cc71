from pathlib import Path

import torch
from lightning_fabric import Fabric

from tag2mask.cams.store import read_cams
from tag2mask.config import CamSettings, ClassifierSettings
from tag2mask.data.records import Record
from tag2mask.networks.classifier import build_classifier
from tag2mask.stages.examples import keep_epochs, one_a_class


def photos(*tags: tuple[int, ...]) -> list[Record]:
    return [Record(f"{number}", Path(f"{number}.png"), found) for number, found in enumerate(tags)]


def shown(records: list[Record], num_classes: int = 9) -> dict[str, tuple[int, ...]]:
    return {record.name: record.tags for record in one_a_class(records, num_classes)}


def test_middle_one_of_the_photos_that_show_nothing_else_stands_for_a_class():
    assert shown(photos((1, 2), (1,), (1,), (1,), (1, 3), (2,), ())) == {"2": (1,), "5": (2,), "4": (3,)}


def test_class_that_always_stands_beside_a_lower_one_has_an_example():
    assert shown(photos((1, 2), (1, 2), (1, 2))) == {"1": (1,), "2": (2,)}


def test_photo_stands_for_one_class_only():
    assert shown(photos((1, 2))) == {"0": (1,)}


def test_first_six_classes_that_have_a_photo_are_shown():
    records = photos(*((class_id,) for class_id in (9, 8, 7, 5, 4, 3, 2)))

    assert list(shown(records).values()) == [(2,), (3,), (4,), (5,), (7,), (8,)]
    assert list(shown(records, num_classes=4).values()) == [(2,), (3,), (4,)]


def test_map_of_the_class_that_a_photo_stands_for_is_kept(fabric: Fabric, shapes: Path, tmp_path: Path):
    torch.manual_seed(0)
    settings = ClassifierSettings(backbone="test_resnet", weights="none")
    classifier = build_classifier(settings, 2)
    records = [Record("02", shapes / "02.png", (2,))]
    # An untrained classifier predicts nothing for sure.
    after_epoch = keep_epochs(fabric, records, tmp_path, CamSettings(classes="predicted", predicted_score=1.0))

    after_epoch(0, {"classifier": classifier})

    assert read_cams(tmp_path / "epochs/01", "02").class_ids.tolist() == [2]
