"""Judges the tags of a data set: whether a classifier can learn each class from them, and each class apart."""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations

from tag2mask.data.faults import FaultLog, did_you_mean, fold
from tag2mask.data.records import ALL, DataSet, Record, split_role

MIN_PHOTOS = 20
"""Photos of a class below which its CAMs are hardly better than chance."""
MIN_SHARE_ALONE = 0.05
"""Share of photos with only this class below which the class is not learned apart from what stands beside it."""
RARE_AS_TYPO = 0.1
"""A class whose name is like another's and which is this much rarer is probably a slip."""
OTHER_SEPARATORS = r"[|,/+]"
"""What people put between tags where a semicolon is meant."""
NO_CLASSES = frozenset({"none", "nothing", "empty", "negative", "negatives", "other", "others"})
"""What people call photos that show none of the classes, and what is then read as a class."""

Splits = Mapping[str, tuple[Record, ...]]
"""Records by the name of their split."""

_UNTAGGED = "an empty tags cell, or a folder called background"


def is_val_split(name: str) -> bool:
    """Whether a split is called like one to measure on, for where no setting says which it is."""
    return split_role(name) in ("val", "test")


def check_classes(data_set: DataSet, log: FaultLog) -> None:
    """Classes whose names are like another's (`Dog` and `dog`, a rare `dgo`), are several (`dog|cat`) or say `none`."""
    counts = count_tags(data_set, data_set.splits[ALL])
    names = sorted(data_set.class_names, key=lambda name: counts[name])
    for index, name in enumerate(names):
        others = names[index + 1 :]
        same = [other for other in others if fold(other) == fold(name)]
        commoner = [other for other in others if 0 < counts[name] <= RARE_AS_TYPO * counts[other]]
        hint = did_you_mean(name, same or commoner)
        if hint:
            photos = _photos(counts[name])
            log.warn("like-name", name, found=f"a class of {photos}", expected="names that differ", hint=hint)
        parts = [part.strip() for part in re.split(OTHER_SEPARATORS, name)]
        if len(parts) > 1 and set(parts) <= set(names):
            found = f"one class in {counts[name]:,} row{'' if counts[name] == 1 else 's'}"
            hint = "Separate tags by ;."
            log.warn("joined-tags", name, found=found, expected=f"the classes {' and '.join(parts)}", hint=hint)
        if name.strip().casefold() in NO_CLASSES:
            found = f"it as a class of {_photos(counts[name])}"
            hint = f"Photos that show no class have {_UNTAGGED}."
            log.warn("no-class", name, found=found, expected="the name of what is to be found in photos", hint=hint)


def check_splits(data_set: DataSet, log: FaultLog) -> None:
    """Splits whose name has the letters of train, val or test in another order or case (`trian` beside `train`)."""
    usual = {"".join(sorted(name)): name for name in data_set.splits if split_role(name) == name}
    for name, records in data_set.splits.items():
        meant = usual.get("".join(sorted(fold(name))), name)
        if meant != name:
            found, hint = f"a split of {_photos(len(records))}", f"Did you mean {meant!r}?"
            log.warn("like-split", name, found=found, expected="another name", hint=hint)


def check_tags(data_set: DataSet, train: tuple[Record, ...], log: FaultLog) -> None:
    """Classes that are too rare, everywhere, or never alone, in the photos that the classifier learns from."""
    if not train:
        return
    counts = count_tags(data_set, train)
    _check_counts(data_set, counts, len(train), log)
    _check_company(data_set, train, counts, log)
    num_classes = len(data_set.class_names)
    for record in train:
        # With two classes, photos of both are nothing strange.
        if num_classes > 2 and len(record.tags) == num_classes:
            found = f"all {num_classes} classes"
            log.warn("all-classes", record.name, found=found, expected="a class that it does not show")
    if all(record.tags for record in train):
        hint = f"The background is only learned inside tagged photos. Some empty scenes help: {_UNTAGGED}."
        log.warn("no-untagged", "tags", found="no photo without a tag", expected="a few", hint=hint)


def check_unlearned(data_set: DataSet, train_split: str, used: Splits, log: FaultLog) -> None:
    """Classes that photos of the splits in use show, but none that the classifier learns from.

    Args:
        data_set: gives the class names.
        train_split: split that the classifier learns from, one of those in use.
        used: records by split.
        log: where faults go.
    """
    shown = {split: {tag for record in records for tag in record.tags} for split, records in used.items()}
    for tag in sorted(set().union(*shown.values()) - shown[train_split]):
        found = f"photos in {' and '.join(split for split, tags in shown.items() if tag in tags)} only"
        log.error("val-only", data_set.class_names[tag - 1], found=found, expected=f"photos in {train_split} too")


def check_overlap(learned: Splits, measured: Splits, log: FaultLog) -> None:
    """Photos that are in a split to learn from and in one to measure on."""
    for split, records in measured.items():
        for train_split, train in learned.items():
            both = sorted({record.name for record in train} & {record.name for record in records})
            if both:
                found = f"{_photos(len(both))} in both ({', '.join(both[:3])})"
                hint = "What is measured was learned."
                log.warn("split-overlap", f"{train_split} and {split}", found=found, expected="none", hint=hint)


def count_tags(data_set: DataSet, records: tuple[Record, ...]) -> Counter[str]:
    """Photos by class name; classes without a photo count zero."""
    counts = Counter(dict.fromkeys(data_set.class_names, 0))
    counts.update(data_set.class_names[tag - 1] for record in records for tag in record.tags)
    return counts


def _check_counts(data_set: DataSet, counts: Counter[str], num_photos: int, log: FaultLog) -> None:
    single = len(data_set.class_names) == 1
    for name in data_set.class_names:
        count = counts[name]
        if count == num_photos:
            code = "no-negatives" if single else "everywhere"
            hint = "There is nothing to contrast it with, so no CAM can be learned."
            found = f"it in all {num_photos:,} photos" if num_photos > 1 else "it in the only photo"
            log.error(code, name, found=found, expected="some without it", hint=hint)
        elif count == 0:
            hint = "It cannot be learned."
            log.warn("unseen-class", name, found="no photo of it", expected=f"at least {MIN_PHOTOS}", hint=hint)
        elif count < MIN_PHOTOS:
            hint = f"Expect little of {name}."
            log.warn("rare-class", name, found=_photos(count), expected=f"at least {MIN_PHOTOS}", hint=hint)


def _check_company(data_set: DataSet, train: tuple[Record, ...], counts: Counter[str], log: FaultLog) -> None:
    pairs = Counter(pair for record in train for pair in combinations(record.tags, 2))
    alone = Counter(record.tags[0] for record in train if len(record.tags) == 1)
    class_names = data_set.class_names
    inseparable: set[int] = set()
    for (one, other), count in sorted(pairs.items()):
        # Once together says only that the classes are rare, which is another warning.
        if count > 1 and count == counts[class_names[one - 1]] == counts[class_names[other - 1]]:
            inseparable |= {one, other}
            found = f"both in the same {_photos(count)}"
            where = f"{class_names[one - 1]} and {class_names[other - 1]}"
            hint = "They cannot be told apart. Add photos of only one of them."
            log.warn("never-apart", where, found=found, expected="photos with one of them", hint=hint)
    for tag, name in enumerate(class_names, start=1):
        total = counts[name]
        if total < MIN_PHOTOS or tag in inseparable or alone[tag] >= MIN_SHARE_ALONE * total:
            continue
        beside = Counter({class_names[sum(pair) - tag - 1]: count for pair, count in pairs.items() if tag in pair})
        company = ", ".join(f"{other} {count / total:.0%}" for other, count in beside.most_common(2))
        hint = (
            f"Its CAM will include what stands beside it ({company}). "
            f'Add photos tagged only "{name}", or expect low precision for it.'
        )
        found = f"it alone in {alone[tag]:,} of {_photos(total)}"
        log.warn("seldom-alone", name, found=found, expected=f"at least {MIN_SHARE_ALONE:.0%} of them", hint=hint)


def _photos(count: int) -> str:
    return f"{count:,} photo{'' if count == 1 else 's'}"
