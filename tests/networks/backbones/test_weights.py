import logging
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tag2mask.networks.backbones.resnet38 import ResNet38
from tag2mask.networks.backbones.weights import (
    load_strictly,
    read_weights,
    rename_mxnet,
    rename_released,
    write_weights,
)


def some_state() -> dict[str, Tensor]:
    return {"weight": torch.arange(6.0).view(2, 3), "bias": torch.tensor([1.0, 2.0])}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def trunk_names() -> list[str]:
    with torch.device("meta"):
        return [name for name in ResNet38().state_dict() if not name.endswith("num_batches_tracked")]


def mxnet_name(name: str) -> str:
    """The name in `resnet_38d.params` of an entry of ResNet38, written the other way round."""
    if name == "conv1a.weight":
        return "arg:conv1a_weight"
    *path, value = name.split(".")
    block = re.sub(r"^b(\d)_(\d)$", r"\1b\2", path[0])
    block = re.sub(r"^b(\d)$", r"\1a", block)
    if path == ["bn7"]:
        layer = "bn7"
    else:
        kind, branch = path[1].split("_")
        layer = f"{'res' if kind == 'conv' else 'bn'}{block}_{branch}"
        if kind == "conv":
            return f"arg:{layer}_weight"
    values = {"weight": "arg:{}_gamma", "bias": "arg:{}_beta", "running_mean": "aux:{}_moving_mean"}
    return values.get(value, "aux:{}_moving_var").format(layer)


def test_weights_that_were_written_are_read(tmp_path: Path):
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)).to(memory_format=torch.channels_last)

    write_weights(tmp_path / "a" / "net.safetensors", network)

    assert equal(read_weights(tmp_path / "a" / "net.safetensors"), network.state_dict())


def test_full_disk_is_told_with_the_weights_that_it_refused(fill_disk: Callable[..., None], tmp_path: Path):
    fill_disk()

    with pytest.raises(OSError, match="No space left on device") as error:
        write_weights(tmp_path / "net.safetensors", nn.Linear(2, 3))

    assert error.value.filename == str(tmp_path / "net.safetensors")


def test_names_of_mxnet_are_understood():
    names = {
        "arg:conv1a_weight": "conv1a.weight",
        "arg:res2a_branch1_weight": "b2.conv_branch1.weight",
        "arg:bn2a_branch2a_gamma": "b2.bn_branch2a.weight",
        "arg:res4b5_branch2b1_weight": "b4_5.conv_branch2b1.weight",
        "aux:bn5b2_branch2b1_moving_var": "b5_2.bn_branch2b1.running_var",
        "aux:bn7a_branch2b2_moving_mean": "b7.bn_branch2b2.running_mean",
        "arg:bn7_beta": "bn7.bias",
        "arg:linear1000_weight": "arg:linear1000_weight",
    }

    renamed = rename_mxnet({name: torch.tensor(i) for i, name in enumerate(names)})

    assert [(renamed[ours].item(), ours) for ours in names.values()] == list(enumerate(names.values()))


def test_every_entry_of_the_trunk_is_found_under_the_names_of_mxnet(trunk_names: list[str]):
    foreign = {mxnet_name(name): torch.tensor(i) for i, name in enumerate(trunk_names)}
    assert len(foreign) == len(trunk_names) > 150

    renamed = rename_mxnet(foreign)

    assert list(renamed) == trunk_names


def test_trunk_of_a_released_checkpoint_keeps_its_names(trunk_names: list[str]):
    renamed = rename_released({name: torch.zeros(0) for name in trunk_names})

    assert list(renamed) == [f"backbone.{name}" for name in trunk_names]


@pytest.mark.parametrize(
    ("names", "ours"),
    [
        (["fc8.weight"], ["head.weight"]),
        (["fc8.weight", "fc9.weight"], ["head.0.weight", "head.2.weight"]),
        (["dr1.weight", "dr2.weight", "fc_recon.weight"], [f"reductions.{i}.weight" for i in range(3)]),
        (["genUnet.down1.model.0.weight"], ["decoder.down.0.0.weight"]),
        (["genUnet.up7.model.0.weight"], ["decoder.up.6.0.weight"]),
        (["genUnet.final.1.bias"], ["decoder.final.1.bias"]),
        (["f8_3.weight"], ["f8_3.weight"]),
    ],
)
def test_layers_after_the_trunk_get_our_names(names: list[str], ours: list[str]):
    assert list(rename_released({name: torch.zeros(0) for name in names})) == ours


def test_of_the_two_networks_of_acr_the_classifier_is_taken():
    state = {"net_main.fc8.weight": torch.tensor(1), "net_recon.fc8.weight": torch.tensor(2)}

    assert rename_released(state)["head.weight"].item() == 1


def test_every_kind_of_file_is_read(tmp_path: Path):
    state = some_state()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "plain.pth")
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, tmp_path / "b.ckpt")
    torch.save({"model": state}, tmp_path / "deit.pth")
    torch.save({"model": {"other": torch.zeros(1)}, "state_dict": state}, tmp_path / "both.pth")
    array = struct.pack("<IiIqiii", 0xF993FAC9, 0, 1, 2, 1, 0, 0) + struct.pack("<ff", 1.0, 2.0)
    names = struct.pack("<QQ", 1, 8) + b"arg:bias"
    (tmp_path / "c.params").write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + array + names)

    assert equal(read_weights(tmp_path / "a.safetensors"), state)
    assert equal(read_weights(tmp_path / "plain.pth"), state)
    assert equal(read_weights(tmp_path / "b.ckpt"), state)
    assert equal(read_weights(tmp_path / "deit.pth"), state)
    assert equal(read_weights(tmp_path / "both.pth"), state)
    assert equal(read_weights(tmp_path / "c.params"), {"arg:bias": state["bias"]})


class Anything:
    """Something that no weights file should hold."""


def test_files_that_are_no_weights_are_refused_in_one_line(tmp_path: Path):
    torch.save({"state_dict": some_state(), "hyperparameters": Anything()}, tmp_path / "objects.ckpt")
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    (tmp_path / "text.pth").write_text("weights")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("weights of mine")
    torch.save(some_state(), tmp_path / "whole.pth")
    cut = (tmp_path / "whole.pth").read_bytes()[:-200]
    (tmp_path / "cut.pth").write_bytes(cut)

    for name in ("objects.ckpt", "list.pth", "text.pth", "empty.pth", "text.safetensors", "cut.pth", "absent.pth"):
        with pytest.raises(ValueError, match=re.escape(str(tmp_path / name))) as refusal:
            read_weights(tmp_path / name)
        assert "\n" not in str(refusal.value)


def test_file_that_torch_calls_unsafe_is_refused_without_the_advice_to_read_it_all_the_same(tmp_path: Path):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": some_state(), "hyperparameters": Anything()}, path)

    with pytest.raises(ValueError, match=rf"{path}: is no safetensors, PyTorch or MXNet file, or holds more than tens"):
        read_weights(path)


@pytest.mark.parametrize(
    "content",
    [
        b"some words here", b"image,tags\na.jpg,cat\n", b"methods: [acr]\n", b"<!DOCTYPE html>\n<html>404</html>",
        b"{}", b"2 .", b"Xabcd", b"not a storage", b"jabcd", b"]",
    ],
)  # fmt: skip
def test_text_in_the_place_of_weights_is_refused_with_the_kinds_that_are_read(content: bytes, tmp_path: Path):
    path = tmp_path / "weights.txt"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=rf"^weights {path}: is no (whole )?safetensors, PyTorch or MXNet file"):
        read_weights(path)


def test_what_is_skipped_is_told(caplog: pytest.LogCaptureFixture):
    network = nn.Linear(3, 2)
    extra = {f"fc{i}.weight": torch.ones(1) for i in range(5)}

    with caplog.at_level(logging.INFO):
        load_strictly(network, some_state() | extra, source="psa.pth")

    assert equal(network.state_dict(), some_state())
    assert "psa.pth: skipped 5 entries that have no place here: fc0.weight, fc1.weight, fc2.weight, ..." in caplog.text


def test_missing_entries_are_refused_and_nothing_is_loaded():
    network = nn.Linear(3, 2)
    before = network.weight.clone()

    with pytest.raises(ValueError, match=r"psa.pth: lacks 1 of the 2 entries that are needed: bias"):
        load_strictly(network, {"weight": torch.ones(2, 3)}, source="psa.pth")

    assert torch.equal(network.weight, before)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"psa.pth: bias is \(3,\), but \(2,\) is needed"):
        load_strictly(nn.Linear(3, 2), some_state() | {"bias": torch.ones(3)}, source="psa.pth")


def test_counters_of_batch_norm_may_be_missing():
    norm = nn.BatchNorm2d(2)
    state = {name: tensor + 1 for name, tensor in norm.state_dict().items() if name != "num_batches_tracked"}

    load_strictly(norm, state, source="resnet_38d.params")

    assert norm.running_mean.tolist() == [1, 1]
