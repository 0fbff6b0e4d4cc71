"""What is wrong with a data set, as values: where it was found, what was expected, and what to do."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]

NUM_FAULTS_IN_MESSAGE = 20
TWO_FORMS = "They look alike but are two Unicode forms (NFC and NFD) of the same letters."


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong (error) or that deserves a look (warning)."""

    severity: Severity
    code: str
    """Kind of fault in a few words joined by hyphens, the same for all faults of the kind."""
    file: str
    """File, folder or class that it is about; below the data set's folder where it lies there."""
    row: int | None
    """Line of the file, 1 for the first."""
    found: str
    expected: str
    hint: str = ""
    """What to do, or what is done about it; a whole sentence."""

    @property
    def where(self) -> str:
        """File and row in words."""
        return self.file if self.row is None else f"{self.file} row {self.row}"

    @property
    def line(self) -> str:
        """The whole fault in one line, without its severity."""
        return f"{self.where}: {describe(self)}"


class DataError(ValueError):
    """A data set that cannot be used; `faults` has every reason, the message the first 20."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(fault for fault in faults if fault.severity == "error")
        lines = [fault.line for fault in self.faults[:NUM_FAULTS_IN_MESSAGE]]
        if len(self.faults) > 1:
            shown = f", the first {len(lines)} shown" if len(lines) < len(self.faults) else ""
            lines.append(f"{len(self.faults):,} errors{shown}")
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would hand the text alone to the new one, and so break a pool of processes.
        return DataError, (self.faults,)


class FaultLog:
    """Collects faults, so that reading goes on after the first."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def error(self, code: str, file: str, *, found: str, expected: str, row: int | None = None, hint: str = "") -> None:
        """Note something that stops the work."""
        self.faults.append(Fault("error", code, readable(file), row, found, expected, hint))

    def warn(self, code: str, file: str, *, found: str, expected: str, row: int | None = None, hint: str = "") -> None:
        """Note something that does not stop the work."""
        self.faults.append(Fault("warning", code, readable(file), row, found, expected, hint))


def describe(fault: Fault) -> str:
    """Found, expected and hint, without the place."""
    text = f"found {fault.found}, expected {fault.expected}"
    return f"{text}. {fault.hint}" if fault.hint else text


def readable(name: str) -> str:
    """A file's name; of its bytes those that are not UTF-8 are written as their numbers."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def nearest(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The word that `word` was probably meant to be, or none."""
    return next(iter(all_near(word, words, cutoff=cutoff)), None)


def all_near(word: str, words: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """Up to three words that `word` may have been meant to be, the nearest first."""
    by_fold = {fold(candidate): candidate for candidate in words}
    return [by_fold[near] for near in difflib.get_close_matches(fold(word), by_fold, n=3, cutoff=cutoff)]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A hint that names the nearest word; empty where none is near."""
    guess = nearest(word, words)
    if guess is None:
        return ""
    alike = guess != word and unicodedata.normalize("NFC", guess) == unicodedata.normalize("NFC", word)
    return f"Did you mean {guess!r}?" + f" {TWO_FORMS}" * alike


def fold(word: str) -> str:
    """The word without what people do not mean by it: case, spaces around it, its Unicode form."""
    return unicodedata.normalize("NFKC", word).strip().casefold()
