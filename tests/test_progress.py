import logging

import pytest
from rich.progress import Progress
from terminal import show_on_terminal

from tag2mask import progress
from tag2mask.progress import is_first_process, track

RANKS = (
    "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_NTASKS", "SLURM_JOB_NAME", "SLURM_PROCID", "TORCHELASTIC_RUN_ID",
)  # fmt: skip


@pytest.mark.parametrize(
    ("ranks", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "GROUP_RANK": "0"}, True),
        ({"LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train.sh", "SLURM_PROCID": "0"}, True),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train.sh", "SLURM_PROCID": "1"}, False),
        # Runs of their own, as far as Lightning knows.
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "interactive", "SLURM_PROCID": "1"}, True),
        ({"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash", "SLURM_PROCID": "1"}, True),
        ({"SLURM_JOB_NAME": "train.sh", "SLURM_PROCID": "1"}, True),
        # torchrun in a job gives the ranks itself.
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "TORCHELASTIC_RUN_ID": "7", "GROUP_RANK": "0"}, True),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "TORCHELASTIC_RUN_ID": "7", "GROUP_RANK": "1"}, False),
    ],
)
def test_one_process_of_all_nodes_is_the_first(monkeypatch: pytest.MonkeyPatch, ranks: dict[str, str], first: bool):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, rank in ranks.items():
        monkeypatch.setenv(name, rank)

    assert is_first_process() == first


@pytest.mark.parametrize("shown", [True, False])
def test_items_come_as_they_are(shown: bool):
    assert list(track(iter("abc"), 3, "letters", shown=shown)) == ["a", "b", "c"]
    assert list(track([], 0, "nothing", shown=shown)) == []


def test_terminal_shows_what_is_done_and_how_much(monkeypatch: pytest.MonkeyPatch):
    terminal = show_on_terminal(monkeypatch)

    assert list(track(range(7), 7, "CAMs of acr")) == list(range(7))

    assert "CAMs of acr" in terminal.getvalue()
    assert "7/7" in terminal.getvalue()


def test_terminal_stays_silent_for_other_processes(monkeypatch: pytest.MonkeyPatch):
    terminal = show_on_terminal(monkeypatch)

    list(track(range(7), 7, "CAMs of acr", shown=False))

    assert terminal.getvalue() == ""


def test_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    times = iter([0.0, 10.0, 40.0, 50.0, 71.0, 102.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(times))
    caplog.set_level(logging.INFO, "tag2mask.progress")

    list(track(range(5), 5, "CAMs of acr"))

    # Two items are too few to tell from.
    assert caplog.messages == [
        "CAMs of acr: 2 of 5",
        "CAMs of acr: 4 of 5, about 18 s left",
        "CAMs of acr: 5 of 5, about 0 s left",
    ]


@pytest.mark.parametrize(("done", "seconds", "told"), [(2, 60.0, "-:--:--"), (5, 0.5, "-:--:--"), (5, 10.0, "0:00:10")])
def test_bar_tells_the_time_left_after_a_few_items_and_a_second(done: int, seconds: float, told: str):
    now = [0.0]
    bar = Progress(get_time=lambda: now[0], auto_refresh=False, speed_estimate_period=100)
    number = bar.add_task("CAMs of acr", total=10)
    for step in range(1, done + 1):
        now[0] = seconds * step / done
        bar.update(number, completed=step)

    assert str(progress._TimeLeft().render(bar.tasks[0])) == told
