"""The program: from what was typed to a command, and from its end, however it comes, to an exit status."""

import argparse
import io
import logging
import os
import select
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

from tag2mask import commands
from tag2mask.command_line import WITHOUT_SETTINGS, build_parser, refuse_file, refuse_unknown, split_settings
from tag2mask.config import DataSettings, EngineSettings
from tag2mask.memory import is_want_of_memory
from tag2mask.progress import is_first_process
from tag2mask.recipes import load_recipe, recipe_as_yaml
from tag2mask.runs.folder import RECIPE_FILE, expect_run, is_run
from tag2mask.usage import UsageError

# Commands that keep nothing of what they have done.
_BEGIN_ANEW = ("check", "env", "export", "report", "status")
_ON_A_RECIPE = {
    command.__name__: command
    for command in (
        commands.run, commands.train, commands.cams, commands.refine, commands.label, commands.segment,
        commands.evaluate, commands.demo, commands.status,
    )
}  # fmt: skip
_LESS_MEMORY = "smaller crops, batches or long_side, or fewer engine.workers, take less"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user gives one line and exit status 1, or 2 for the command line itself."""
    _print_any_character()
    parser = _parser()
    own, settings = split_settings(sys.argv[1:] if arguments is None else arguments)
    typed, unknown = parser.parse_known_args(own)
    _log_to_stderr(logging.INFO if is_first_process() else logging.ERROR)
    try:
        refuse_unknown(unknown, typed)
        status = _dispatch(typed, settings)
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
        return _fail(error, 1, debug=typed.debug)
    except KeyboardInterrupt:
        does = "begins anew" if typed.command in _BEGIN_ANEW else "resumes from here"
        print(f"stopped; the same command {does}", file=sys.stderr)
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


def _dispatch(typed: argparse.Namespace, flags: Sequence[str]) -> int:
    if typed.command in WITHOUT_SETTINGS:
        refuse_unknown(flags, typed)
    refuse_file(vars(typed).get("run"))
    match typed.command:
        case "check":
            from tag2mask.data.read import usual_train_split

            train_split = typed.train_split or usual_train_split(typed.data)
            settings = DataSettings(
                root=typed.data, layout=typed.layout, tag_source=typed.tag_source, train_split=train_split,
                seed_split=train_split,
            )  # fmt: skip
            return commands.check(settings, strict=typed.strict, as_json=typed.json, faults_file=typed.write)
        case "env":
            commands.env()
            return 0
        case "report":
            commands.report(_job_of_run(typed.folder, flags), typed.photos)
            return 0
        case "export":
            commands.export(typed.model, typed.out, typed.to, masks=typed.masks, names=typed.names)
            return 0
        case "predict":
            engine = EngineSettings(accelerator=typed.device, inference_precision=typed.precision)
            return commands.predict(typed.photos, typed.model, typed.out, engine)
        case "table":
            run_folder = typed.run or Path("runs") / f"{Path(typed.recipe).stem}-tables"
            commands.table(typed.table, typed.recipe, flags, num_seeds=typed.seeds, run=run_folder)
            return 0
    job = _demo(typed, flags) if typed.command == "demo" else _job(typed, flags)
    if typed.print_config:
        print(recipe_as_yaml(job.recipe), end="")
    else:
        _ON_A_RECIPE[typed.command](job)
    return 0


def _demo(typed: argparse.Namespace, flags: Sequence[str]) -> commands.Job:
    return commands.Job(load_recipe("demo", flags), typed.run or Path("runs") / "demo")


def _job(typed: argparse.Namespace, flags: Sequence[str]) -> commands.Job:
    """The recipe that is named; a run folder, or the recipe in it, names both."""
    named = Path(typed.recipe)
    folder = named.parent if named.name == RECIPE_FILE else named
    if is_run(folder):
        return replace(_job_of_run(folder, flags), run=typed.run or folder)
    recipe = load_recipe(typed.recipe, flags)
    if recipe.data.root is None and typed.run and is_run(typed.run):
        raise ValueError(
            f"data.root: found nothing, expected the folder of the photos; with the run's own settings: tag2mask "
            f"{typed.command} {typed.run}"
        )
    return commands.Job(recipe, typed.run or Path("runs") / named.stem)


def _job_of_run(folder: Path, flags: Sequence[str]) -> commands.Job:
    """The recipe in a run folder, with which it goes on; its photos may have moved."""
    expect_run(folder)
    recipe = load_recipe(str(folder / RECIPE_FILE), flags)
    root = recipe.data.root
    if root and not root.is_dir():
        raise ValueError(f"{root}: found no such folder, expected photos of {folder}: tell --data.root where they are")
    return commands.Job(recipe, folder)


def _parser() -> argparse.ArgumentParser:
    listed = (
        commands.demo, commands.run, commands.train, commands.cams, commands.refine, commands.label, commands.segment,
        commands.evaluate, commands.status, commands.table, commands.check, commands.report, commands.predict,
        commands.export, commands.env,
    )  # fmt: skip
    return build_parser({command.__name__: command.__doc__ or "" for command in listed})


def _fail(error: Exception, status: int, *, debug: bool) -> int:
    if debug:
        raise error
    if isinstance(error, FloatingPointError) and not is_first_process():
        # All processes stop for the same reason: the first one tells it.
        return status
    in_words = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
    print(f"tag2mask: {in_words}", file=sys.stderr)
    return status
