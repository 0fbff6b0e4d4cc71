"""Facts of files that a check keeps on disk, so that the next one opens only the files that have changed since."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from tag2mask import __version__
from tag2mask.data.digests import ALGORITHM, FileState, remember_digest, state_of_file
from tag2mask.data.drawn_masks import DrawnMask
from tag2mask.data.inspection import LabelMapFacts, PhotoFacts, RecordFacts, inspect_records
from tag2mask.data.photos import FileError
from tag2mask.data.records import Record
from tag2mask.data.voc_tags import remember_label_ids
from tag2mask.files import replacing

KnownFacts = Mapping[str, RecordFacts]
"""Facts of each record, by the state of its files (paths, sizes and times)."""


class Inspection(NamedTuple):
    """What a check found in the files of its records."""

    facts: dict[Record, RecordFacts]
    """Facts of every record, newly found or known."""
    known: KnownFacts
    """Facts to keep for the next check; without files that cannot be used, which are opened each time."""


def inspect_changed(records: Sequence[Record], known: KnownFacts) -> Inspection:
    """Facts of each record; only files that `known` does not have in their present state are opened.

    A file counts as the same while its size and its time of writing are.
    """
    # Before the files are opened: what is written to one meanwhile is then seen by the next check.
    states = {record: _state(record) for record in records}
    changed = [record for record, state in states.items() if state not in known]
    found = dict(zip(changed, inspect_records(changed), strict=True))
    facts = {record: found[record] if record in found else known[state] for record, state in states.items()}
    lasting = {states[record]: fact for record, fact in facts.items() if _is_lasting(fact)}
    remember({state: fact for state, fact in lasting.items() if state not in known})
    return Inspection(facts, lasting)


def remember(known: KnownFacts) -> None:
    """Keep the digests and label values of these files in this process, so that nothing opens them again for those."""
    for state, facts in known.items():
        parts = json.loads(state)
        for part, fact in zip((parts[:3], parts[3:6]), (facts.photo, facts.label_map), strict=True):
            if isinstance(fact, PhotoFacts | LabelMapFacts) and fact.digest:
                path, size, time = part
                remember_digest((path, size, time), fact.digest)
                if isinstance(fact, LabelMapFacts):
                    remember_label_ids((path, size, time), fact.ids)


def write_known_facts(path: Path, known: KnownFacts) -> None:
    """Write facts for the checks of this version of the package."""
    facts = {state: asdict(facts) for state, facts in known.items()}
    content = {"version": __version__, "digests": ALGORITHM, "facts": facts}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_known_facts(path: Path) -> KnownFacts:
    """The facts that `write_known_facts` wrote; none where there is no file, or another version's."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if (content.get("version"), content.get("digests")) != (__version__, ALGORITHM):
        return {}
    return {state: _facts(**values) for state, values in content["facts"].items()}


def _facts(photo: dict[str, Any], label_map: dict[str, Any] | None) -> RecordFacts:
    if label_map is None:
        return RecordFacts(PhotoFacts(**photo), None)
    return RecordFacts(PhotoFacts(**photo), LabelMapFacts(**label_map | {"ids": tuple(label_map["ids"])}))


def _is_lasting(facts: RecordFacts) -> bool:
    return not isinstance(facts.photo, FileError) and not isinstance(facts.label_map, FileError)


def _state(record: Record) -> str:
    """Places, sizes and times of a record's files, and of a drawn label map which one it is, as text."""
    label_map = record.label_map
    parts: list[object] = [part for file in (record.image, record.label_map_file) if file for part in _stat(file)]
    if isinstance(label_map, DrawnMask):
        parts += [label_map.image_id, *(outline.class_id for outline in label_map.outlines)]
    return json.dumps(parts)


def _stat(file: Path) -> FileState | tuple[str]:
    try:
        return state_of_file(file)
    except OSError:
        return (str(file.absolute()),)
