import copy
import csv
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from PIL import Image
from torch import nn

from tag2mask.config import SegmenterSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.photos import FileError, open_photo
from tag2mask.data.records import Record
from tag2mask.data.transforms import normalise, reduce_photo
from tag2mask.networks.deeplab import DeepLab, build_deeplab
from tag2mask.predicting import photos_below, predict_folder, predict_records
from tag2mask.prediction import Prediction, Segmenter, predict_scores, renew_settings

SETTINGS = SegmenterSettings(backbone="test_resnet", head="deeplab_v2", output_stride=8, scales=(0.5, 1.0, 1.5))
NAMES = ("disc", "square")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> DeepLab:
    """Drawn at random, with scores far enough apart that rounding decides nothing."""
    torch.manual_seed(2)
    network = build_deeplab(SETTINGS, len(NAMES))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
        elif isinstance(module, nn.Conv2d) and module.out_channels == 3:
            nn.init.normal_(module.weight, std=0.5)
    network.backbone.mean, network.backbone.std = (0.4, 0.5, 0.6), (0.3, 0.2, 0.25)
    return network


@pytest.fixture(scope="module")
def segmenter(network: DeepLab) -> Segmenter:
    return Segmenter(network, SETTINGS, NAMES)


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture
def folder(shapes: Path, tmp_path: Path) -> Path:
    """Three photos: one stands on its side and says so in its EXIF, one lies in a subfolder, and a broken one."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    exif = Image.Exif()
    # Turned by a quarter.
    exif[274] = 6
    open_photo(shapes / "00.png").save(root / "turned.jpg", exif=exif)
    shutil.copy(shapes / "01.png", root / "more" / "turned.png")
    (root / "broken.jpg").write_bytes((root / "turned.jpg").read_bytes()[:300])
    return root


@pytest.mark.parametrize("fuse", ["max", "mean"])
def test_scores_join_scales_and_mirror_images(fuse: Any, network: DeepLab, shapes: Path):
    photo = open_photo(shapes / "00.png")

    scores = predict_scores(network.eval(), photo, replace(SETTINGS, fuse=fuse))

    found = []
    for size in ((24, 18), (48, 36), (72, 54)):
        for turned in (False, True):
            image = photo.resize(size, Image.Resampling.BICUBIC)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turned else image
            with torch.no_grad():
                logits = network(normalise(image, network.backbone.mean, network.backbone.std)[None])
            full = F.interpolate(logits, size=(36, 48), mode="bilinear")[0].softmax(0)
            found.append(full.flip(2) if turned else full)
    expected = torch.stack(found).amax(0) if fuse == "max" else torch.stack(found).mean(0)
    torch.testing.assert_close(scores, expected)
    assert scores.shape == (3, 36, 48)


def test_camera_photo_is_labelled_as_brought_down_and_at_its_own_size(network: DeepLab, shapes: Path):
    photo = open_photo(shapes / "00.png").resize((3000, 2250))
    settings = replace(SETTINGS, scales=(1.0,), long_side=200)

    label_map = Segmenter(network, settings, NAMES).predict(photo).label_map

    scores = predict_scores(network, reduce_photo(photo, 200), settings)
    expected = F.interpolate(scores[None], size=(2250, 3000), mode="bilinear")[0].argmax(0).numpy()
    assert scores.shape == (3, 150, 200)
    assert len(np.unique(label_map)) > 1
    # Where two labels are level, rounding decides.
    assert label_map.shape == (2250, 3000)
    assert (label_map == expected).mean() > 0.9999


def test_photo_that_is_not_larger_is_labelled_as_ever(segmenter: Segmenter, network: DeepLab, shapes: Path):
    expected = segmenter.predict(shapes / "00.png").label_map

    for long_side in (48, 1000):
        settings = replace(SETTINGS, long_side=long_side)
        assert np.array_equal(Segmenter(network, settings, NAMES).predict(shapes / "00.png").label_map, expected)


def test_crf_shares_every_pixel_among_the_labels_that_win_somewhere(network: DeepLab, shapes: Path):
    pytest.importorskip("tag2mask.refinement.crf")
    photo = open_photo(shapes / "00.png")
    before = predict_scores(network, photo, SETTINGS)

    scores = predict_scores(network, photo, replace(SETTINGS, crf="mctformer"))

    winners = torch.unique(before.argmax(0)).tolist()
    torch.testing.assert_close(scores.sum(0), torch.ones(36, 48))
    assert [label for label in range(3) if scores[label].any()] == winners
    assert not torch.equal(scores.argmax(0), before.argmax(0))


def test_prediction_is_the_label_of_the_highest_score(segmenter: Segmenter, network: DeepLab, shapes: Path):
    photo = open_photo(shapes / "00.png")

    prediction = segmenter.predict(shapes / "00.png")

    assert prediction.label_map.dtype == np.uint8
    assert np.array_equal(prediction.label_map, predict_scores(network, photo, SETTINGS).argmax(0).numpy())
    assert len(prediction.areas) > 1
    for same in (photo, str(shapes / "00.png")):
        assert np.array_equal(segmenter.predict(same).label_map, prediction.label_map)


def test_what_is_no_photo_is_told(segmenter: Segmenter):
    with pytest.raises(TypeError, match=r"^image: found ndarray, expected the path of a photo or a Pillow image"):
        segmenter.predict(np.zeros((4, 4, 3), np.uint8))  # type: ignore[arg-type]


def test_areas_and_overlay_by_hand():
    photo = Image.new("RGB", (3, 1), (200, 100, 0))
    prediction = Prediction(photo, np.array([[0, 2, 0]], np.uint8), NAMES)

    overlay = np.asarray(prediction.overlay)[0].tolist()

    assert prediction.areas == {"background": 2, "square": 1}
    # 0.4 of the photo and 0.6 of VOC's second colour, (0, 128, 0).
    assert overlay == [[200, 100, 0], [80, 117, 0], [200, 100, 0]]


def test_photo_is_turned_upright_as_its_exif_says(segmenter: Segmenter, folder: Path, tmp_path: Path):
    upright = open_photo(folder / "turned.jpg")
    upright.save(tmp_path / "upright.png")

    prediction = segmenter.predict(folder / "turned.jpg")

    assert prediction.label_map.shape == (48, 36)
    assert np.array_equal(prediction.label_map, segmenter.predict(tmp_path / "upright.png").label_map)
    # As Pillow gives it, with its EXIF.
    assert segmenter.predict(Image.open(folder / "turned.jpg")).label_map.shape == (48, 36)


def test_copied_model_folder_predicts_the_same_bytes(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    segmenter.save(tmp_path / "model")
    shutil.copytree(tmp_path / "model", tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "model")

    loaded = Segmenter.load(str(tmp_path / "elsewhere"))
    for name, each in {"before": segmenter, "after": loaded}.items():
        predict_folder(fabric, each, {"photo": shapes / "00.png"}, folder=tmp_path / name)

    assert loaded.settings == SETTINGS
    assert loaded.class_names == NAMES
    assert len({(tmp_path / name / "masks" / "photo.png").read_bytes() for name in ("before", "after")}) == 1


def test_model_folder_takes_new_settings_of_its_predictions_alone(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path)
    wanted = replace(SETTINGS, scales=(0.75,), fuse="mean", long_side=320, crf="deeplab")

    renew_settings(tmp_path, replace(wanted, head="deeplab_v1", backbone="resnet38"))

    loaded = Segmenter.load(tmp_path)
    assert loaded.settings == wanted
    assert loaded.class_names == NAMES
    assert (loaded.network.backbone.mean, loaded.network.backbone.std) == ((0.4, 0.5, 0.6), (0.3, 0.2, 0.25))


def test_model_folder_with_these_settings_is_left_alone(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    renew_settings(tmp_path, SETTINGS)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_model_folder_tells_all_about_itself(network: DeepLab, tmp_path: Path):
    settings = replace(SETTINGS, weights=str(tmp_path / "secret.safetensors"))
    Segmenter(network, settings, ("a|b", "Vögel")).save(tmp_path / "model", {"mIoU on val": "52.0 %"})

    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")

    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert config["class_names"] == ["a|b", "Vögel"]
    assert config["palette"] == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert (config["mean"], config["std"]) == ([0.4, 0.5, 0.6], [0.3, 0.2, 0.25])
    assert "secret" not in json.dumps(config) + card
    assert "| mIoU on val | 52.0 % |" in card
    assert "| 1 | a\\|b | #800000 |\n| 2 | Vögel | #008000 |" in card


def test_folder_without_a_model_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match=r"found no config\.json, expected a model folder"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize("config", ["{", "[]", '{"segmenter": {"head": "deeplab_v2"}}'])
def test_broken_config_is_told(config: str, tmp_path: Path):
    (tmp_path / "config.json").write_text(config)

    with pytest.raises(ValueError, match=r"config\.json: found .*, expected what a training wrote"):
        Segmenter.load(tmp_path)


def test_weights_of_another_number_of_classes_are_told(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"class_names": ["one"]}))

    with pytest.raises(ValueError, match=r"model\.safetensors: head\..* is \(3,\), but \(2,\) is needed$"):
        Segmenter.load(tmp_path)


def test_no_two_classes_share_a_colour():
    assert len(set(voc_palette())) == 256


def test_folder_of_photos_becomes_masks_overlays_and_areas(
    segmenter: Segmenter, fabric: Fabric, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "out"
    photos = photos_below(folder, without=out)

    with caplog.at_level(logging.WARNING):
        result = predict_folder(fabric, segmenter, photos, folder=out)

    assert list(photos) == ["broken", "more/turned", "turned"]
    assert result == (3, ("broken",))
    assert [record.getMessage().startswith(f"skipped {folder / 'broken.jpg'}: found") for record in caplog.records] == [
        True
    ]
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {
        "areas.csv", "photos.json", "masks/turned.png", "overlays/turned.jpg", "masks/more/turned.png",
        "overlays/more/turned.jpg",
    }  # fmt: skip
    mask = Image.open(out / "masks" / "turned.png")
    prediction = segmenter.predict(folder / "turned.jpg")
    assert (mask.mode, mask.size) == ("P", (36, 48))
    assert np.array_equal(np.asarray(mask), prediction.label_map)
    assert Image.open(out / "overlays" / "turned.jpg").size == (36, 48)
    with (out / "areas.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["photo"] == "turned"]
    assert {row["class"]: int(row["pixels"]) for row in rows} == prediction.areas
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_photo_that_needs_too_much_memory_is_named_and_the_others_go_on(
    network: DeepLab, fabric: Fabric, folder: Path, shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    photos = {"turned": folder / "turned.jpg", "lying": shapes / "00.png"}
    greedy = copy.deepcopy(network)
    # More than any machine has, for upright photos alone.
    greedy.register_forward_pre_hook(
        lambda _, images: torch.empty(2**55) if images[0].shape[2] > images[0].shape[3] else None
    )

    with caplog.at_level(logging.WARNING):
        result = predict_folder(fabric, Segmenter(greedy, SETTINGS, NAMES), photos, folder=tmp_path / "out")

    assert result == (2, ("turned",))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"skipped {folder / 'turned.jpg'}: out of memory")
    assert "segmenter.long_side" in line


def test_other_errors_of_a_network_stop_the_folder(network: DeepLab, fabric: Fabric, folder: Path, tmp_path: Path):
    broken = copy.deepcopy(network)
    broken.register_forward_pre_hook(lambda _, images: images[0][:, :2])

    with pytest.raises(RuntimeError, match="channels"):
        predict_folder(fabric, Segmenter(broken, SETTINGS, NAMES), {"a": folder / "turned.jpg"}, folder=tmp_path / "a")


def test_predictions_go_on_where_they_were_stopped(segmenter: Segmenter, fabric: Fabric, folder: Path, tmp_path: Path):
    out = tmp_path / "out"
    photos = photos_below(folder, without=out)
    predict_folder(fabric, segmenter, photos, folder=out)
    unbroken = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    (out / "masks" / "turned.png").unlink()
    kept = (out / "masks" / "more" / "turned.png").stat().st_mtime_ns

    predict_folder(fabric, segmenter, photos, folder=out)

    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == unbroken
    assert (out / "masks" / "more" / "turned.png").stat().st_mtime_ns == kept


def test_other_photos_of_the_same_names_are_predicted_anew(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out, other = tmp_path / "out", tmp_path / "other"
    first = {"1": shapes / "00.png", "2": shapes / "01.png"}
    second = {"1": shapes / "02.png", "2": shapes / "01.png"}
    predict_folder(fabric, segmenter, first, folder=out)
    kept = (out / "masks" / "2.png").stat().st_mtime_ns
    predict_folder(fabric, segmenter, second, folder=other)

    with caplog.at_level(logging.INFO):
        predict_folder(fabric, segmenter, second, folder=out)

    for file in ("masks/1.png", "overlays/1.jpg", "areas.csv", "photos.json"):
        assert (out / file).read_bytes() == (other / file).read_bytes(), file
    assert (out / "masks" / "2.png").stat().st_mtime_ns == kept
    told = f"1 of 2 photos are redone, for their masks in {out} were made of other ones: 1"
    assert caplog.messages.count(told) == 1


def test_photo_that_was_changed_is_predicted_anew_also_where_that_was_stopped(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    shutil.copy(shapes / "00.png", photo)
    predict_folder(fabric, segmenter, {"photo": photo}, folder=out)
    photo.write_bytes(b"half a copy")
    stopped = predict_folder(fabric, segmenter, {"photo": photo}, folder=out)
    shutil.copy(shapes / "02.png", photo)

    predict_folder(fabric, segmenter, {"photo": photo}, folder=out)

    assert stopped.failed == ("photo",)
    expected = segmenter.predict(photo).label_map
    assert np.array_equal(np.asarray(Image.open(out / "masks" / "photo.png")), expected)


def test_mask_of_a_photo_that_is_gone_is_not_taken_for_its_own(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    predict_folder(fabric, segmenter, {"photo": shapes / "00.png"}, folder=tmp_path)

    result = predict_folder(fabric, segmenter, {"photo": tmp_path / "absent.png"}, folder=tmp_path)

    assert result.failed == ("photo",)
    assert not (tmp_path / "masks" / "photo.png").exists()


def test_photos_that_would_be_called_the_same_keep_their_suffix(shapes: Path, tmp_path: Path):
    shutil.copy(shapes / "00.png", tmp_path / "a.png")
    shutil.copy(shapes / "00.png", tmp_path / "a.jpg")

    assert list(photos_below(tmp_path, without=tmp_path / "out")) == ["a.jpg", "a.png"]


def test_earlier_predictions_are_no_photos(folder: Path, shapes: Path):
    out = folder / "predictions"
    out.mkdir()
    shutil.copy(shapes / "00.png", out / "mask.png")

    assert "predictions/mask" not in photos_below(folder, without=out)


def test_single_photo_is_taken(folder: Path, tmp_path: Path):
    assert photos_below(folder / "turned.jpg", without=tmp_path) == {"turned": folder / "turned.jpg"}


def test_place_without_photos_is_told_when_it_does_not_exist(tmp_path: Path):
    with pytest.raises(ValueError, match="no such file or folder, expected a photo or a folder of photos"):
        photos_below(tmp_path / "none", without=tmp_path / "out")


@pytest.mark.parametrize("out", ["photos", "photos/more/..", "."])
def test_photos_are_not_looked_for_where_predictions_go(out: str, folder: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds the photos of .*, expected a folder beside or below it"):
        photos_below(folder, without=tmp_path / out)


def test_predictions_need_a_folder(folder: Path):
    with pytest.raises(ValueError, match="found a file, expected a folder for predictions"):
        photos_below(folder / "turned.jpg", without=folder / "broken.jpg")


def test_folder_without_photos_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match="found no photo, expected"):
        photos_below(tmp_path, without=tmp_path / "out")


def test_records_are_predicted_with_the_settings_of_now(
    segmenter: Segmenter, network: DeepLab, fabric: Fabric, shapes: Path, tmp_path: Path
):
    settings = replace(SETTINGS, scales=(1.0,))
    record = Record("sub/00", shapes / "00.png", ())

    predict_records(fabric, segmenter, [record], folder=tmp_path, settings=settings)

    expected = predict_scores(network, open_photo(shapes / "00.png"), settings).argmax(0).numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "sub" / "00.png")), expected)


def test_record_that_cannot_be_read_stops_the_stage(segmenter: Segmenter, fabric: Fabric, folder: Path, tmp_path: Path):
    record = Record("broken", folder / "broken.jpg", ())

    with pytest.raises(ValueError, match="1 of 1 photos failed, as told above: broken"):
        predict_records(fabric, segmenter, [record], folder=tmp_path / "out", settings=SETTINGS)


def test_photo_that_cannot_be_read_is_told(segmenter: Segmenter, folder: Path):
    with pytest.raises(FileError, match=r"broken\.jpg: found"):
        segmenter.predict(folder / "broken.jpg")
