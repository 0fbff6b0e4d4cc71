"""Memory and time of the patch affinity of a large photo, which adds up attention as it comes.

    python benchmarks/patch_affinity.py [--backbone deit_small_patch16_224] [--side 1024]

Each figure is of a process of its own: its peak of resident memory over what it held before, and its processor time.
What all attention at once would take, of every block and head, is computed and not tried.
"""

import argparse
import multiprocessing
import time
from typing import Literal

import torch

from tag2mask.config import MctformerSettings
from tag2mask.memory import peak_mib, restart_peak
from tag2mask.networks.mctformer import Mctformer, build_mctformer

NUM_CLASSES = 20
# A small photo before, so that what is made once does not count.
FIRST_SIDE = 64

Way = Literal["forward", "patch_affinity"]


def new_network(backbone: str) -> Mctformer:
    """A transformer with random weights."""
    torch.manual_seed(0)
    return build_mctformer(MctformerSettings(backbone=backbone, weights="none"), NUM_CLASSES).eval()


@torch.inference_mode()
def cost(way: Way, backbone: str, side: int, num_threads: int) -> tuple[int, float]:
    """Peak in MiB above what was held before, and seconds of the processor."""
    torch.set_num_threads(num_threads)
    network = new_network(backbone)
    images = torch.rand(1, 3, side, side)
    run = {"forward": network, "patch_affinity": network.patch_affinity}[way]
    run(torch.rand(1, 3, FIRST_SIDE, FIRST_SIDE))
    restart_peak()
    before, start = peak_mib(), time.process_time()
    run(images)
    return peak_mib() - before, time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="deit_small_patch16_224")
    parser.add_argument("--side", type=int, default=1024)
    arguments = parser.parse_args()
    network = new_network(arguments.backbone)
    rows, columns = network.backbone.grid(torch.empty(1, 3, arguments.side, arguments.side))
    num_patches, num_tokens = rows * columns, rows * columns + NUM_CLASSES
    num_matrices = sum(block.attn.num_heads for block in network.backbone.network.blocks)

    print(f"{arguments.backbone}, {arguments.side}x{arguments.side}: {num_patches} patches, {NUM_CLASSES} classes")
    print(f"all attention at once, {num_matrices} matrices: {num_matrices * num_tokens**2 * 4 / 2**20:.0f} MiB")
    print(f"the affinity itself: {num_patches**2 * 4 / 2**20:.0f} MiB")
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh_processes:
        for way in ("forward", "patch_affinity"):
            work = (way, arguments.backbone, arguments.side, torch.get_num_threads())
            mebibytes, seconds = fresh_processes.apply(cost, work)
            print(f"{way}: at most {mebibytes} MiB more than before, {seconds:.1f} s")


if __name__ == "__main__":
    main()
