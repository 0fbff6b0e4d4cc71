"""CSV files of tags: `image,tags[,split]` with tags separated by `;`, or one 0/1 column per class.

As spreadsheets write them: these names in upper or lower case; instead of `image` one of `image_id`, `filename`,
`file_name` and `file`, where the others are absent; TRUE, yes or x for 1; FALSE, no or an empty cell for 0.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path, PurePath

from tag2mask.data.classes import is_background
from tag2mask.data.faults import FaultLog, did_you_mean, nearest
from tag2mask.data.names import PHOTO_SUFFIXES
from tag2mask.data.photo_files import PhotoFiles

IMAGE_COLUMNS = ("image", "image_id")
FILE_COLUMNS = ("filename", "file_name", "file")
"""What others call the column that names the photos."""
TAGS_COLUMN = "tags"
SPLIT_COLUMN = "split"
_VERDICTS = dict.fromkeys(("1", "1.0", "true", "yes", "x"), True) | dict.fromkeys(("0", "0.0", "false", "no"), False)


@dataclass(frozen=True)
class TaggedRow:
    """One photo as the table has it."""

    row: int | None
    """Line of the table; none where the tags do not come from a table."""
    image: str
    tags: tuple[str, ...]
    split: str
    """Empty where the table does not say."""


@dataclass(frozen=True)
class TagTable:
    """All rows that could be understood."""

    columns: tuple[str, ...]
    """Names of the 0/1 columns; empty for a table with a `tags` column."""
    rows: tuple[TaggedRow, ...]


@dataclass(frozen=True)
class _Lines:
    header: list[str]
    rows: list[tuple[int, dict[str, str]]]


def read_tag_table(path: Path, log: FaultLog, *, class_names: tuple[str, ...] | None) -> TagTable | None:
    """Rows of a table of tags, or none if its header cannot be used; every fault is noted.

    Args:
        path: the CSV file.
        log: where faults go.
        class_names: the classes if they are known from elsewhere; other 0/1 columns are then left out.
    """
    lines = _read_lines(path, log)
    if lines is None:
        return None
    image_column = _image_column(path, lines, log)
    if image_column is None:
        return None
    if TAGS_COLUMN in lines.header:
        table = _read_tags(path, lines, image_column, log)
    else:
        columns = _class_columns(path, lines, image_column, log, class_names=class_names)
        if columns is None:
            return None
        table = _read_columns(path, lines, image_column, columns, log)
    if not any(row.tags for row in table.rows):
        found = f"no tag in {len(lines.rows):,} rows"
        log.error("no-tags", path.name, found=found, expected="tags in some rows")
    return table


def rows_by_photo(path: Path, table: TagTable, photos: PhotoFiles, log: FaultLog) -> dict[str, TaggedRow]:
    """Rows by the key of their photo; rows without a photo and second rows of one are noted and left out."""
    rows: dict[str, TaggedRow] = {}
    for row in table.rows:
        assert row.row is not None
        key = photos.resolve(row.image, log, file=path.name, row=row.row)
        if key is None:
            continue
        if key in rows:
            found = f"{row.image!r} again, first in row {rows[key].row}"
            log.error("row-twice", path.name, row=row.row, found=found, expected="one row per photo")
        else:
            rows[key] = row
    return rows


def tag_ids(row: TaggedRow, class_names: tuple[str, ...], log: FaultLog, *, file: str) -> tuple[int, ...]:
    """Sorted class ids of a row; tags that are no class are noted."""
    ids = {name: class_id for class_id, name in enumerate(class_names, start=1)}
    for tag in row.tags:
        if tag not in ids:
            expected = f"one of {', '.join(class_names[:20])}"
            hint = did_you_mean(tag, class_names)
            log.error("unknown-class", file, row=row.row, found=f"tag {tag!r}", expected=expected, hint=hint)
    return tuple(sorted(ids[tag] for tag in row.tags if tag in ids))


def _read_tags(path: Path, lines: _Lines, image_column: str, log: FaultLog) -> TagTable:
    rows = []
    for number, cells in lines.rows:
        cell = cells[TAGS_COLUMN]
        if cell.strip().startswith("[") and cell.strip().endswith("]"):
            expected = "tags between ;, as in cat;dog"
            log.error("tag-list", path.name, row=number, found="a list in brackets", expected=expected)
        parts = cell.split(";") if cell.strip() else []
        for part in parts:
            # "cat; dog" is a way to write a list, so a space before a name says nothing.
            if part != part.rstrip():
                hint = "Read without the space."
                log.warn("tag-space", path.name, row=number, found=repr(part), expected=repr(part.strip()), hint=hint)
        tags = dict.fromkeys(part.strip() for part in parts if part.strip() and not is_background(part))
        rows.append(TaggedRow(number, cells[image_column], tuple(tags), cells.get(SPLIT_COLUMN, "").strip()))
    return TagTable((), tuple(rows))


def _read_columns(path: Path, lines: _Lines, image_column: str, columns: tuple[str, ...], log: FaultLog) -> TagTable:
    rows = []
    num_empty = 0
    for number, cells in lines.rows:
        tags = []
        for column in columns:
            verdict = _verdict(cells[column])
            if not cells[column].strip():
                num_empty += 1
            elif verdict is None:
                found = f"{cells[column]!r} in column {column!r}"
                log.error("not-0-or-1", path.name, row=number, found=found, expected="0 or 1")
            elif verdict:
                tags.append(column)
        rows.append(TaggedRow(number, cells[image_column], tuple(tags), cells.get(SPLIT_COLUMN, "").strip()))
    if num_empty:
        found = f"{num_empty:,} empty cell{'' if num_empty == 1 else 's'} in columns of classes"
        log.warn("empty-cell", path.name, found=found, expected="0 or 1", hint="They are read as 0.")
    return TagTable(columns, tuple(rows))


def _image_column(path: Path, lines: _Lines, log: FaultLog) -> str | None:
    """The column that names the photos, or none where none or several may be it."""
    image, *others = (*IMAGE_COLUMNS, *FILE_COLUMNS)
    if image in lines.header:
        return image
    named = [column for column in lines.header if column.casefold() in others]
    if len(named) == 1:
        return named[0]
    files = [column for column in lines.header if all(_is_photo(cells[column]) for _, cells in lines.rows)]
    if any(_is_photo(column) for column in lines.header):
        found, hint = f"a photo ({', '.join(lines.header)})", "Put a row image,tags above it."
        log.error("no-header", path.name, row=1, found=found, expected="the names of the columns", hint=hint)
        return None
    guess = next(iter(files if len(files) == 1 else named), None)
    _missing_column(path, log, lines.header, image, guess=guess)
    return None


def _is_photo(cell: str) -> bool:
    return PurePath(cell.strip()).suffix.lower() in PHOTO_SUFFIXES


def _class_columns(
    path: Path, lines: _Lines, image_column: str, log: FaultLog, *, class_names: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """Columns that are classes, or none if the header lacks what it should have."""
    # A column without a name is a spreadsheet's trailing separator, or pandas' row numbers.
    special = {image_column, *IMAGE_COLUMNS, SPLIT_COLUMN, ""}
    columns = [column for column in lines.header if column not in special and not is_background(column)]
    texts = [column for column in columns if not any(_verdict(cells[column]) is not None for _, cells in lines.rows)]
    if len(texts) == len(columns) or nearest(TAGS_COLUMN, texts, cutoff=0.7):
        _missing_column(path, log, lines.header, TAGS_COLUMN, guess=texts[0] if len(texts) == 1 else None)
        return None
    if class_names is None:
        return tuple(columns)
    missing = [name for name in class_names if name not in columns]
    for name in missing:
        _missing_column(path, log, lines.header, name)
    for column in columns:
        if column not in class_names:
            hint = f"The column is left out. {did_you_mean(column, missing)}".rstrip()
            expected = "a class of classes.txt"
            log.warn("unknown-class", path.name, row=1, found=f"column {column!r}", expected=expected, hint=hint)
    return None if missing else class_names


def _verdict(cell: str) -> bool | None:
    """Whether the photo has the class; none where the cell does not say."""
    return _VERDICTS.get(cell.strip().casefold())


def _missing_column(path: Path, log: FaultLog, header: list[str], column: str, *, guess: str | None = None) -> None:
    found = f"columns {', '.join(header)}"
    meant = guess or nearest(column, header)
    hint = f"Is it {meant!r}? Rename it." if meant is not None else ""
    log.error("missing-column", path.name, row=1, found=found, expected=f"a column {column!r}", hint=hint)


def _read_lines(path: Path, log: FaultLog) -> _Lines | None:
    text = _read_text(path, log)
    lines = None if text is None else _split_cells(path, text, log)
    if lines is None:
        return None
    header = [_usual_name(cell.strip()) for cell in lines[0][1]] if lines else []
    rows = []
    for number, cells in lines[1:]:
        if len(cells) == len(header):
            rows.append((number, dict(zip(header, cells, strict=True))))
        else:
            found, expected = f"{len(cells)} cells", f"{len(header)}, as in the header"
            hint = 'Put "quotes" around a cell that holds the separator.'
            log.error("cells", path.name, row=number, found=found, expected=expected, hint=hint)
    if len(set(header)) < len(header):
        twice = next(column for column in header if header.count(column) > 1)
        log.error("columns", path.name, row=1, found=f"two columns {twice!r}", expected="each column once")
        return None
    if not rows:
        if len(lines) < 2:
            log.error("empty-table", path.name, found="no row", expected="a header and one row per photo")
        return None
    return _Lines(header, rows)


def _usual_name(column: str) -> str:
    """The name by which columns of ours are found, whatever their case."""
    ours = (*IMAGE_COLUMNS, TAGS_COLUMN, SPLIT_COLUMN)
    return column.casefold() if column.casefold() in ours else column


def _split_cells(path: Path, text: str, log: FaultLog) -> list[tuple[int, list[str]]] | None:
    """Number and cells of every line that has any, or none where the text is no CSV."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        hint = "Is a quote not closed?"
        log.error("csv", path.name, row=reader.line_num, found=str(error), expected="CSV", hint=hint)
        return None


def _read_text(path: Path, log: FaultLog) -> str | None:
    content = path.read_bytes()
    # Excel's "Unicode text" is UTF-16 with a byte order mark.
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{content[error.start]:02x}, which is not UTF-8"
        log.error("encoding", path.name, row=row, found=found, expected="UTF-8", hint='Save as "CSV UTF-8".')
        return None
