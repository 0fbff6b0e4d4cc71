"""Training photos that no training and no choice of settings has seen, with the classes in the shares of another split.

    python benchmarks/held_out.py voc12-animals --not-in train_bal train_official --like train_official > held_out.txt

Photos of `train` that are in none of the named splits are drawn, the rarest class first, until each class has as many
as its share asks for; the class of which the fewest are left decides how many photos there are in all.
"""

import argparse
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tag2mask.config import DataSettings
from tag2mask.data.read import read_data_set
from tag2mask.data.records import Record


def draw(photos: Sequence[Record], like: Sequence[Record], generator: random.Random) -> list[Record]:
    wanted = Counter(tag for record in like for tag in record.tags)
    left = Counter(tag for record in photos for tag in record.tags)
    rarest_first = sorted(wanted, key=lambda tag: left[tag] / wanted[tag])
    scale = left[rarest_first[0]] / wanted[rarest_first[0]]
    needed = {tag: round(scale * count) for tag, count in wanted.items()}
    shuffled = sorted(photos, key=lambda record: record.name)
    generator.shuffle(shuffled)
    chosen: dict[str, Record] = {}
    have: Counter[int] = Counter()
    for tag in rarest_first:
        for record in shuffled:
            fits = all(have[other] < needed[other] for other in record.tags)
            if tag in record.tags and fits and record.name not in chosen:
                chosen[record.name] = record
                have.update(record.tags)
    return sorted(chosen.values(), key=lambda record: record.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--not-in", nargs="+", required=True)
    parser.add_argument("--like", required=True)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    data_set = read_data_set(DataSettings(root=options.root))
    seen = {record.name for name in options.not_in for record in data_set.split(name)}
    photos = [record for record in data_set.split("train") if record.name not in seen]
    for record in draw(photos, data_set.split(options.like), random.Random(options.seed)):
        print(record.name)


if __name__ == "__main__":
    main()
