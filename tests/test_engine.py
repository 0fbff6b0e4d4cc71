import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from command_process import ready_processes, work_together
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment
from torch import distributed
from torch._inductor import config as compiler

from tag2mask.config import EngineSettings, Precision
from tag2mask.engine import inference_arithmetic, launch, launched
from tag2mask.progress import is_first_process


def test_compiling_without_a_compiler_is_refused_in_one_line():
    torch.compiler.reset()

    with (
        compiler.patch({"cpp.cxx": ("no-such-compiler",)}),
        pytest.raises(ValueError, match=r"^engine\.compile") as error,
    ):
        launch(EngineSettings(accelerator="cpu", compile=True))

    assert "no-such-compiler" in str(error.value)
    assert "expected a C++ compiler" in str(error.value)
    assert "\n" not in str(error.value)


def test_device_that_is_not_there_is_refused_with_its_setting(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    with pytest.raises(ValueError, match=r"^engine\.accelerator mps x 1: "):
        launch(EngineSettings(accelerator="mps"))


@pytest.mark.parametrize(("device", "expected"), [("cpu", "highest"), ("cuda", "high")])
def test_products_of_float32_are_rounded_on_a_gpu_alone(device: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    # There is no GPU that Fabric could find.
    there = SimpleNamespace(device=torch.device(device), launch=lambda: None)
    monkeypatch.setattr("tag2mask.engine.Fabric", lambda **_: there)

    try:
        launch(EngineSettings())
        assert torch.get_float32_matmul_precision() == expected
    finally:
        torch.set_float32_matmul_precision("highest")


def join_a_run_that_is_gone() -> None:
    # A number that the process which started this one cannot have.
    os.environ |= {"LOCAL_RANK": "1", "TAG2MASK_STARTED_BY": str(os.getpid()), "MASTER_PORT": "9"}
    launch(EngineSettings(accelerator="cpu", devices=2))


def test_process_whose_starter_is_gone_before_they_meet_ends():
    process = ready_processes().Process(target=join_a_run_that_is_gone, daemon=True)
    process.start()

    process.join(timeout=60)

    assert process.exitcode == 1


@pytest.fixture
def group_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is launched is the only process of its group."""

    def join(settings: EngineSettings) -> Fabric:
        distributed.init_process_group("gloo", init_method=(tmp_path / "meeting").as_uri(), rank=0, world_size=1)
        return launch(settings)

    monkeypatch.setattr("tag2mask.engine.launch", join)
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.mark.usefixtures("group_of_one")
def test_group_of_processes_ends_with_the_block():
    with launched(EngineSettings(accelerator="cpu")):
        assert distributed.is_initialized()

    assert not distributed.is_initialized()


@pytest.mark.usefixtures("group_of_one")
def test_failing_block_does_not_wait_for_the_group():
    with pytest.raises(KeyboardInterrupt), launched(EngineSettings(accelerator="cpu")):
        raise KeyboardInterrupt

    assert distributed.is_initialized()


@pytest.mark.usefixtures("group_of_one")
def test_run_ends_the_group_of_its_processes(tag2mask: Callable, finished_run: Path, tiny_recipe: Path, tmp_path: Path):
    run = shutil.copytree(finished_run, tmp_path / "run")

    outcome = tag2mask("run", tiny_recipe, "--run", run)

    assert outcome.status == 0, outcome.err
    assert not distributed.is_initialized()


@pytest.mark.usefixtures("group_of_one")
def test_table_ends_the_group_of_its_processes(tag2mask: Callable, tiny_recipe: Path, tmp_path: Path):
    table = tmp_path / "one.yaml"
    table.write_text("{title: One, source: none, rows: [{name: plain, method: baseline, level: seed}]}")

    outcome = tag2mask("table", table, tiny_recipe, "--classifier.epochs", 1, "--run", tmp_path / "run")

    assert outcome.status == 0, outcome.err
    assert not distributed.is_initialized()


def write_buffer(fabric: Fabric, folder: Path) -> None:
    network = torch.nn.BatchNorm2d(1)
    trained = fabric.setup(network)
    network.eval().running_mean.fill_(fabric.global_rank)  # type: ignore[union-attr]
    trained(torch.ones(1, 1, 2, 2))
    (folder / str(fabric.global_rank)).write_text(str(network.running_mean))


def test_processes_give_each_other_no_buffers(tmp_path: Path):
    assert work_together(write_buffer, tmp_path) == [0, 0]

    assert [(tmp_path / rank).read_text() for rank in "01"] == ["tensor([0.])", "tensor([1.])"]


@pytest.mark.parametrize(
    ("precision", "inference_precision", "expected"),
    [
        ("32-true", None, torch.float32),
        ("32-true", "bf16-mixed", torch.bfloat16),
        ("bf16-mixed", None, torch.bfloat16),
        ("bf16-mixed", "32-true", torch.float32),
        # As in training: Fabric takes bfloat16 on a CPU.
        ("16-mixed", None, torch.bfloat16),
    ],
)
def test_trained_networks_compute_as_asked_or_as_in_training(
    precision: Precision, inference_precision: Precision | None, expected: torch.dtype
):
    settings = EngineSettings(accelerator="cpu", precision=precision, inference_precision=inference_precision)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = launch(settings)

    with inference_arithmetic(fabric, settings):
        found = torch.ones(2, 2) @ torch.ones(2, 2)

    assert found.dtype == expected


@pytest.mark.parametrize("job", ["train.sh", "bash", "interactive"])
@pytest.mark.parametrize("tasks", [None, "2"])
def test_slurm_gives_the_ranks_where_lightning_says_so(monkeypatch: pytest.MonkeyPatch, job: str, tasks: str | None):
    monkeypatch.setenv("SLURM_JOB_NAME", job)
    monkeypatch.setenv("SLURM_PROCID", "1")
    if tasks:
        monkeypatch.setenv("SLURM_NTASKS", tasks)

    assert is_first_process() != SLURMEnvironment.detect()
