import pytest
import torch
from torch._inductor import config as compiler

from tag2mask.config import EngineSettings
from tag2mask.engine import launch


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
