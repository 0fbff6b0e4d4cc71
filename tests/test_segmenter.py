import copy
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_segmenter import NAMES, SETTINGS
from lightning_fabric import Fabric
from PIL import Image

from tag2mask.config import SegmenterSettings
from tag2mask.data.photos import FileError, open_photo
from tag2mask.data.sizes import reduce_photo
from tag2mask.data.transforms import Normalisation, normalise
from tag2mask.model_card import write_model_card
from tag2mask.networks.deeplab import DeepLab
from tag2mask.segmenter import Segmenter, model_folder, predict_scores, renew_settings
from tag2mask.stages.predictions import predict_folder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("fuse", ["max", "mean"])
def test_scores_join_scales_and_mirror_images(fuse: Any, drawn_network: DeepLab, shapes: Path):
    photo = open_photo(shapes / "00.png")

    scores = predict_scores(drawn_network.eval(), photo, replace(SETTINGS, fuse=fuse))

    found = []
    for size in ((24, 18), (48, 36), (72, 54)):
        for turned in (False, True):
            image = photo.resize(size, Image.Resampling.BICUBIC)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turned else image
            with torch.no_grad():
                logits = drawn_network(normalise(image, drawn_network.backbone.normalisation)[None])
            full = F.interpolate(logits, size=(36, 48), mode="bilinear")[0].softmax(0)
            found.append(full.flip(2) if turned else full)
    expected = torch.stack(found).amax(0) if fuse == "max" else torch.stack(found).mean(0)
    torch.testing.assert_close(scores, expected)
    assert scores.shape == (3, 36, 48)


def test_camera_photo_is_labelled_as_brought_down_and_at_its_own_size(drawn_network: DeepLab, shapes: Path):
    photo = open_photo(shapes / "00.png").resize((3000, 2250))
    settings = replace(SETTINGS, scales=(1.0,), long_side=200)

    label_map = Segmenter(drawn_network, settings, NAMES).predict(photo).label_map

    scores = predict_scores(drawn_network, reduce_photo(photo, 200), settings)
    expected = F.interpolate(scores[None], size=(2250, 3000), mode="bilinear")[0].argmax(0).numpy()
    assert scores.shape == (3, 150, 200)
    assert len(np.unique(label_map)) > 1
    # Where two labels are level, rounding decides.
    assert label_map.shape == (2250, 3000)
    assert (label_map == expected).mean() > 0.9999


def test_photo_that_is_not_larger_is_labelled_as_ever(segmenter: Segmenter, drawn_network: DeepLab, shapes: Path):
    expected = segmenter.predict(shapes / "00.png").label_map

    for long_side in (48, 1000):
        settings = replace(SETTINGS, long_side=long_side)
        assert np.array_equal(Segmenter(drawn_network, settings, NAMES).predict(shapes / "00.png").label_map, expected)


@pytest.mark.parametrize("long_side", [0, 30])
def test_of_labels_whose_scores_are_level_the_first_is_taken(long_side: int, drawn_network: DeepLab, shapes: Path):
    level = copy.deepcopy(drawn_network)
    for parameter in level.head.parameters():
        parameter.data.zero_()

    prediction = Segmenter(level, replace(SETTINGS, long_side=long_side), NAMES).predict(shapes / "00.png")

    assert not prediction.label_map.any()


def test_crf_shares_every_pixel_among_the_labels_that_win_somewhere(drawn_network: DeepLab, shapes: Path):
    crf = pytest.importorskip("tag2mask.refinement.crf")
    photo = open_photo(shapes / "00.png")
    before = predict_scores(drawn_network, photo, SETTINGS)

    scores = predict_scores(drawn_network, photo, replace(SETTINGS, crf="mctformer"))

    winners = torch.unique(before.argmax(0)).tolist()
    torch.testing.assert_close(scores.sum(0), torch.ones(36, 48))
    assert [label for label in range(3) if scores[label].any()] == winners
    assert not torch.equal(scores.argmax(0), before.argmax(0))
    marginals = crf.DenseCrf(np.array(photo), crf.PRESETS["mctformer"]).infer(-np.log(before[winners].numpy()))
    torch.testing.assert_close(scores[winners], torch.from_numpy(marginals))


def test_prediction_is_the_label_of_the_highest_score(segmenter: Segmenter, drawn_network: DeepLab, shapes: Path):
    photo = open_photo(shapes / "00.png")

    prediction = segmenter.predict(shapes / "00.png")

    assert prediction.label_map.dtype == np.uint8
    assert np.array_equal(prediction.label_map, predict_scores(drawn_network, photo, SETTINGS).argmax(0).numpy())
    assert len(prediction.areas) > 1
    for same in (photo, str(shapes / "00.png"), np.asarray(photo)):
        assert np.array_equal(segmenter.predict(same).label_map, prediction.label_map)


@pytest.mark.parametrize("settings", [SETTINGS, replace(SETTINGS, fuse="mean"), replace(SETTINGS, long_side=30)])
def test_label_map_is_the_label_of_the_highest_of_the_scores(
    settings: SegmenterSettings, drawn_network: DeepLab, shapes: Path
):
    segmenter = Segmenter(drawn_network, settings, NAMES)

    plain = segmenter.predict(shapes / "00.png")
    prediction = segmenter.predict_with_scores(shapes / "00.png")

    scores = prediction.scores
    assert (scores.shape, scores.dtype) == ((3, 36, 48), np.float32)
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert len(np.unique(plain.label_map)) > 1
    assert np.array_equal(scores.argmax(0), plain.label_map)
    assert np.array_equal(prediction.label_map, plain.label_map)
    if settings.fuse == "mean":
        np.testing.assert_allclose(scores.sum(0), 1, rtol=1e-5)


def test_scores_of_a_photo_that_is_not_brought_down_are_those_of_the_network(
    segmenter: Segmenter, drawn_network: DeepLab, shapes: Path
):
    photo = open_photo(shapes / "00.png")

    found = segmenter.predict_with_scores(photo).scores

    assert found is not None
    torch.testing.assert_close(torch.from_numpy(found), predict_scores(drawn_network, photo, SETTINGS))


def test_scores_after_a_crf_are_its_probabilities(drawn_network: DeepLab, shapes: Path):
    segmenter = Segmenter(drawn_network, replace(SETTINGS, crf="mctformer"), NAMES)

    prediction = segmenter.predict_with_scores(shapes / "00.png")

    assert prediction.scores is not None
    np.testing.assert_allclose(prediction.scores.sum(0), 1, rtol=1e-5)
    assert np.array_equal(prediction.scores.argmax(0), prediction.label_map)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((4, 5, 3)), r"float64 array of shape \(4, 5, 3\)"),
        (np.zeros((3, 4, 5), np.uint8), r"uint8 array of shape \(3, 4, 5\)"),
        (np.zeros((4, 5), np.uint8), r"uint8 array of shape \(4, 5\)"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"uint8 array of shape \(1, 4, 5, 3\)"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 array of shape \(0, 5, 3\)"),
        (Image.new("RGB", (0, 5)), "Pillow image of 0x5 pixels"),
        (torch.zeros(3, 4, 5), "Tensor"),
    ],
)
def test_what_is_no_photo_is_told(image: Any, found: str, segmenter: Segmenter):
    expected = "the path of a photo, a Pillow image or a uint8 array of shape"

    for predict in (segmenter.predict, segmenter.predict_with_scores):
        with pytest.raises(TypeError, match=f"^image: found {found}, expected {expected}"):
            predict(image)


def test_opened_photo_that_is_damaged_is_told(segmenter: Segmenter, photo_folder: Path):
    content = (photo_folder / "turned.jpg").read_bytes()
    image = Image.open(io.BytesIO(content[: len(content) * 3 // 4]))

    with pytest.raises(FileError, match=r"^image: found a damaged file .*, expected a whole image$"):
        segmenter.predict(image)


def test_photo_is_turned_upright_as_its_exif_says(segmenter: Segmenter, photo_folder: Path, tmp_path: Path):
    upright = open_photo(photo_folder / "turned.jpg")
    upright.save(tmp_path / "upright.png")

    prediction = segmenter.predict(photo_folder / "turned.jpg")

    assert prediction.label_map.shape == (48, 36)
    assert np.array_equal(prediction.label_map, segmenter.predict(tmp_path / "upright.png").label_map)
    # As Pillow gives it, with its EXIF.
    assert segmenter.predict(Image.open(photo_folder / "turned.jpg")).label_map.shape == (48, 36)


def test_copied_model_folder_predicts_the_same_bytes(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    segmenter.save(str(tmp_path / "model"))
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
    assert loaded.network.backbone.normalisation == Normalisation((0.4, 0.5, 0.6), (0.3, 0.2, 0.25))


def test_model_folder_with_these_settings_is_left_alone(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    renew_settings(tmp_path, SETTINGS)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_model_folder_tells_all_about_itself(drawn_network: DeepLab, tmp_path: Path):
    settings = replace(SETTINGS, weights=str(tmp_path / "secret.safetensors"))
    names = ("a|b", "Vögel")
    Segmenter(drawn_network, settings, names).save(tmp_path / "model")
    write_model_card(tmp_path / "model", settings, names, facts={"mIoU on val": "52.0 %"})

    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")

    assert {path.name for path in (tmp_path / "model").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert config["class_names"] == ["a|b", "Vögel"]
    assert config["palette"] == [[0, 0, 0], [128, 0, 0], [0, 128, 0]]
    assert (config["mean"], config["std"]) == ([0.4, 0.5, 0.6], [0.3, 0.2, 0.25])
    assert "secret" not in json.dumps(config) + card
    assert "| mIoU on val | 52.0 % |" in card
    assert "| 1 | a\\|b | #800000 |\n| 2 | Vögel | #008000 |" in card


def test_run_with_one_segmenter_stands_for_its_model_folder(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path / "5-segmenter" / "acr")

    assert Segmenter.load(tmp_path).class_names == NAMES
    assert model_folder(tmp_path) == tmp_path / "5-segmenter" / "acr"
    assert model_folder(tmp_path / "5-segmenter" / "acr") == tmp_path / "5-segmenter" / "acr"


def test_run_with_several_segmenters_names_them(segmenter: Segmenter, tmp_path: Path):
    for name in ("baseline", "masks", "acr"):
        segmenter.save(tmp_path / "5-segmenter" / name)

    with pytest.raises(ValueError, match=r"found 2 segmenters, expected one: choose .*/acr or .*/baseline$"):
        Segmenter.load(tmp_path)


def test_segmenter_of_true_masks_stands_for_its_run_only_alone(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path / "5-segmenter/masks")
    alone = model_folder(tmp_path)
    segmenter.save(tmp_path / "5-segmenter/acr")

    assert alone == tmp_path / "5-segmenter/masks"
    assert model_folder(tmp_path) == tmp_path / "5-segmenter/acr"


def test_folder_without_a_model_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match=r"found no config\.json, expected a run with a segmenter, or a model folder"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize("config", [b"{", b"[]", b'{"segmenter": {"head": "deeplab_v2"}}', b"\xff\xfe\x00"])
def test_broken_config_is_told(config: bytes, tmp_path: Path):
    (tmp_path / "config.json").write_bytes(config)

    with pytest.raises(ValueError, match=r"config\.json: found .*, expected what a training wrote"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("long_side", -320, "is -320, expected a whole number from 0"),
        ("long_side", None, "is null, expected a whole number from 0"),
        ("scales", [], "is empty, expected one or more"),
        ("scales", [0], r"is \[0\], expected a list in brackets, each a number above 0"),
        ("scales", [1.0, -1], r"is \[1\.0, -1\], expected a list in brackets, each a number above 0"),
        ("fuse", "median", "is median, expected one of max, mean"),
        ("crf", "denseCRF", "is denseCRF, expected none or one of cams, irn, deeplab, mctformer"),
        ("head", "deeplab_v9", "is deeplab_v9, expected one of deeplab_v1, deeplab_v2, deeplab_v3plus"),
    ],
)
def test_setting_of_a_model_folder_that_cannot_be_is_told(
    name: str, value: Any, told: str, segmenter: Segmenter, tmp_path: Path
):
    segmenter.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["segmenter"][name] = value
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(ValueError, match=rf"^{tmp_path}/config\.json: segmenter\.{name} {told}$"):
        Segmenter.load(tmp_path)


def test_number_that_is_written_as_text_is_that_number(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path)
    content = (tmp_path / "config.json").read_text().replace('"long_side": 0', '"long_side": "320"')
    (tmp_path / "config.json").write_text(content)

    assert Segmenter.load(tmp_path).settings == replace(SETTINGS, long_side=320)


def test_weights_of_another_number_of_classes_are_told(segmenter: Segmenter, tmp_path: Path):
    segmenter.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"class_names": ["one"]}))

    with pytest.raises(ValueError, match=r"model\.safetensors: head\..* is \(3,\), but \(2,\) is needed$"):
        Segmenter.load(tmp_path)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_no_numbers_are_told(value: float, drawn_network: DeepLab, tmp_path: Path):
    network = copy.deepcopy(drawn_network)
    name, parameter = list(network.named_parameters())[-1]
    parameter.data[-1] = value
    Segmenter(network, SETTINGS, NAMES).save(tmp_path)

    told = f"^{tmp_path}/model.safetensors: found {name} with nan or inf, expected finite numbers$"
    with pytest.raises(ValueError, match=told):
        Segmenter.load(tmp_path)


def test_photo_that_cannot_be_read_is_told(segmenter: Segmenter, photo_folder: Path):
    with pytest.raises(FileError, match=r"broken\.jpg: found"):
        segmenter.predict(photo_folder / "broken.jpg")
