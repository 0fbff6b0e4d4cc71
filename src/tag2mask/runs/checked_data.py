"""The check that every run begins with."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tag2mask.config import DataSettings
from tag2mask.data.check import check_used_splits
from tag2mask.data.check_report import fault_lines
from tag2mask.data.known_facts import read_known_facts, write_known_facts
from tag2mask.data.records import DataSet
from tag2mask.data.result_folders import FACTS_FILE
from tag2mask.progress import is_first_process

_logger = logging.getLogger(__name__)


@contextmanager
def checked_data(settings: DataSettings, run: Path) -> Iterator[tuple[DataSet, list[str]]]:
    """Read and check the data set: gives it with the warnings of the check, which are also logged.

    Files are opened only if they have changed since the last check for the folder `run`, which keeps what was found at
    once: neither a run after a kill nor the processes that are started next open them again. A folder that was made
    for this alone is deleted at the end, as settings that are refused must leave none.

    Raises:
        DataError: what the check found wrong.
    """
    known = read_known_facts(run / FACTS_FILE)
    result = check_used_splits(settings, known)
    result.raise_errors()
    for severity, line in fault_lines(result.warnings):
        _logger.info("%s: %s", severity, line)
    is_new = is_first_process() and not run.exists()
    if is_first_process() and result.known != known:
        write_known_facts(run / FACTS_FILE, result.known)
    try:
        yield result.data_set, [warning.line for warning in result.warnings]
    finally:
        if is_new and run.exists() and [path.name for path in run.iterdir()] == [FACTS_FILE]:
            shutil.rmtree(run)
