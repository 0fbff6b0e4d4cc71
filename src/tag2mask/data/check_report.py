"""Shows what a check found: as text for people, as values for JSON, as a CSV file of every fault."""

import csv
import shlex
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tag2mask.config import DataSettings
from tag2mask.data.check import CheckResult
from tag2mask.data.check_files import place
from tag2mask.data.check_tags import count_tags, is_val_split
from tag2mask.data.classes import BACKGROUND, IGNORE
from tag2mask.data.faults import Fault, describe, readable
from tag2mask.data.inspection import LabelMapFacts, PhotoFacts
from tag2mask.data.records import ALL, DataSet
from tag2mask.files import replacing

_NUM_SHOWN = 3
_NUM_CLASSES_SHOWN = 20
_WIDTH = 120
_INDENT = 9
# Stands for a space at which no line ends.
_JOINT = "\0"
_COLUMNS = ("severity", "code", "file", "row", "found", "expected", "hint")


def render(result: CheckResult) -> str:
    """What was understood, then errors, then warnings; three of a kind, the others counted."""
    data_set = result.data_set
    lines = [f"{data_set.root.resolve().name}: {data_set.layout}"]
    if data_set.splits[ALL]:
        lines += _labelled("photos", [_photos_line(result)])
        lines += _labelled("splits", [_splits_line(result)])
        lines += _labelled("tags", _tags_lines(result))
        lines += _labelled("classes", [_classes_line(data_set.class_names)])
        lines += _labelled("masks", [_masks_line(result)])
    for severity, line in fault_lines(result.faults):
        lines += _labelled(severity, [line])
    return "\n".join(lines)


def next_command(recipe: str, settings: DataSettings, data_set: DataSet) -> str:
    """The run that a good check lets follow, on the splits that there are."""
    train = settings.train_split
    others = [name for name in data_set.splits if name not in (ALL, train)]
    val = next((name for name in others if is_val_split(name)), None)
    # Seeds, CRF and IRN can only be measured on photos with masks.
    order = (train, *([val] if val else []), *others)
    measurable = (name for name in order if any(record.label_map for record in data_set.split(name)))
    chosen = {
        "root": str(settings.root),
        "layout": settings.layout,
        "tag_source": settings.tag_source,
        "train_split": train,
        "seed_split": next(measurable, train),
        "val_split": val or "null",
    }
    flags = [part for name, value in chosen.items() if value != "auto" for part in (f"--data.{name}", value)]
    root = data_set.root.resolve()
    # Not the usual folder, which the next data set would share, and not that of the photos.
    run_folder = Path("runs", root.name)
    if run_folder.resolve() == root:
        run_folder = Path("runs", f"{root.name}-run")
    return shlex.join(["tag2mask", "run", recipe, *flags, "--run", run_folder.as_posix()])


def fault_lines(faults: Iterable[Fault]) -> list[tuple[str, str]]:
    """Severity and text of three faults of each kind, the others counted; those that differ only in place share one."""
    kinds: dict[tuple[str, str], dict[str, list[Fault]]] = defaultdict(lambda: defaultdict(list))
    for fault in faults:
        kinds[fault.severity, fault.code][describe(fault)].append(fault)
    lines = []
    for (severity, _), by_text in kinds.items():
        for text, alike in list(by_text.items())[:_NUM_SHOWN]:
            places = ", ".join(fault.where for fault in alike[:_NUM_SHOWN])
            more = f" and {len(alike) - _NUM_SHOWN:,} more" if len(alike) > _NUM_SHOWN else ""
            lines.append((severity, f"{places}{more}: {text}"))
        rest = sum(len(alike) for alike in list(by_text.values())[_NUM_SHOWN:])
        if rest:
            lines.append((severity, f"and {rest:,} more of this kind"))
    return lines


def to_json(result: CheckResult) -> dict[str, Any]:
    """The check as values that JSON has."""
    data_set = result.data_set
    return {
        "root": str(data_set.root),
        "layout": data_set.layout,
        "classes": list(data_set.class_names),
        "splits": {name: len(records) for name, records in data_set.splits.items()},
        "tags": {name: dict(count_tags(data_set, records)) for name, records in data_set.splits.items()},
        "ok": not result.errors,
        "faults": [{column: getattr(fault, column) for column in _COLUMNS} for fault in result.faults],
        "records": to_records(result),
    }


def to_records(result: CheckResult) -> list[dict[str, Any]]:
    """Every photo that was opened, by file name and content: the same photos are the same records in every layout."""
    data_set = result.data_set
    splits: dict[Path, list[str]] = defaultdict(list)
    for name, members in data_set.splits.items():
        for record in members:
            splits[record.image].append(name)
    records = {}
    for record, fact in result.facts.items():
        photo = fact.photo if isinstance(fact.photo, PhotoFacts) else None
        records[record.image] = {
            "photo": record.image.name,
            "content": photo.digest if photo else None,
            "width": photo.width if photo else None,
            "height": photo.height if photo else None,
            "tags": [data_set.class_names[tag - 1] for tag in record.tags],
            "splits": sorted(set(splits[record.image])),
            "mask": record.label_map is not None,
        }
    return sorted(records.values(), key=lambda row: (str(row["photo"]), str(row["content"])))


def write_faults(path: Path, faults: Iterable[Fault]) -> None:
    """Write every fault as a row of a CSV file."""
    # What was found may be a file's name, which need not be UTF-8.
    with (
        replacing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        writer.writerows([getattr(fault, column) for column in _COLUMNS] for fault in faults)


def _labelled(label: str, paragraphs: list[str]) -> list[str]:
    lines = []
    for index, paragraph in enumerate(paragraphs):
        head = f"{label:<{_INDENT}}" if index == 0 else " " * _INDENT
        lines += textwrap.wrap(
            paragraph,
            _WIDTH,
            initial_indent=head,
            subsequent_indent=" " * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return [line.replace(_JOINT, " ") for line in lines]


def _photos_line(result: CheckResult) -> str:
    by_image = {record.image: fact.photo for record, fact in result.facts.items()}
    photos = [photo for photo in by_image.values() if isinstance(photo, PhotoFacts)]
    facts = [f"{len(photos):,} of {len(by_image):,} readable"]
    if photos:
        modes = Counter(photo.mode for photo in photos).most_common()
        sizes = Counter((photo.width, photo.height) for photo in photos)
        ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
        first, last = (f"{size[0]}x{size[1]}" for size in (ordered[0], ordered[-1]))
        (width, height), _ = sizes.most_common(1)[0]
        turned = sum(photo.is_turned for photo in photos)
        copies = len(photos) - len({photo.digest for photo in photos})
        facts += [
            modes[0][0] if len(modes) == 1 else " ".join(f"{mode} {count:,}" for mode, count in modes),
            f"all {first}" if len(sizes) == 1 else f"{first} to {last}, mostly {width}x{height}",
            f"{turned:,} turned by EXIF" if turned else "none turned by EXIF",
            f"{copies:,} exact copies" if copies else "no two alike",
            _size_in_words(sum(photo.num_bytes for photo in photos)),
        ]
    return ", ".join(facts)


def _splits_line(result: CheckResult) -> str:
    named = {name: records for name, records in result.data_set.splits.items() if name != ALL}
    text = "   ".join(f"{name} {len(records):,}" for name, records in named.items())
    train = {record.name for record in result.train}
    for name, records in result.measured.items() if train else ():
        both = len(train & {record.name for record in records})
        text += f"   {both or 'no'} photo{'s' if both > 1 else ''} in both {result.train_split} and {name}"
    return text


def _tags_lines(result: CheckResult) -> list[str]:
    numbers = Counter(len(record.tags) for record in result.train)
    histogram = [f"{number} tag{'s' if number > 1 else ''} {numbers[number]:,}" for number in sorted(numbers) if number]
    histogram.append(f"none {numbers[0]:,}")
    counts = count_tags(result.data_set, result.train)
    return [
        "   ".join([*histogram, f"({result.train_split})"]),
        "   ".join(f"{name} {count:,}" for name, count in counts.most_common()),
    ]


def _classes_line(class_names: Sequence[str]) -> str:
    """Ids and names, of very many classes the first and the last."""
    named = [f"{class_id}{_JOINT}{name.replace(' ', _JOINT)}" for class_id, name in enumerate(class_names, start=1)]
    left_out = len(named) - _NUM_CLASSES_SHOWN
    return "   ".join(named if left_out <= 0 else [*named[: _NUM_CLASSES_SHOWN - 1], "...", named[-1]])


def _masks_line(result: CheckResult) -> str:
    maps = [
        (readable(place(result.data_set, record.label_map)), fact.label_map)
        for record, fact in result.facts.items()
        if record.label_map is not None
    ]
    if not maps:
        return "none: seeds and segmenter cannot be measured"
    facts = [f"{len(maps):,}{_missing_masks(result)}"]
    in_error = {fault.file for fault in result.errors}
    num_faulty = sum(file in in_error for file, _ in maps)
    if num_faulty:
        facts.append("none usable" if num_faulty == len(maps) else f"{num_faulty:,} not usable")
    ids = {value for _, label_map in maps if isinstance(label_map, LabelMapFacts) for value in label_map.ids}
    if ids:
        num_sizes = sum(fault.code == "mask-size" for fault in result.faults)
        facts += [f"{num_sizes:,} sizes differ" if num_sizes else "sizes match", f"ids {_ids_in_words(ids)}"]
    text = ", ".join(facts)
    return text if num_faulty == len(maps) else f"{text}; {_agreement(result, ids, num_faulty=num_faulty)}"


def _missing_masks(result: CheckResult) -> str:
    """How many photos have no mask, and how many masks each split has; empty where all photos have one."""
    without = len({record.image for record, fact in result.facts.items() if fact.label_map is None})
    if not without:
        return ""
    named = {name: records for name, records in result.data_set.splits.items() if name != ALL}
    counts = [f"{name} {sum(record.label_map is not None for record in named[name]):,}" for name in named]
    by_split = f"; {', '.join(counts)}" if len(named) > 1 else ""
    return f" ({without:,} photo{'s have' if without > 1 else ' has'} none{by_split})"


def _agreement(result: CheckResult, ids: set[int], *, num_faulty: int) -> str:
    """Whether the tags say what the masks without an error show."""
    codes = ("mask-not-tag", "tag-not-mask", "empty-mask")
    differing = len({fault.file for fault in result.faults if fault.code in codes})
    if differing:
        return f"tags and masks differ on {differing:,}"
    if ids <= {BACKGROUND, IGNORE}:
        return "no class in any"
    if num_faulty:
        return "tags and masks agree on the others"
    return "tags and masks agree on every photo" + (" that has one" if _missing_masks(result) else "")


def _ids_in_words(ids: set[int]) -> str:
    classes = sorted(ids - {IGNORE})
    consecutive = len(classes) > 1 and classes == list(range(classes[0], classes[-1] + 1))
    text = f"{classes[0]}..{classes[-1]}" if consecutive else " ".join(str(value) for value in classes)
    return f"{text} and {IGNORE}" if IGNORE in ids else text


def _size_in_words(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes >= 1e6 else f"{num_bytes / 1e3:,.0f} kB"
