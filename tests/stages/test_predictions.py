import copy
import csv
import json
import logging
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_segmenter import NAMES, SETTINGS
from free_memory import expect_given_back
from lightning_fabric import Fabric
from PIL import Image

from tag2mask.config import EngineSettings
from tag2mask.data.photos import open_photo
from tag2mask.data.records import Record
from tag2mask.networks.deeplab import DeepLab
from tag2mask.runs.manifest import read_manifest
from tag2mask.segmenter import Segmenter, predict_scores
from tag2mask.stages.photos_to_label import photos_below
from tag2mask.stages.predictions import (
    origin_of,
    predict_folder,
    predict_photos,
    predict_records,
    refuse_other_origin,
)

pytestmark = pytest.mark.usefixtures("one_thread")

_LONG_AGO = 1_000_000_000


def test_folder_of_photos_becomes_masks_overlays_and_areas(
    segmenter: Segmenter, fabric: Fabric, photo_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "out"
    photos = photos_below(photo_folder, without=out)

    with caplog.at_level(logging.WARNING):
        result = predict_folder(fabric, segmenter, photos, folder=out)

    assert list(photos) == ["broken", "more/turned", "turned"]
    assert result == (3, ("broken",))
    (line,) = caplog.messages
    assert line.startswith(f"skipped {photo_folder / 'broken.jpg'}: found")
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {
        "areas.csv", "photos.json", "masks/turned.png", "overlays/turned.jpg", "masks/more/turned.png",
        "overlays/more/turned.jpg",
    }  # fmt: skip
    mask = Image.open(out / "masks" / "turned.png")
    prediction = segmenter.predict(photo_folder / "turned.jpg")
    assert (mask.mode, mask.size) == ("P", (36, 48))
    assert np.array_equal(np.asarray(mask), prediction.label_map)
    assert Image.open(out / "overlays" / "turned.jpg").size == (36, 48)
    with (out / "areas.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["photo"] == "turned"]
    assert {row["class"]: int(row["pixels"]) for row in rows} == prediction.areas
    assert sum(float(row["share"]) for row in rows) == pytest.approx(1, abs=1e-5)


def test_photo_too_long_for_the_crf_is_named_and_the_others_go_on(
    drawn_network: DeepLab, fabric: Fabric, shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    Image.new("RGB", (700_000, 1)).save(tmp_path / "strip.png")
    segmenter = Segmenter(drawn_network, replace(SETTINGS, scales=(0.1,), crf="deeplab"), NAMES)
    photos = {"strip": tmp_path / "strip.png", "lying": shapes / "00.png"}

    with caplog.at_level(logging.WARNING):
        result = predict_folder(fabric, segmenter, photos, folder=tmp_path / "out")

    assert result == (2, ("strip",))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"skipped {photos['strip']}: too long for a CRF, bring it down by segmenter.long_side")


def test_photo_that_needs_too_much_memory_is_named_and_the_others_go_on(
    drawn_network: DeepLab, fabric: Fabric, photo_folder: Path, shapes: Path, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
):  # fmt: skip
    photos = {"turned": photo_folder / "turned.jpg", "lying": shapes / "00.png"}
    greedy = copy.deepcopy(drawn_network)
    # More than any machine has, for upright photos alone.
    greedy.register_forward_pre_hook(
        lambda _, images: torch.empty(2**55) if images[0].shape[2] > images[0].shape[3] else None
    )

    with caplog.at_level(logging.WARNING):
        result = predict_folder(fabric, Segmenter(greedy, SETTINGS, NAMES), photos, folder=tmp_path / "out")

    assert result == (2, ("turned",))
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"skipped {photo_folder / 'turned.jpg'}: out of memory")
    assert "segmenter.long_side" in line


def test_photo_longer_than_a_jpeg_has_an_overlay_that_is_brought_down(
    drawn_network: DeepLab, fabric: Fabric, tmp_path: Path
):
    Image.new("RGB", (66_000, 8)).save(tmp_path / "strip.png")
    segmenter = Segmenter(drawn_network, replace(SETTINGS, scales=(0.1,)), NAMES)

    result = predict_folder(fabric, segmenter, {"strip": tmp_path / "strip.png"}, folder=tmp_path)

    assert result == (1, ())
    assert Image.open(tmp_path / "masks" / "strip.png").size == (66_000, 8)
    assert Image.open(tmp_path / "overlays" / "strip.jpg").size == (65_500, 8)


def test_memory_of_photos_that_are_done_is_given_back(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    photos = {str(number): shapes / "00.png" for number in range(10)}

    with expect_given_back():
        predict_folder(fabric, segmenter, photos, folder=tmp_path)


def test_other_errors_of_a_network_stop_the_folder(
    drawn_network: DeepLab, fabric: Fabric, photo_folder: Path, tmp_path: Path
):
    broken = copy.deepcopy(drawn_network)
    broken.register_forward_pre_hook(lambda _, images: images[0][:, :2])
    segmenter = Segmenter(broken, SETTINGS, NAMES)

    with pytest.raises(RuntimeError, match="channels"):
        predict_folder(fabric, segmenter, {"a": photo_folder / "turned.jpg"}, folder=tmp_path / "a")


def test_predictions_go_on_where_they_were_stopped(
    segmenter: Segmenter, fabric: Fabric, photo_folder: Path, tmp_path: Path
):
    out = tmp_path / "out"
    photos = photos_below(photo_folder, without=out)
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
    told = f"1 of 2 photos are redone, for their masks in {out} were not made of them: 1"
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


def test_masks_of_unknown_photos_are_made_anew_also_where_they_are_newer(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    shutil.copy(shapes / "00.png", photo)
    predict_folder(fabric, segmenter, {"photo": photo}, folder=out)
    (out / "photos.json").unlink()
    shutil.copy(shapes / "02.png", photo)
    # As a copy that keeps the time of its original.
    os.utime(photo, (_LONG_AGO, _LONG_AGO))

    predict_folder(fabric, segmenter, {"photo": photo}, folder=out)

    expected = segmenter.predict(photo).label_map
    assert np.array_equal(np.asarray(Image.open(out / "masks" / "photo.png")), expected)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system has no such names")
def test_photo_whose_name_is_not_utf_8_is_predicted(segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path):
    name = "caf\udce9"
    out = tmp_path / "out"
    (tmp_path / "photos").mkdir()
    shutil.copy(shapes / "00.png", tmp_path / "photos" / f"{name}.png")

    for _ in range(2):
        result = predict_folder(fabric, segmenter, photos_below(tmp_path / "photos", without=out), folder=out)

    assert result == (1, ())
    assert (out / "masks" / f"{name}.png").is_file()
    assert list(json.loads((out / "photos.json").read_text(encoding="utf-8"))) == [name]
    with (out / "areas.csv").open(encoding="utf-8", errors="surrogateescape") as file:
        assert {row["photo"] for row in csv.DictReader(file)} == {name}


def test_mask_of_a_photo_that_is_gone_is_not_taken_for_its_own(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    predict_folder(fabric, segmenter, {"photo": shapes / "00.png"}, folder=tmp_path)

    result = predict_folder(fabric, segmenter, {"photo": tmp_path / "absent.png"}, folder=tmp_path)

    assert result.failed == ("photo",)
    assert not (tmp_path / "masks" / "photo.png").exists()


def test_photos_of_one_name_have_files_of_their_own_which_stay(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    open_photo(shapes / "00.png").save(photos / "x.jpg")
    shutil.copy(shapes / "01.png", photos / "x.PNG")

    result = predict_folder(fabric, segmenter, photos_below(photos, without=out), folder=out)
    made = {path: path.stat().st_mtime_ns for folder in ("masks", "overlays") for path in (out / folder).iterdir()}
    predict_folder(fabric, segmenter, photos_below(photos, without=out), folder=out)

    assert result == (2, ())
    assert {path.relative_to(out).as_posix() for path in made} == {
        "masks/x.jpg.png", "masks/x.PNG.png", "overlays/x.jpg.jpg", "overlays/x.PNG.jpg",
    }  # fmt: skip
    for photo in photos.iterdir():
        mask = np.asarray(Image.open(out / "masks" / f"{photo.name}.png"))
        assert np.array_equal(mask, segmenter.predict(photo).label_map), photo
    with (out / "areas.csv").open(encoding="utf-8") as file:
        assert {row["photo"] for row in csv.DictReader(file)} == {"x.jpg", "x.PNG"}
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_photo_that_gets_a_namesake_is_there_once(segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    shutil.copy(shapes / "00.png", photos / "x.png")
    predict_folder(fabric, segmenter, photos_below(photos, without=out), folder=out)
    # Of another folder, which is no namesake of these.
    predict_folder(fabric, segmenter, {"y": shapes / "02.png"}, folder=out)
    open_photo(shapes / "01.png").save(photos / "x.jpg")

    predict_folder(fabric, segmenter, photos_below(photos, without=out), folder=out)
    both = {path.name for path in (out / "masks").iterdir()}
    (photos / "x.jpg").unlink()
    predict_folder(fabric, segmenter, photos_below(photos, without=out), folder=out)

    assert both == {"x.png.png", "x.jpg.png", "y.png"}
    # As that of any photo that is gone, the mask of x.jpg stays.
    assert {path.name for path in (out / "masks").iterdir()} == {"x.png", "x.jpg.png", "y.png"}
    assert {path.name for path in (out / "overlays").iterdir()} == {"x.jpg", "x.jpg.jpg", "y.jpg"}


def test_predictions_that_are_stopped_are_not_told_to_be_finished(
    drawn_network: DeepLab, segmenter: Segmenter, fabric: Fabric, photo_folder: Path, tmp_path: Path
):
    model, out = tmp_path / "model", tmp_path / "out"
    segmenter.save(model)
    origin = origin_of(model, EngineSettings())
    photos = {"turned": photo_folder / "turned.jpg"}
    broken = copy.deepcopy(drawn_network)
    broken.register_forward_pre_hook(lambda _, images: images[0][:, :2])

    with pytest.raises(RuntimeError, match="channels"):
        predict_photos(fabric, Segmenter(broken, SETTINGS, NAMES), photos, folder=out, origin=origin)
    stopped = read_manifest(out)
    refuse_other_origin(out, origin)
    predict_photos(fabric, segmenter, photos, folder=out, origin=origin)
    finished = read_manifest(out)

    assert stopped is not None
    assert finished is not None
    assert (stopped.finished, finished.finished) == (False, True)
    assert finished.counts == {"photos": 1}
    with pytest.raises(ValueError, match="found files that this model did not make at this precision"):
        refuse_other_origin(out, origin_of(model, EngineSettings(inference_precision="bf16-mixed")))


def test_what_a_killed_call_left_is_no_other_origin_and_is_deleted(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    model, out = tmp_path / "model", tmp_path / "out"
    segmenter.save(model)
    origin = origin_of(model, EngineSettings())
    out.mkdir()
    for name in (".manifest.json.1.tmp", ".DS_Store"):
        (out / name).touch()

    refuse_other_origin(out, origin)
    predict_photos(fabric, segmenter, {"a": shapes / "00.png"}, folder=out, origin=origin)
    (out / "masks" / ".b.png.1.tmp").touch()
    predict_photos(fabric, segmenter, {"b": shapes / "01.png"}, folder=out, origin=origin)

    assert not list(out.rglob("*.tmp"))
    assert (out / ".DS_Store").exists()
    assert {path.name for path in (out / "masks").iterdir()} == {"a.png", "b.png"}


def test_folder_that_another_process_predicts_into_is_refused(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path
):
    model, out = tmp_path / "model", tmp_path / "out"
    segmenter.save(model)
    (out / "masks").mkdir(parents=True)
    (out / "masks" / ".a.png.1.tmp").touch()
    work = "import sys; from pathlib import Path; from tag2mask.runs.folder import alone_in\n"
    work += "with alone_in(Path(sys.argv[1])): print(flush=True); input()"
    command = [sys.executable, "-c", work, str(out)]

    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ValueError, match=f"out is in use by process {process.pid}$"):
            predict_photos(
                fabric, segmenter, {"a": shapes / "00.png"}, folder=out, origin=origin_of(model, EngineSettings())
            )
        process.communicate("\n")

    assert (out / "masks" / ".a.png.1.tmp").exists()


def test_photos_of_a_kind_that_is_not_read_fail_unless_they_were_converted(
    segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for name in ("a.png", "b.heic", "c.jpg", "c.heic"):
        shutil.copy(shapes / "00.png", photos / name)

    with caplog.at_level(logging.WARNING):
        result = predict_folder(fabric, segmenter, photos_below(photos, without=out), folder=out)

    assert result == (3, ("b.heic",))
    told = "found a .heic file, expected JPEG or PNG. Convert it to JPEG."
    assert caplog.messages == [f"skipped {photos / 'b.heic'}: {told}"]


def test_areas_are_those_of_earlier_calls_too(segmenter: Segmenter, fabric: Fabric, shapes: Path, tmp_path: Path):
    first, second = shapes / "00.png", shapes / "01.png"

    for name, photo in (("a", first), ("b", second)):
        predict_folder(fabric, segmenter, {name: photo}, folder=tmp_path)

    with (tmp_path / "areas.csv").open(encoding="utf-8") as file:
        assert {row["photo"] for row in csv.DictReader(file)} == {"a", "b"}


def test_records_are_predicted_with_the_settings_of_now(
    segmenter: Segmenter, drawn_network: DeepLab, fabric: Fabric, shapes: Path, tmp_path: Path
):
    settings = replace(SETTINGS, scales=(1.0,))
    record = Record("sub/00", shapes / "00.png", ())

    predict_records(fabric, segmenter, [record], folder=tmp_path, settings=settings)

    expected = predict_scores(drawn_network, open_photo(shapes / "00.png"), settings).argmax(0).numpy()
    assert np.array_equal(np.asarray(Image.open(tmp_path / "masks" / "sub" / "00.png")), expected)


def test_record_that_cannot_be_read_stops_the_stage(
    segmenter: Segmenter, fabric: Fabric, photo_folder: Path, tmp_path: Path
):
    record = Record("broken", photo_folder / "broken.jpg", ())

    with pytest.raises(ValueError, match="1 of 1 photos failed, as told above: broken"):
        predict_records(fabric, segmenter, [record], folder=tmp_path / "out", settings=SETTINGS)
