"""Every setting of every stage: frozen dataclasses whose field docstrings give meaning and origin.

Numbers marked "paper" are from Kweon, Yoon and Yoon, "Weakly Supervised Semantic Segmentation via Adversarial Learning
of Classifier and Reconstructor", CVPR 2023; "released code" is the authors', which departs from the text in places.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    Positive = float
    NonNegative = float
    Fraction = float
    Count = int
    Index = int
else:
    from jsonargparse.typing import ClosedUnitInterval as Fraction
    from jsonargparse.typing import NonNegativeFloat as NonNegative
    from jsonargparse.typing import NonNegativeInt as Index
    from jsonargparse.typing import PositiveFloat as Positive
    from jsonargparse.typing import PositiveInt as Count

Layout = Literal["auto", "voc", "csv", "class_folders"]
TagSource = Literal["auto", "csv", "boxes", "masks"]
Method = Literal["baseline", "pretrained", "acr"]


@dataclass(frozen=True)
class DataSettings:
    """Where the photos and tags are, and how photos are augmented for training."""

    root: Path | None = None
    """Folder of the data set."""
    layout: Layout = "auto"
    """How the folder is laid out: VOC devkit, a tags.csv beside photos, or a folder a class."""
    tag_source: TagSource = "auto"
    """VOC layout only: tags from labels.csv, from the boxes in Annotations (as the field does), or from the masks."""
    train_split: str = "train"
    """Split whose photos train the classifier: its name, or the path of a text file with one photo a line."""
    seed_split: str = "train"
    """Split whose seeds are made and, where masks exist, measured."""
    resize: Literal["long_side", "scale"] = "long_side"
    """What `resize_range` means: the long side in pixels (released code), or a factor on the photo's sides (paper)."""
    resize_range: tuple[Positive, Positive] = (384, 512)
    """Uniform range of the random resizing; released code: 384 to 512 pixels; paper, section 5.2: 0.5 to 1.3."""
    crop: Count = 256
    """Side in pixels of the square training crop, zero-padded where the photo is smaller; paper, section 5.2."""
    num_workers: Index = 4
    """Processes that load photos; 0 loads in the training process."""


@dataclass(frozen=True)
class OptimizerSettings:
    """How one network is optimised, with a polynomial decay of the learning rate over all steps."""

    name: Literal["sgd", "adam"] = "sgd"
    """Stochastic gradient descent (paper) or Adam."""
    learning_rate: Positive = 0.01
    """Initial learning rate; paper, section 5.2."""
    momentum: Fraction = 0.9
    """Momentum of SGD, first moment of Adam; the released code runs with 0.0005 by a slip (see docs)."""
    weight_decay: NonNegative = 5e-4
    """L2 penalty on weights, none on biases; released code."""
    new_layers_factor: Positive = 1.0
    """Learning-rate factor of layers that do not come from pretrained weights; released code: 1."""
    bias_factor: Positive = 2.0
    """Learning-rate factor of biases, which carry no weight decay; released code."""
    transposed_factor: Positive = 1.0
    """Extra learning-rate factor of transposed convolutions; released code: 10."""
    poly_power: NonNegative = 0.9
    """Learning rate falls as (1 - step / steps) ** power; paper, section 5.2. 0 keeps it constant."""


@dataclass(frozen=True)
class ClassifierSettings:
    """The network whose class activation maps (CAMs) become the seeds, and its plain training."""

    backbone: str = "resnet38"
    """`resnet38` (WRN38, the paper's) or the name of any timm network that gives features."""
    weights: str = "none"
    """`none`; `embedded` (the EfficientNet-Lite0 package); `timm` (timm's own, downloaded); or a file's path."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels of the photo per CAM cell; ResNet38 has 8."""
    head: Literal["linear", "two_layer"] = "linear"
    """`linear`: one 1x1 convolution (paper); `two_layer`: 1x1 to 256, ReLU, 1x1 (released code)."""
    epochs: Count = 40
    """Passes over the training photos of the plain classifier; paper, section 5.2."""
    batch_size: Count = 8
    """Photos a step, over all processes; released code."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the plain classifier is optimised."""


@dataclass(frozen=True)
class ReconstructorSettings:
    """The network that restores a photo from a part of its features: an encoder and a U-Net decoder."""

    features: tuple[int, ...] = (-3, -2, -1)
    """Tapped depths of the backbone: 0 is its shallowest feature, -1 its last; released code: the last three."""
    feature_channels: tuple[Count, ...] = (64, 128, 256)
    """Channels each tapped depth is reduced to by a 1x1 convolution, shallow to deep; released code."""
    width: Count = 64
    """Channels of the first U-Net level; they double to at most 8 times this; released code (pix2pix)."""
    depth: Count = 8
    """Levels of the U-Net; its input side must be a multiple of 2 ** depth; released code."""
    max_width_factor: Count = 8
    """Channels grow to at most this times `width`; released code (pix2pix)."""
    dropout: Fraction = 0.5
    """Dropout in the U-Net's deep levels; released code."""
    image_side: Index = 0
    """Side in pixels at which photos are restored; 0 = the crop's own side (released code)."""
    classify: bool = True
    """Whether the reconstructor has a classification head and learns the tags too; released code: yes, paper: no."""
    freeze_backbone: bool = False
    """Keep the pretrained backbone as it is and learn the rest; released code: no. Ours, for short trainings."""


@dataclass(frozen=True)
class RemnantSettings:
    """Stochastic remnant feeding (SRF), section 4.2.2: a random grid leaves parts of the other segment in."""

    enabled: bool = True
    """Off: the plain formulation of section 4.2.1."""
    grid: Count = 16
    """Cells a side of the random grid; released code. The paper calls it s and gives no value."""
    probability: Fraction = 0.8
    """Probability q of Eq. (8) that a cell keeps its remnant, in the first epoch; released code."""
    probability_step: float = -0.01
    """Change of q with each epoch; released code. The paper has a constant q: 0."""


@dataclass(frozen=True)
class ReconstructorLoss:
    """Weights of the terms of the reconstructor-updating (RU) phase; a term of weight 0 is not computed."""

    classification: NonNegative = 1.0
    """Tags from the reconstructor's own head; released code. Absent from the paper's Eq. (7): 0."""
    whole: NonNegative = 0.2
    """Photo restored from all features, which trains the decoder alone; released code. Absent from Eq. (7): 0."""
    target: NonNegative = 0.5
    """Lambda_t of Eq. (7): what the target segment restores of the other one; paper, section 5.2."""
    non_target: NonNegative = 0.3
    """Lambda_nt of Eq. (7): what the other segment restores of the target; released code. Paper: 0.5."""


@dataclass(frozen=True)
class ClassifierLoss:
    """Weights and masks of the classifier-updating (CU) phase, Eq. (14)."""

    classification: NonNegative = 1.0
    """Binary cross-entropy of the tags."""
    target: NonNegative = 0.8
    """Lambda_t of Eq. (14); paper, section 5.2."""
    non_target: NonNegative = 0.3
    """Lambda_nt of Eq. (14); paper, section 5.2."""
    target_mask: Literal["soft", "zero"] = "zero"
    """Where Eq. (12) counts: `soft` 1 - A (paper) or `zero`, where A is exactly 0 (released code)."""
    non_target_mask: Literal["soft", "winning"] = "winning"
    """Where Eq. (13) counts: `soft` A (paper) or `winning`, A where the target's logit is the top one (released)."""
    mask_gradient: bool = False
    """Let the soft masks themselves carry gradient, not only the features they select; released code: no."""


@dataclass(frozen=True)
class AcrSettings:
    """Adversarial learning of classifier and reconstructor, section 4 of the paper."""

    epochs: Count = 40
    """Passes over the training photos in which both networks learn; paper, section 5.2."""
    decay_epochs: Index = 0
    """Epochs over which the learning rate decays, 0 = all; the released code trains 100 and decays over 40."""
    batch_size: Count = 8
    """Photos a step, over all processes; released code."""
    warm_start: bool = False
    """Begin with the trained baseline classifier in place of its pretrained weights. Ours, for short trainings."""
    reconstructor_epochs: Index = 0
    """Epochs before in which the reconstructor learns alone on the frozen baseline: the pre-trained variant of
    table 1 needs them, `acr` may begin with them (ours, for short trainings)."""
    masking: Literal["upsampled", "feature_grid"] = "upsampled"
    """Where features are cut: both upsampled to the decoder's side (released code), or on the CAM's grid (paper)."""
    image_space: Literal["normalised", "unit"] = "normalised"
    """Space of the restored photo: normalised by mean and deviation (released code) or 0 to 1 (paper)."""
    remnants: RemnantSettings = field(default_factory=RemnantSettings)
    """Stochastic remnant feeding."""
    reconstructor: ReconstructorSettings = field(default_factory=ReconstructorSettings)
    """The reconstructor's shape."""
    reconstructor_loss: ReconstructorLoss = field(default_factory=ReconstructorLoss)
    """Terms of the RU phase."""
    classifier_loss: ClassifierLoss = field(default_factory=ClassifierLoss)
    """Terms of the CU phase."""
    classifier_optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the classifier learns in the CU phase."""
    reconstructor_optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the reconstructor learns in the RU phase."""


@dataclass(frozen=True)
class CamSettings:
    """Inference of class activation maps."""

    scales: tuple[Positive, ...] = (0.5, 1.0, 1.5, 2.0)
    """Factors on the photo's size whose maps are summed, each with its mirror image; released code."""
    long_side: Index = 0
    """Long side in pixels of the photo at scale 1; 0 = its own size (released code)."""
    classes: Literal["tags", "predicted"] = "tags"
    """Maps of the classes a photo is tagged with, or of those the classifier predicts."""
    predicted_score: Fraction = 0.5
    """Score from which a class counts as predicted."""
    batch_pixels: Count = 2_000_000
    """Photos of one size go through the network together up to this many pixels."""
    threshold: Fraction = 0.25
    """Background score of the seeds, fixed beforehand."""


@dataclass(frozen=True)
class EngineSettings:
    """Seed, machines and arithmetic."""

    seed: Index = 4242
    """Seed of every random draw; released code."""
    accelerator: str = "auto"
    """Lightning Fabric's accelerator: auto, cpu, gpu, ..."""
    devices: Count = 1
    """Processes that work together on a machine."""
    num_nodes: Count = 1
    """Machines that work together."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Arithmetic of the networks; losses, CAM normalisation and scores are always float32."""


@dataclass(frozen=True)
class Recipe:
    """Everything a run needs to know."""

    extends: str | None = None
    """Recipe whose values stand where this one has none: a shipped one's name, or a path beside this one."""
    methods: tuple[Method, ...] = ("baseline", "acr")
    """Classifiers to train and compare: `baseline`, `pretrained` (table 1) and `acr`."""
    data: DataSettings = field(default_factory=DataSettings)
    """Photos and tags."""
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    """Classifier and its plain training."""
    acr: AcrSettings = field(default_factory=AcrSettings)
    """Adversarial training."""
    cams: CamSettings = field(default_factory=CamSettings)
    """CAM inference."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """Seed, machines and arithmetic."""
