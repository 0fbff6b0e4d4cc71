from types import SimpleNamespace

import pytest
import torch
from torch._inductor import config as compiler

from tag2mask.config import EngineSettings
from tag2mask.engine import launch, share_of


def test_processes_share_what_waits_after_all_have_looked():
    met = []
    fabrics = [SimpleNamespace(global_rank=rank, world_size=3, barrier=lambda: met.append(1)) for rank in range(3)]

    shares = [share_of(fabric, list("abcdefg")) for fabric in fabrics]

    assert shares == [["a", "d", "g"], ["b", "e"], ["c", "f"]]
    assert len(met) == 3


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
