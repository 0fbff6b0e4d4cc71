"""What was understood of a data set, and every fault, before anything runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tag2mask.config import DataSettings
from tag2mask.data.check_files import check_copies, check_label_maps, check_photos
from tag2mask.data.check_tags import (
    check_classes,
    check_overlap,
    check_splits,
    check_tags,
    check_unlearned,
    is_val_split,
)
from tag2mask.data.faults import DataError, Fault, FaultLog
from tag2mask.data.inspection import RecordFacts
from tag2mask.data.known_facts import KnownFacts, inspect_changed, remember
from tag2mask.data.read import read_with_faults
from tag2mask.data.records import ALL, DataSet, Record

_SPLIT_SETTINGS = ("train_split", "seed_split", "label_split", "val_split")


@dataclass(frozen=True)
class CheckResult:
    """A data set, the facts of its files, and what is wrong with it."""

    data_set: DataSet
    train_split: str
    train: tuple[Record, ...]
    """Photos that the classifier learns from."""
    measured: dict[str, tuple[Record, ...]]
    """Splits that show how good what was learned is on other photos."""
    facts: dict[Record, RecordFacts]
    """Facts of every photo that was opened; where a photo has two label maps, of both."""
    faults: tuple[Fault, ...]
    """Errors first."""
    known: KnownFacts
    """Facts that a later check may take over."""

    @property
    def errors(self) -> tuple[Fault, ...]:
        """Faults that stop the work."""
        return tuple(fault for fault in self.faults if fault.severity == "error")

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """Faults that do not."""
        return tuple(fault for fault in self.faults if fault.severity == "warning")

    def raise_errors(self) -> None:
        """Raise the errors, if there are any, as one `DataError`."""
        if self.errors:
            raise DataError(self.errors)


def check_data_set(settings: DataSettings) -> CheckResult:
    """Read a data set, open every photo and label map, which shows its progress, and judge them.

    Args:
        settings: which data set; its training split is what tags are judged on. Where they name no `val_split`, splits
            that are called like one are taken for it.
    """
    data_set = read_with_faults(settings)
    return _check(data_set, settings, tuple(data_set.splits), {})


def check_used_splits(settings: DataSettings, known: KnownFacts) -> CheckResult:
    """`check_data_set`, but only photos of splits that the settings name are opened, or all where one cannot be read.

    Args:
        settings: as for `check_data_set`, but no split is taken for one that they do not name.
        known: facts that an earlier check found; files that have not changed since are not opened.
    """
    remember(known)
    return _check(read_with_faults(settings), settings, (), known)


def _check(data_set: DataSet, settings: DataSettings, others: Sequence[str], known: KnownFacts) -> CheckResult:
    """Open and judge the photos of the splits that the settings name, and of the others."""
    log = FaultLog()
    log.faults.extend(data_set.faults)
    chosen = [getattr(settings, field) for field in _SPLIT_SETTINGS]
    names = dict.fromkeys((settings.train_split, *filter(None, (*chosen, *others))))
    used = {name: _split(data_set, name, settings, log) for name in names}
    train = used[settings.train_split]
    learned = {name: used[name] for name in (settings.train_split, settings.label_split) if name}
    measured = {name: used[name] for name in _measured_splits(settings, others)}
    # A split that cannot be read may mean any of them.
    opened = used if len(log.faults) == len(data_set.faults) else data_set.splits
    records = list(dict.fromkeys(record for photos in opened.values() for record in photos))
    facts, lasting = inspect_changed(records, known)

    check_photos(data_set, facts, log)
    check_copies(data_set, facts, used, log)
    check_label_maps(data_set, facts, log)
    check_classes(data_set, log)
    check_splits(data_set, log)
    check_tags(data_set, train, log)
    if train:
        seed = {settings.seed_split: used[settings.seed_split]}
        check_unlearned(data_set, settings.train_split, seed | learned | measured, log)
        check_overlap(learned, measured, log)
    faults = dict.fromkeys(sorted(log.faults, key=lambda fault: fault.severity))
    return CheckResult(data_set, settings.train_split, train, measured, facts, tuple(faults), lasting)


def _measured_splits(settings: DataSettings, others: Sequence[str]) -> tuple[str, ...]:
    """The split that the settings name for it, else those of the others that are called like one."""
    if settings.val_split:
        return (settings.val_split,)
    return tuple(name for name in others if is_val_split(name) and name != settings.train_split)


def _split(data_set: DataSet, name: str, settings: DataSettings, log: FaultLog) -> tuple[Record, ...]:
    """Records of a split; none, and the reason noted, where it cannot be read."""
    if not data_set.splits[ALL]:
        # Nothing was understood, which is noted already.
        return ()
    try:
        return data_set.split(name)
    except DataError as error:
        log.faults.extend(_of_setting(fault, name, settings) for fault in error.faults)
        return ()


def _of_setting(fault: Fault, name: str, settings: DataSettings) -> Fault:
    """A fault of a split, which names the setting that asks for it where there is no such split."""
    asking = [field for field in _SPLIT_SETTINGS if getattr(settings, field) == name]
    if fault.code != "unknown-split" or not asking:
        return fault
    none = f"{fault.hint} Or null: no predictions are measured." if asking == ["val_split"] else fault.hint
    return replace(fault, file=f"data.{asking[0]}", hint=none.strip())
