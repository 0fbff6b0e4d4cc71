"""The program: from what was typed to a command, and from its end, however it comes, to an exit status."""

import errno
import io
import logging
import os
import select
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool

from tag2mask.arguments import COMMANDS
from tag2mask.command_line import build_parser, refuse_file, refuse_unknown, split_settings
from tag2mask.memory import is_want_of_memory
from tag2mask.progress import is_first_process
from tag2mask.usage import UsageError

# How the system says that a disk is full, or a user's share of it.
_FULL = (errno.ENOSPC, errno.EDQUOT)
_LESS_MEMORY = "smaller crops, batches or long_side, or fewer engine.workers, take less"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user gives one line and exit status 1, or 2 for the command line itself."""
    _print_any_character()
    own, settings = split_settings(sys.argv[1:] if arguments is None else arguments)
    typed, unknown = build_parser().parse_known_args(own)
    command = COMMANDS[typed.command]
    again = f"run the same command again to {'resume' if command.resumes else 'start over'}"
    _log_to_stderr(logging.INFO if is_first_process() else logging.ERROR)
    try:
        refuse_unknown(unknown, typed)
        if not command.takes_settings:
            refuse_unknown(settings, typed)
        refuse_file(vars(typed).get("run"))
        status = command.do(typed, settings) or 0
        # Here, where a reader that is gone can be told from other faults.
        print(end="", flush=True)
        return status
    except UsageError as error:
        return _fail(error, 2, debug=typed.debug)
    except (MemoryError, RuntimeError, BrokenPipeError) as error:
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            # It has enough, such as head. What is still to be printed must not fail at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        # A process that the system ended for want of memory cannot say so.
        if typed.debug or not (is_want_of_memory(error) or isinstance(error, BrokenProcessPool | BrokenPipeError)):
            raise
        told = str(error).partition("\n")[0]
        return _fail(MemoryError(f"out of memory ({told}); {_LESS_MEMORY}"), 1, debug=False)
    except (ValueError, FloatingPointError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            error.strerror = f"{error.strerror}; make room, then {again}"
        return _fail(error, 1, debug=typed.debug)
    except KeyboardInterrupt:
        print(f"interrupted; {again}", file=sys.stderr)
        return 130


def _reader_is_gone() -> bool:
    """Whether nobody reads any more what is printed, found out without printing more."""
    if sys.platform == "win32" or not isinstance(sys.stdout, io.TextIOWrapper):
        return False
    output = select.poll()
    output.register(sys.stdout)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in output.poll(0))


def _print_any_character() -> None:
    """Let a character that the terminal or file does not have become a question mark: hours of work hang on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _log_to_stderr(level: int) -> None:
    """Tell what the program logs from this level on; of what libraries log, only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(level)
    # Not by the libraries' loggers: Lightning sets the level of its own when it is imported, which is later.
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith("tag2mask"))
    logging.basicConfig(level=max(level, logging.WARNING), format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("tag2mask").setLevel(level)


def _fail(error: Exception, status: int, *, debug: bool) -> int:
    if debug:
        raise error
    if isinstance(error, FloatingPointError) and not is_first_process():
        # All processes stop for the same reason: the first one tells it.
        return status
    in_words = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    print(f"tag2mask: {in_words}", file=sys.stderr)
    return status
