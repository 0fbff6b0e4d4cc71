"""The model card: what a copied model folder says about itself to people."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tag2mask import __version__
from tag2mask.config import SegmenterSettings
from tag2mask.data.classes import BACKGROUND_NAME, voc_palette
from tag2mask.files import replacing

CARD = "README.md"
"""File of a model folder that holds the card."""

_CARD = """\
# Segmentation model

It labels every pixel of a photo as background or one of {num_classes} classes: {head} on {backbone}, trained with
tag2mask {version}. It knows these classes, in photos like those it was trained on; what is neither it calls background,
or takes for a class.

{about}## Classes

{classes}

## Use

```python
from tag2mask import Segmenter

prediction = Segmenter.load("this-folder").predict("photo.jpg")
print(prediction.areas)
prediction.overlay.save("overlay.jpg")
```
"""


def write_model_card(
    folder: Path, settings: SegmenterSettings, class_names: Sequence[str], *, facts: Mapping[str, str]
) -> None:
    """Write the card in Markdown, replacing an older one: facts may be known later than the weights.

    Args:
        folder: model folder.
        settings: settings of the network and of its predictions.
        class_names: in the order of their ids, which begin at 1.
        facts: further facts by name, such as what it was trained on and how good it is.
    """
    names = (BACKGROUND_NAME, *class_names)
    classes = [[str(class_id), name, _hex(class_id)] for class_id, name in enumerate(names)]
    about = _table(["fact", "value"], [[name, value] for name, value in facts.items()])
    card = _CARD.format(
        num_classes=len(class_names),
        head=settings.head,
        backbone=settings.backbone,
        version=__version__,
        about=f"## This model\n\n{about}\n\n" if facts else "",
        classes=_table(["id", "class", "colour"], classes),
    )
    with replacing(folder / CARD) as path:
        path.write_text(card, encoding="utf-8")


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _hex(class_id: int) -> str:
    red, green, blue = voc_palette()[class_id]
    return f"#{red:02x}{green:02x}{blue:02x}"
