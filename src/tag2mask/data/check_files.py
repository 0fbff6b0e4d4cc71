"""Judges the files of a data set: photos, exact copies, label maps."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.data.drawn_masks import DrawnMask, LabelMap
from tag2mask.data.faults import FaultLog, readable
from tag2mask.data.inspection import LabelMapFacts, PhotoFacts, RecordFacts
from tag2mask.data.label_maps import refuse_other_size
from tag2mask.data.photos import FileError
from tag2mask.data.records import ALL, DataSet, Record

MIN_SIDE = 32
"""Pixels below which a photo gives no more than one cell of a CAM at stride 32."""

# Bytes of a file name that systems take, less what results add to a photo's.
_MAX_STEM_BYTES = 240
_NUM_IDS_SHOWN = 6
_CONVERSIONS = {
    "1": ("black and white", "Its one channel is read three times."),
    "L": ("grey", "Its one channel is read three times."),
    "LA": ("grey", "Its one channel is read three times."),
    "CMYK": ("CMYK", "It is converted to RGB without a colour profile."),
    "YCbCr": ("YCbCr", "It is converted to RGB."),
    "LAB": ("LAB", "It is converted to RGB."),
    "HSV": ("HSV", "It is converted to RGB."),
}

Facts = Mapping[Record, RecordFacts]


def check_photos(data_set: DataSet, facts: Facts, log: FaultLog) -> None:
    """Photos that cannot be opened or named, and those that are not read as they are stored."""
    for image, photo in _photos(facts).items():
        file = place(data_set, image)
        if readable(file) != file:
            # Tables of the photos' scores and the report could not name it.
            log.error("photo-name", file, found="a name that is not UTF-8", expected="UTF-8", hint="Rename it.")
        stem_bytes = len(os.fsencode(image.stem))
        if stem_bytes > _MAX_STEM_BYTES:
            expected = f"at most {_MAX_STEM_BYTES}, as results have longer ones"
            log.error("photo-name", file, found=f"a name of {stem_bytes} bytes", expected=expected, hint="Rename it.")
        if isinstance(photo, FileError):
            log.error(photo.code, file, found=photo.found, expected=photo.expected, hint=photo.hint)
        else:
            _check_photo(file, photo, log)


def check_copies(data_set: DataSet, facts: Facts, splits: Mapping[str, tuple[Record, ...]], log: FaultLog) -> None:
    """Files with the same content: harmless twice in a split, not with other tags, nor in two splits."""
    copies: dict[str, dict[Path, Record]] = defaultdict(dict)
    for record, fact in facts.items():
        if isinstance(fact.photo, PhotoFacts):
            copies[fact.photo.digest].setdefault(record.image, record)
    members = {name: {record.image for record in records} for name, records in splits.items() if name != ALL}
    for group in copies.values():
        first, *others = sorted(group.values(), key=lambda record: record.name)
        for other in others:
            _check_copy(data_set, first, other, log, members=members)


def check_label_maps(data_set: DataSet, facts: Facts, log: FaultLog) -> None:
    """Label maps that do not fit their photo, the classes, or the tags."""
    maps = {record: fact.label_map for record, fact in facts.items() if record.label_map is not None}
    usable = [fact for fact in maps.values() if isinstance(fact, LabelMapFacts)]
    values = {value for fact in usable for value in fact.ids}
    binary = IGNORE in values and values <= {BACKGROUND, IGNORE}
    _check_exchange(maps, data_set, log)
    for record, label_map in maps.items():
        assert record.label_map is not None
        file = place(data_set, record.label_map)
        if isinstance(label_map, FileError):
            log.error(label_map.code, file, found=label_map.found, expected=label_map.expected, hint=label_map.hint)
        elif label_map is not None:
            _check_size(file, label_map, facts[record].photo, log)
            if binary:
                _note_binary(file, data_set, log)
            else:
                _check_ids(file, label_map, record, data_set, log)


def place(data_set: DataSet, path: LabelMap) -> str:
    """A file or drawn mask as faults name it: below the data set's folder where it lies there."""
    if isinstance(path, DrawnMask):
        return f"{place(data_set, path.annotations)} image {path.image_id}"
    return path.relative_to(data_set.root).as_posix() if path.is_relative_to(data_set.root) else str(path)


def _photos(facts: Facts) -> dict[Path, PhotoFacts | FileError]:
    return {record.image: fact.photo for record, fact in facts.items()}


def _check_photo(file: str, photo: PhotoFacts, log: FaultLog) -> None:
    if photo.mode.startswith("I"):
        hint = "Its values are divided by 257 and read three times."
        log.warn("mode", file, found="16-bit grey", expected="8-bit RGB", hint=hint)
    elif photo.mode in _CONVERSIONS:
        found, hint = _CONVERSIONS[photo.mode]
        log.warn("mode", file, found=found, expected="RGB", hint=hint)
    if photo.has_alpha:
        log.warn("alpha", file, found="transparency", expected="none", hint="It is laid on white.")
    if photo.num_frames > 1:
        hint = "The first is read."
        log.warn("animated", file, found="several frames or pages", expected="one", hint=hint)
    if photo.is_turned:
        hint = "It is read upright, and its mask must be upright too."
        log.warn("turned", file, found="a turn in its EXIF data", expected="an upright photo", hint=hint)
    if min(photo.width, photo.height) < MIN_SIDE:
        found = f"{photo.width}x{photo.height} pixels"
        log.warn("small-photo", file, found=found, expected=f"sides of at least {MIN_SIDE}")


def _check_copy(
    data_set: DataSet, first: Record, other: Record, log: FaultLog, *, members: Mapping[str, set[Path]]
) -> None:
    file = place(data_set, other.image)
    found = f"an exact copy of {place(data_set, first.image)}"
    if first.tags != other.tags:
        tags = " and ".join(_names(data_set, record.tags) for record in (first, other))
        hint = "Keep one with the tags of all that it shows: in a tags.csv a photo may have several."
        differing = f"{found} with other tags ({tags})"
        log.error("copy-other-tags", file, found=differing, expected="the same tags", hint=hint)
    homes = [{name for name, images in members.items() if record.image in images} for record in (first, other)]
    if homes[0] and homes[1] and not homes[0] & homes[1]:
        apart = " and ".join(min(names) for names in homes)
        log.error("copy-other-split", file, found=f"{found} across splits ({apart})", expected="it in one split")
    elif first.tags == other.tags:
        log.warn("copy", file, found=found, expected="each photo once", hint="It counts twice.")


def _check_size(file: str, label_map: LabelMapFacts, photo: PhotoFacts | FileError, log: FaultLog) -> None:
    if isinstance(photo, FileError):
        return
    size, expected = (label_map.width, label_map.height), (photo.width, photo.height)
    try:
        refuse_other_size(Path(file), size, expected)
    except FileError as error:
        turned = photo.is_turned and size == expected[::-1]
        hint = "It fits the photo before its EXIF turn; turn the mask." if turned else ""
        log.error(error.code, file, found=error.found, expected=error.expected, hint=hint)


def _note_binary(file: str, data_set: DataSet, log: FaultLog) -> None:
    # Where no photo has a tag there is no class to name.
    first = f"1 ({data_set.class_names[0]}) or another class's id" if data_set.class_names else "a class's id"
    hint = f"It looks binary: write {first} in place of 255."
    found = "only the values 0 and 255, as in every mask"
    log.error("binary-mask", file, found=found, expected="class ids; 255 is ignored", hint=hint)


def _check_exchange(maps: Mapping[Record, LabelMapFacts | FileError | None], data_set: DataSet, log: FaultLog) -> None:
    """Note ids that mostly stand for another class than theirs, each for one, in photos of one tag and one id."""
    tags_of: dict[int, Counter[int]] = defaultdict(Counter)
    for record, label_map in maps.items():
        if isinstance(label_map, LabelMapFacts) and len(record.tags) == len(_shown(label_map)) == 1:
            tags_of[min(_shown(label_map))].update(record.tags)
    meant = {value: tags.most_common(1)[0] for value, tags in sorted(tags_of.items())}
    exchanged = [(value, tag) for value, (tag, _) in meant.items() if value != tag]
    # One photo may as well be tagged wrongly.
    certain = all(meant[value][1] > max(1, tags_of[value].total() / 2) for value, _ in exchanged)
    if exchanged and certain and len({tag for tag, _ in meant.values()}) == len(meant):
        names = data_set.class_names
        found = ", ".join(f"{names[tag - 1]} as {value}" for value, tag in exchanged[:_NUM_IDS_SHOWN])
        expected = ", ".join(f"{names[tag - 1]} as {tag}" for _, tag in exchanged[:_NUM_IDS_SHOWN])
        log.warn("exchanged-ids", "masks", found=found, expected=expected, hint="The ids may be exchanged.")


def _check_ids(file: str, label_map: LabelMapFacts, record: Record, data_set: DataSet, log: FaultLog) -> None:
    num_classes = len(data_set.class_names)
    outside = [value for value in label_map.ids if num_classes < value != IGNORE]
    if outside:
        more = " ..." if len(outside) > _NUM_IDS_SHOWN else ""
        found = f"value {', '.join(str(value) for value in outside[:_NUM_IDS_SHOWN])}{more}"
        log.error("mask-value", file, found=found, expected=f"0 to {num_classes}, or 255")
        return
    shown = _shown(label_map)
    if not shown and record.tags:
        found = f"background only, though tagged {_names(data_set, record.tags)}"
        log.warn("empty-mask", file, found=found, expected="pixels of its tags")
        return
    for class_id in sorted(shown - set(record.tags)):
        found = f"{data_set.class_names[class_id - 1]} in the mask, not in the tags"
        log.warn("mask-not-tag", file, found=found, expected="both to agree", hint="Is the tag missing?")
    for class_id in sorted(set(record.tags) - shown):
        found = f"{data_set.class_names[class_id - 1]} in the tags, not in the mask"
        log.warn("tag-not-mask", file, found=found, expected="both to agree", hint="Is the tag wrong?")


def _shown(label_map: LabelMapFacts) -> set[int]:
    """Ids of classes."""
    return {value for value in label_map.ids if value not in (BACKGROUND, IGNORE)}


def _names(data_set: DataSet, tags: tuple[int, ...]) -> str:
    return ", ".join(data_set.class_names[class_id - 1] for class_id in tags) or "nothing"
