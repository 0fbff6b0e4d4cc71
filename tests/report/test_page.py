import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from drawn_run import CLASS_NAMES, EVIL_NAME, NUM_PHOTOS, DrawnRun, finish, photos_of_splits
from opened_page import OpenedPage, OpenPage
from playwright.sync_api import Locator, Page, expect

from tag2mask.cams.store import StoredCams, cams_from_full_size, read_cams, stored_maps, write_cams
from tag2mask.config import Recipe, RefinementSettings
from tag2mask.data.classes import voc_palette
from tag2mask.data.label_maps import open_label_map, write_label_map
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record
from tag2mask.evaluation.label_maps import read_photo_scores
from tag2mask.evaluation.sweep import read_sweep
from tag2mask.pseudo_labels import label_map_from_maps
from tag2mask.report.page import write_report
from tag2mask.report.tables import read_scores

GOAL_BYTES = 8 * 2**20


def report_of(run: DrawnRun, path: Path, **options: int) -> Path:
    write_report(path, run.content(warnings=["<b>a warning</b>"]), **options)
    return path


@pytest.fixture(scope="module")
def masked_report(masked_run: DrawnRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(masked_run, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def unmasked_report(unmasked_run: DrawnRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(unmasked_run, tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def shared_page(masked_report: Path, open_page: OpenPage) -> Iterator[OpenedPage]:
    with open_page(masked_report) as opened:
        yield opened


@pytest.fixture
def opened(shared_page: OpenedPage) -> OpenedPage:
    shared_page.page.reload()
    return shared_page


def texts(locator: Locator) -> list[str]:
    return [" ".join(text.split()) for text in locator.all_inner_texts()]


def visible_articles(page: Page, gallery: int = 0) -> list[str]:
    return texts(page.locator(f".gallery[data-gallery='{gallery}'] article:visible .file"))


def article(page: Page, name: str) -> Locator:
    return page.locator("article:visible").filter(has=page.locator(".file", has_text=name)).first


def wait_for_counts(cell: Locator, counts: dict[str, int]) -> None:
    """The canvas is drawn a moment after a change."""
    cell.scroll_into_view_if_needed()
    expect(cell).to_have_attribute("data-counts", json.dumps(counts, separators=(",", ":")))


def counts_of(run: DrawnRun, folder: str, record: Record, threshold: float) -> dict[str, int]:
    cams = read_cams(run.folder / folder, record.name)
    labels = label_map_from_maps(stored_maps(cams), cams.class_ids, threshold=threshold, uncertain=0)
    ids, counts = np.unique(labels, return_counts=True)
    return {str(class_id): int(count) for class_id, count in zip(ids, counts, strict=True)}


def set_range(page: Page, selector: str, value: int) -> None:
    page.locator(selector).first.evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def test_cells_equal_the_scores(masked_run: DrawnRun, opened: OpenedPage):
    rows = read_scores(masked_run.folder / "scores.json")

    found = [texts(row.locator("td")) for row in opened.page.locator("#scores tbody tr").all()]

    expected = {
        (
            *(f"{100 * value:.1f}" for value in (row.miou, row.precision, row.recall)),
            "–" if row.threshold is None else f"{row.threshold:.2f} {row.threshold_source}".split(" on ")[0],
            str(row.num_photos),
        )
        for row in rows
    }
    assert len(found) == len(rows) == 10
    assert [cells[3].partition(" ")[2].partition(" ")[2] for cells in found if "unlabelled" in cells[3]] == [
        "left unlabelled (255) against IRN, fixed"
    ]
    assert {(cells[2], *cells[4:8]) for cells in found} == expected


def test_class_cells_equal_the_scores(masked_run: DrawnRun, opened: OpenedPage):
    rows = read_scores(masked_run.folder / "scores.json")
    refined = next(row for row in rows if row.level == "refined" and row.threshold_source == "best on this split")
    headings = texts(opened.page.locator("#class-table thead th"))

    for name, row in zip((*CLASS_NAMES, "background"), opened.page.locator("#class-table tbody tr").all(), strict=True):
        cells = texts(row.locator("th, td"))
        assert cells[0] == name
        assert cells[headings.index("IRN ACR")] == f"{100 * refined.iou[name]:.1f}"


def test_nothing_goes_wrong_and_nothing_is_fetched(opened: OpenedPage):
    opened.page.locator("#photos").scroll_into_view_if_needed()
    wait_for_counts_of_any(opened.page)

    assert opened.errors == []
    assert {url.partition(":")[0] for url in opened.requests} <= {"file", "data", "blob"}
    assert {url for url in opened.requests if url.startswith("file:")} == {opened.page.url}
    # Whatever a page brings, nothing but itself may be asked for.
    policy = opened.page.locator("meta[http-equiv='Content-Security-Policy']").get_attribute("content")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def wait_for_counts_of_any(page: Page) -> None:
    expect(page.locator(".cell[data-counts]").first).to_be_attached()


def test_names_are_text_only(opened: OpenedPage):
    page = opened.page
    article(page, EVIL_NAME).scroll_into_view_if_needed()
    article(page, EVIL_NAME).locator(".cell button:visible").first.click()

    expect(page.locator("#large-title")).to_contain_text(f"· {EVIL_NAME}.jpg")
    assert page.locator("img[src='x']").count() == 0
    assert "</script>" in page.locator("#class-choice").inner_text()
    assert page.locator(".warnings li").inner_text() == "<b>a warning</b>"
    assert opened.errors == []


@pytest.mark.parametrize("percent", [0, 31, 60, 73, 100])
def test_slider_counts_are_the_pipelines(masked_run: DrawnRun, opened: OpenedPage, percent: int):
    set_range(opened.page, "[data-threshold='seed']", percent)
    set_range(opened.page, "[data-threshold='refined']", percent)

    for record in masked_run.records[:3]:
        row = article(opened.page, record.name)
        for key, folder in (("seed-acr", "2-cams/acr"), ("refined-acr", "3-refined/acr/maps")):
            wait_for_counts(row.locator(f"[data-column='{key}']"), counts_of(masked_run, folder, record, percent / 100))
    assert set(texts(opened.page.locator("[data-threshold-value]"))) == {f"{percent / 100:.2f}"}


def test_an_activation_that_equals_the_threshold_is_background(
    tmp_path: Path, masked_run: DrawnRun, open_page: OpenPage
):
    # 51 / 255 is 0.2 in single precision, and 102 / 255 is 0.4: neither is above itself.
    record = masked_run.records[1]
    maps = np.repeat(np.array([50, 51, 52, 101, 102], np.uint8), 60).reshape(1, 15, 20)
    maps = np.concatenate([maps, maps])
    write_cams(tmp_path / "run" / "2-cams" / "acr", record.name, StoredCams(np.array([2, 1], np.uint8), maps, 60, 80))
    run = DrawnRun(tmp_path / "run", Recipe(), photos_of_splits([record], [], CLASS_NAMES))
    report_of(run, tmp_path / "report.html")

    with open_page(tmp_path / "report.html") as opened:
        cell = opened.page.locator("[data-column='seed-acr']")
        for percent, num_background in ((19, 0), (20, 120), (40, 300)):
            set_range(opened.page, "[data-threshold='seed']", percent)
            # Of two equal maps the lower class id wins.
            counts = {"0": num_background, "1": 300 - num_background}
            wait_for_counts(cell, {key: value for key, value in counts.items() if value})
        assert counts_of(run, "2-cams/acr", record, 0.2) == {"0": 120, "1": 180}


def test_ids_are_drawn_in_the_colours_of_their_classes(masked_run: DrawnRun, opened: OpenedPage):
    record = next(record for record in masked_run.records if record.name == "train_01")
    cell = article(opened.page, record.name).locator("[data-column='truth-']")
    set_range(opened.page, "#opacity", 100)
    cell.scroll_into_view_if_needed()
    sky_blue = (0x56, 0xB4, 0xE9)

    def is_class() -> bool:
        values, width = cell.locator("canvas").evaluate(
            "c => [[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data], c.width]"
        )
        pixels = np.array(values).reshape(-1, width, 4)[..., :3]
        return bool(np.array_equal((pixels == sky_blue).all(axis=2), open_label_map(record.label_map) == 2))

    for _ in range(100):
        if is_class():
            break
        opened.page.wait_for_timeout(100)
    assert is_class()


def test_class_filters_photos_and_curves(masked_run: DrawnRun, opened: OpenedPage):
    page, button = opened.page, opened.page.locator("button[data-class='2']")
    of_class = {f"{record.name}.jpg" for record in masked_run.records if 2 in record.tags}
    sweep = read_sweep(masked_run.folder / "scores" / "refined-acr").scores()

    button.click()

    assert set(visible_articles(page, 0) + visible_articles(page, 1)) == of_class
    assert len(visible_articles(page, 0)) == 6
    assert button.get_attribute("aria-pressed") == "true"
    set_range(page, "[data-threshold='refined']", 45)
    readout = page.locator("[data-readout='refined']").inner_text()
    assert readout == f"At 0.45: ACR {100 * sweep.iou[45, 2]:.1f} IoU of </script>"

    page.locator("#class-choice").select_option("0")

    assert len(visible_articles(page, 0)) == NUM_PHOTOS["train"]
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("[data-readout='refined']").inner_text() == f"At 0.45: ACR {100 * sweep.miou[45]:.1f} mIoU"


def test_marks_move_the_slider_to_their_threshold(masked_run: DrawnRun, opened: OpenedPage):
    best = read_sweep(masked_run.folder / "scores" / "seed-baseline").scores().best()
    used, marks = 0.25, opened.page.locator("[data-panel='seed'] .marks-list button")

    assert texts(marks)[:2] == [f"{best:.2f}", f"{used:.2f}"]
    marks.nth(0).click()

    assert opened.page.locator("[data-threshold='seed']").first.input_value() == str(round(100 * best))


def test_groups_show_the_worst_photos_first(masked_run: DrawnRun, tmp_path: Path, open_page: OpenPage):
    scores = read_photo_scores(masked_run.folder / "scores" / "pseudo-label-acr")
    ranked = [f"{name}.jpg" for name in sorted(scores, key=lambda name: scores[name])]
    report_of(masked_run, tmp_path / "report.html", num_photos=16)

    with open_page(tmp_path / "report.html") as opened:
        page = opened.page
        buttons = page.locator("[data-gallery='0'] button[data-group]")
        assert texts(buttons) == ["Random sample 2", "Worst 2", "Middle 2", "Best 2"]
        assert texts(page.locator("[data-gallery='0'] h4"))[0] == "Random sample 2 of 12, drawn with random seed 0"
        buttons.nth(1).click()
        assert visible_articles(page) == ranked[:2]
        buttons.nth(3).click()
        assert visible_articles(page) == ranked[:-3:-1]


def test_a_single_photo_leaves_no_gallery_empty(masked_run: DrawnRun, tmp_path: Path, open_page: OpenPage):
    report_of(masked_run, tmp_path / "report.html", num_photos=1)

    with open_page(tmp_path / "report.html") as opened:
        assert texts(opened.page.locator("button[data-group]")) == ["Random sample 1", "Random sample 1"]


def test_score_at_a_picture_is_called_what_it_is(masked_run: DrawnRun, opened: OpenedPage):
    miou = read_photo_scores(masked_run.folder / "scores" / "pseudo-label-acr")["train_01"]

    caption = article(opened.page, "train_01").locator("[data-column='pseudo-label-acr'] figcaption")

    assert texts(caption.locator("span")) == ["pseudo-label", f"mIoU {100 * miou:.1f}"]
    assert opened.page.get_by_text("The mIoU under a picture").count() == 1


def test_columns_can_be_hidden_and_shown(opened: OpenedPage):
    page = opened.page
    row = article(page, "train_01")
    assert texts(row.locator("figcaption:visible > span:first-child")) == [
        "CAM baseline", "CAM ACR", "seed ACR", "CRF", "IRN", "pseudo-label", "truth",
    ]  # fmt: skip

    page.locator("[data-gallery='0']").get_by_role("checkbox", name="seed baseline").check()
    page.locator("[data-gallery='0']").get_by_role("checkbox", name="CRF").uncheck()

    assert "seed baseline" in texts(row.locator("figcaption:visible > span:first-child"))
    assert "CRF" not in texts(row.locator("figcaption:visible > span:first-child"))


def test_large_pictures_are_walked_by_arrow_keys(opened: OpenedPage):
    page, title = opened.page, opened.page.locator("#large-title")
    names = visible_articles(page)
    page.locator("article:visible [data-column='seed-acr'] button").first.focus()

    page.keyboard.press("Enter")
    expect(title).not_to_be_empty()
    steps = [title.inner_text()]
    for key in ("ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        page.keyboard.press(key)
        expect(title).not_to_have_text(steps[-1])
        steps.append(title.inner_text())

    assert steps == [
        f"seed ACR · {names[0]}", f"CRF · {names[0]}", f"CRF · {names[1]}", f"CRF · {names[0]}", f"CRF · {names[-1]}",
        f"seed ACR · {names[-1]}", f"CAM ACR · {names[-1]}", f"CAM baseline · {names[-1]}", f"truth · {names[-1]}",
    ]  # fmt: skip
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()


def test_verdict_and_pictures_need_no_script(masked_report: Path, open_page: OpenPage):
    with open_page(masked_report, java_script=False) as opened:
        page = opened.page
        assert page.locator(".verdict").inner_text().startswith("Only 12 photos of train were measured")
        assert page.locator("#scores tbody tr").count() == 10
        assert page.locator("article img:visible").count() == sum(NUM_PHOTOS.values())
        assert page.locator("[data-panel] svg:visible").count() > 0
        assert page.locator(".script:visible, .slider:visible").count() == 0
        assert page.locator(".pictures").count() == 2


def test_print_leaves_out_what_needs_a_hand(opened: OpenedPage):
    opened.page.emulate_media(media="print")

    assert opened.page.locator("nav:visible, .toolbar:visible, .slider:visible").count() == 0
    assert opened.page.locator("#scores").is_visible()
    opened.page.emulate_media(media="screen")


def test_without_masks_the_page_says_so_and_compares_levels(unmasked_report: Path, open_page: OpenPage):
    with open_page(unmasked_report) as opened:
        page = opened.page
        assert page.locator(".verdict").inner_text() == (
            "Whether the stages helped is not known: there are no masks to measure them with."
        )
        assert page.locator("#scores, #threshold").count() == 0
        assert page.get_by_text("The mIoU under a picture").count() == 0
        assert page.get_by_text("Choose a class").inner_text() == "Choose a class to see only its photos below."
        rows = [texts(row.locator("th, td")) for row in page.locator("#agreement tbody tr").all()]
        assert [row[:2] for row in rows] == [
            ["seed", "baseline"], ["seed", "ACR"], ["CRF", "ACR"], ["IRN", "ACR"], ["pseudo-label", "ACR"],
        ]  # fmt: skip
        assert [float(row[3]) > 0 for row in rows] == [False, False, False, False, True]
        # The refined maps follow the slider from the threshold that the labels were made with.
        assert page.locator("[data-threshold='refined']").input_value() == "31"
        page.locator("#photos").scroll_into_view_if_needed()
        wait_for_counts_of_any(page)
        assert opened.errors == []


def test_a_run_that_has_only_begun_has_a_page(tmp_path: Path, open_page: OpenPage):
    report_of(DrawnRun(tmp_path / "run", Recipe(), photos_of_splits([], [], CLASS_NAMES)), tmp_path / "report.html")

    with open_page(tmp_path / "report.html") as opened:
        assert opened.page.locator("h2").all_inner_texts() == [
            "Verdict", "Levels", "Classes", "Data", "Settings", "Next",
        ]  # fmt: skip
        assert opened.errors == []


@pytest.mark.parametrize(
    ("excess", "groups", "note"),
    [
        (1, ["Random sample 1", "Worst 2", "Middle 2", "Best 2"], "1 photo was left out"),
        (8_000, ["Worst 2", "Middle 2", "Best 2"], "photos were left out"),
    ],
)
def test_photos_are_left_out_of_the_random_sample_first(
    masked_run: DrawnRun, tmp_path: Path, open_page: OpenPage, excess: int, groups: list[str], note: str
):
    whole = report_of(masked_run, tmp_path / "whole.html", num_photos=16).stat().st_size

    report = report_of(masked_run, tmp_path / "report.html", num_photos=16, max_bytes=whole - excess)

    assert report.stat().st_size <= whole - excess
    with open_page(report) as opened:
        assert texts(opened.page.locator("[data-gallery='0'] button[data-group]")) == groups
        assert note in opened.page.locator("#left-out").inner_text()


@pytest.mark.parametrize("report", ["masked_report", "unmasked_report"])
def test_nothing_scrolls_sideways_on_a_phone(report: str, request: pytest.FixtureRequest, open_page: OpenPage):
    with open_page(request.getfixturevalue(report)) as opened:
        opened.page.set_viewport_size({"width": 390, "height": 844})

        assert opened.page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_phone_has_room_for_fingers_and_values(masked_report: Path, open_page: OpenPage):
    with open_page(masked_report) as opened:
        opened.page.set_viewport_size({"width": 390, "height": 844})

        controls = opened.page.locator("button:visible, select:visible, input:visible")
        heights = controls.evaluate_all("controls => controls.map((control) => control.offsetHeight)")
        assert min(heights) >= 24
        settings = opened.page.locator(".scroll:has(.settings)").first
        assert settings.evaluate("box => box.scrollWidth") <= settings.evaluate("box => box.clientWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_colour_schemes(opened: OpenedPage, scheme: Literal["light", "dark"]):
    opened.page.emulate_media(color_scheme=scheme)
    ground = luminance(colour_of(opened.page, "body", "backgroundColor"))

    for selector in ("body", ".lead", "nav a", ".change.helped", ".change.harmed", "#class-table button", "svg text"):
        text = luminance(colour_of(opened.page, selector, "fill" if selector == "svg text" else "color"))
        assert contrast(text, ground) >= 4.5, selector
    assert (ground < 0.1) == (scheme == "dark")
    opened.page.emulate_media(color_scheme="light")


def colour_of(page: Page, selector: str, name: str) -> str:
    return str(page.locator(selector).first.evaluate("(element, name) => getComputedStyle(element)[name]", name))


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2 defines it."""
    channels = np.array(re.findall(r"\d+", colour)[:3], float) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_real_photos_stay_within_the_budget(animals: Path, tmp_path: Path):
    data_set = read_data_set(replace(Recipe().data, root=animals))
    records = data_set.split("train_official")[:24]
    recipe = Recipe(methods=("acr",), refinement=RefinementSettings(method="none"))
    run = DrawnRun(tmp_path / "run", recipe, photos_of_splits(records, [], data_set.class_names))
    stages = run.stages
    for record in records:
        label_map = open_label_map(record.label_map)
        maps = np.stack([label_map == tag for tag in record.tags]) * np.linspace(0.2, 1, label_map.shape[1])
        cams = cams_from_full_size(record.tags, maps.astype(np.float32))
        write_cams(run.folder / "2-cams" / "acr", record.name, cams)
        for folder in ("3-refined/acr/crf", "4-pseudo-labels/acr"):
            write_label_map(run.folder / folder / f"{record.name}.png", label_map, voc_palette())
    finish([stage for stage in stages if not stage.level], run.folder)

    report_of(run, tmp_path / "report.html")

    # 24 photos of the 96 that are shown by default.
    assert (tmp_path / "report.html").stat().st_size < GOAL_BYTES / 4
