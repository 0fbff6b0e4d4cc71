"""Every setting of every stage: frozen dataclasses whose field docstrings give meaning and origin.

Numbers marked "paper" are from Kweon, Yoon and Yoon, "Weakly Supervised Semantic Segmentation via Adversarial Learning
of Classifier and Reconstructor", CVPR 2023; "released code" is the authors', which departs from the text in places.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    ClosedUnitInterval = float
    NonNegativeFloat = float
    PositiveFloat = float
    NonNegativeInt = int
    PositiveInt = int
else:
    from jsonargparse.typing import ClosedUnitInterval, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

Layout = Literal["auto", "voc", "coco", "csv", "class_folders"]
TagSource = Literal["auto", "csv", "boxes", "masks"]
Method = Literal["baseline", "pretrained", "acr", "mctformer", "acr_vit"]
CrfPreset = Literal["cams", "irn", "deeplab", "mctformer"]
ClassifierSection = Literal["classifier", "mctformer"]
Augmentation = Literal["flip", "deit"]
Initialisation = Literal["pytorch", "xavier"]
Supervision = Literal["pseudo_labels", "masks"]
Device = Literal["auto", "cpu", "gpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
Level = Literal["seed", "crf", "refined", "pseudo-label", "segmenter"]
"""What is measured, in the order of the stages."""

TWIN = "masks"
"""Stands instead of a method's name for the segmenter that is trained on the true masks."""
Subject = Literal[Method, "masks"]
"""What is measured: a method, or `TWIN`."""


@dataclass(frozen=True)
class DataSettings:
    """Where the photos and tags are, and how photos are augmented for training."""

    root: Path | None = None
    """Folder of the data set."""
    layout: Layout = "auto"
    """How the folder is laid out: VOC devkit, COCO, a tags.csv beside photos, or one folder per class."""
    tag_source: TagSource = "auto"
    """VOC layout only: tags from labels.csv, from the boxes in Annotations (as the field does), or from the masks."""
    train_split: str = "train"
    """Split whose photos train the classifier: its name, or the path of a text file with one photo per line
    (`./photos` where it has no suffix)."""
    seed_split: str = "train"
    """Split whose seeds are made and, where masks exist, measured."""
    label_split: str | None = None
    """Split that is given pseudo-labels, which train the segmenter; if not set: `train_split`."""
    val_split: str | None = None
    """Split that the segmenter predicts and, where masks exist, is measured on; if not set: no predictions."""
    resize: Literal["long_side", "scale"] = "long_side"
    """What `resize_range` means: the long side in pixels (released code), or a factor on the photo's sides (paper)."""
    resize_range: tuple[PositiveFloat, PositiveFloat] = (384, 512)
    """Uniform range of the random resizing; released code: 384 to 512 pixels; paper, section 5.2: 0.5 to 1.3."""
    crop: PositiveInt = 256
    """Side in pixels of the square training crop, zero-padded where the photo is smaller; paper, section 5.2."""
    num_workers: NonNegativeInt = 4
    """Processes that load photos; 0 loads in the training process."""


@dataclass(frozen=True)
class OptimizerSettings:
    """How one network is optimised, and how the learning rate falls over all steps."""

    name: Literal["sgd", "adam", "adamw"] = "sgd"
    """Stochastic gradient descent (paper), Adam, or Adam with decoupled weight decay (vision transformers)."""
    learning_rate: PositiveFloat = 0.01
    """Initial learning rate; paper, section 5.2."""
    momentum: ClosedUnitInterval = 0.9
    """Momentum of SGD, first moment of Adam and AdamW; the released code runs with 0.0005 by a slip (see docs)."""
    weight_decay: NonNegativeFloat = 5e-4
    """L2 penalty on weights, none on biases; released code."""
    new_layers_factor: PositiveFloat = 1.0
    """Learning-rate factor of layers that do not come from pretrained weights; released code: 1."""
    bias_factor: PositiveFloat = 2.0
    """Learning-rate factor of biases, which carry no weight decay; released code."""
    transposed_factor: PositiveFloat = 1.0
    """Extra learning-rate factor of transposed convolutions; released code: 10."""
    schedule: Literal["poly", "cosine"] = "poly"
    """How the learning rate falls: by the power of `poly_power` (paper), or along half a cosine to 0 (transformers)."""
    poly_power: NonNegativeFloat = 0.9
    """Learning rate falls as (1 - step / steps) ** power; paper, section 5.2. 0 keeps it constant."""
    warmup_epochs: NonNegativeInt = 0
    """Epochs over which the learning rate first rises in even steps from near 0, which transformers need."""


@dataclass(frozen=True)
class ClassifierSettings:
    """The network whose class activation maps (CAMs) become the seeds, and its plain training."""

    backbone: str = "resnet38"
    """`resnet38` (WRN38, the paper's) or the name of any timm network that gives features."""
    weights: str = "none"
    """`none`; `embedded` (the EfficientNet-Lite0 package); `timm` (timm's own, downloaded); or the path of a file.
    Weights of a file are taken to want photos normalised as timm's weights of this backbone do, or by ImageNet's mean
    and deviation for `resnet38`."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels of the photo per CAM cell; ResNet38 has 8."""
    head: Literal["linear", "two_layer"] = "linear"
    """`linear`: one 1x1 convolution (paper); `two_layer`: 1x1 to 256, ReLU, 1x1 (released code)."""
    epochs: PositiveInt = 40
    """Passes over the training photos of the plain classifier; paper, section 5.2."""
    batch_size: PositiveInt = 8
    """Photos per step, over all processes; released code."""
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    """How the plain classifier is optimised."""


@dataclass(frozen=True)
class MctformerSettings:
    """A vision transformer with a token for each class: MCTformer-V2, Xu et al., CVPR 2022, and its plain training."""

    backbone: str = "deit_small_patch16_224"
    """Name of a timm vision transformer; MCTformer's code: DeiT-S/16. `hybrid_lite0`: three blocks on features of the
    embedded EfficientNet-Lite0, for machines without pretrained transformers."""
    weights: str = "timm"
    """Pretrained weights: `none`, `timm` (timm's own, downloaded), `embedded` (`hybrid_lite0`), or a file's path."""
    drop_path: ClosedUnitInterval = 0.1
    """Share of photos for which the last block is left out in training, less for earlier ones; MCTformer's code."""
    fused_blocks: PositiveInt = 3
    """Last blocks whose attention of class tokens to patches is multiplied with the patches' maps; MCTformer's code:
    all 12 unless told, and its script asks for 3 for the first version."""
    patch_affinity: bool = True
    """Whether its seeds are spread along the attention between patches; MCTformer's code: yes."""
    scales: tuple[PositiveFloat, ...] = (1.0,)
    """Used instead of `cams.scales` for its own seeds; MCTformer's code: the photo's size and its mirror image."""
    long_side: NonNegativeInt = 0
    """`acr_vit`: long side in pixels of the photos along whose attention seeds are spread; 0 = their own size. Memory
    grows with its fourth power."""
    augmentation: Augmentation = "deit"
    """`flip`: as `data` has it for the other networks; `deit`: DeiT's, with RandAugment and erasing."""
    crop: PositiveInt = 224
    """Side in pixels of the square training crop; MCTformer's code."""
    epochs: PositiveInt = 60
    """Passes over the training photos; MCTformer's code."""
    batch_size: PositiveInt = 64
    """Photos per step, over all processes; MCTformer's code."""
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(
            name="adamw", learning_rate=6.25e-5, weight_decay=0.05, bias_factor=1.0, schedule="cosine", warmup_epochs=5
        )
    )
    """How it learns; MCTformer's code: 0.0005 times batch / 512, which there falls to 1e-5 and here to 0."""


@dataclass(frozen=True)
class ReconstructorSettings:
    """The network that restores a photo from a part of its features: an encoder and a U-Net decoder."""

    features: tuple[int, ...] = (-3, -2, -1)
    """Tapped depths of the backbone: 0 is its shallowest feature, -1 its last; released code: the last three."""
    feature_channels: tuple[PositiveInt, ...] = (64, 128, 256)
    """Channels each tapped depth is reduced to by a 1x1 convolution, shallow to deep; released code."""
    reduction_init: Initialisation = "pytorch"
    """How these convolutions are initialised: `pytorch`, its default (released code), or `xavier`, larger values as in
    the heads (ours)."""
    width: PositiveInt = 64
    """Channels of the first U-Net level; they double to at most 8 times this; released code (pix2pix)."""
    depth: PositiveInt = 8
    """Levels of the U-Net; its input side must be a multiple of 2 ** depth; released code."""
    max_width_factor: PositiveInt = 8
    """Channels grow to at most this times `width`; released code (pix2pix)."""
    dropout: ClosedUnitInterval = 0.5
    """Dropout in the U-Net's deep levels; released code."""
    image_side: NonNegativeInt = 0
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
    grid: PositiveInt = 16
    """Cells per side of the random grid; released code. The paper calls it s and gives no value."""
    probability: ClosedUnitInterval = 0.8
    """Probability q of Eq. (8) that a cell keeps its remnant, in the first epoch; released code."""
    probability_step: float = -0.01
    """Change of q with each epoch; released code. The paper has a constant q: 0."""


@dataclass(frozen=True)
class ReconstructorLoss:
    """Weights of the terms of the reconstructor-updating (RU) phase; a term of weight 0 is not computed."""

    classification: NonNegativeFloat = 1.0
    """Tags from the reconstructor's own head; released code. Absent from the paper's Eq. (7): 0."""
    whole: NonNegativeFloat = 0.2
    """Photo restored from all features, which trains the decoder alone; released code. Absent from Eq. (7): 0."""
    target: NonNegativeFloat = 0.5
    """Lambda_t of Eq. (7): what the target segment restores of the other one; paper, section 5.2."""
    non_target: NonNegativeFloat = 0.3
    """Lambda_nt of Eq. (7): what the other segment restores of the target; released code. Paper: 0.5."""


@dataclass(frozen=True)
class ClassifierLoss:
    """Weights and masks of the classifier-updating (CU) phase, Eq. (14)."""

    classification: NonNegativeFloat = 1.0
    """Binary cross-entropy of the tags."""
    target: NonNegativeFloat = 0.8
    """Lambda_t of Eq. (14); paper, section 5.2."""
    non_target: NonNegativeFloat = 0.3
    """Lambda_nt of Eq. (14); paper, section 5.2."""
    target_mask: Literal["soft", "zero"] = "zero"
    """Weight of each pixel in Eq. (12): `soft`, 1 - A (paper), or `zero`, 1 where A is exactly 0 (released code)."""
    non_target_mask: Literal["soft", "winning"] = "winning"
    """Where Eq. (13) counts: `soft` A (paper) or `winning`, A where the target's logit is the top one (released)."""
    mask_gradient: bool = False
    """Let the soft masks themselves carry gradient, not only the features they select; released code: no."""


@dataclass(frozen=True)
class AcrSettings:
    """Adversarial learning of classifier and reconstructor, section 4 of the paper."""

    epochs: PositiveInt = 40
    """Passes over the training photos in which both networks learn; paper, section 5.2."""
    decay_epochs: NonNegativeInt = 0
    """Epochs over which the learning rate decays, 0 = all; the released code trains 100 and decays over 40."""
    batch_size: PositiveInt = 8
    """Photos per step, over all processes; released code."""
    warm_start: bool = False
    """Begin with the classifier after its plain training, not its pretrained weights. Ours, for short trainings."""
    reconstructor_epochs: NonNegativeInt = 0
    """Epochs in which first the reconstructor alone learns, on the frozen classifier after its plain training: the
    pre-trained variant of table 1 needs them, `acr` may begin with them (ours, for short trainings)."""
    reconstructor_rate_factor: PositiveFloat = 1.0
    """Factor on the rate of `reconstructor_optimizer` while both networks learn. Ours, for one that has learned alone:
    far below 1 it follows the classifier slowly."""
    classifier: ClassifierSection = "classifier"
    """Section of the network that learns against the reconstructor, whose backbone is always that of `classifier`."""
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

    scales: tuple[PositiveFloat, ...] = (0.5, 1.0, 1.5, 2.0)
    """Factors on the photo's size whose maps are summed, each with its mirror image; released code."""
    long_side: NonNegativeInt = 0
    """Long side in pixels of the photo at scale 1; 0 = its own size (released code)."""
    classes: Literal["tags", "predicted"] = "tags"
    """Maps of the classes a photo is tagged with, or of those the classifier predicts."""
    predicted_score: ClosedUnitInterval = 0.5
    """Score from which a class counts as predicted."""
    batch_pixels: PositiveInt = 2_000_000
    """Photos of one size go through the network together up to this many pixels."""
    threshold: ClosedUnitInterval = 0.25
    """Background score of the seeds, fixed beforehand."""


@dataclass(frozen=True)
class CrfSettings:
    """Seeds sharpened by a dense CRF on the photo's colours."""

    enabled: bool = True
    """Whether this level is made."""
    preset: CrfPreset = "cams"
    """Kernels: `cams` (PSA, SEAM, OC-CSE, ACR on CAMs), `irn` (its labels), `deeplab`, `mctformer` (predictions)."""
    background: Literal["power", "constant"] = "power"
    """Score of the background: (1 - highest map) ** alpha (PSA and what follows it), or `cams.threshold`."""
    alpha: PositiveFloat = 6.0
    """Exponent of the background's score; released code: 6 and 24."""
    long_side: NonNegativeInt = 0
    """Photos whose long side has more pixels are brought down to it first; 0 = none (released code). Memory grows with
    the square of it; label maps are given at the photo's own size."""


@dataclass(frozen=True)
class RefinementSettings:
    """A network of relations between pixels, learned from the seeds, along which their maps walk (3-refined)."""

    method: Literal["none", "irn", "affinity"] = "irn"
    """`irn`: class boundaries (Ahn et al., CVPR 2019); `affinity`: pixel features (PSA, Ahn and Kwak, CVPR 2018)."""
    backbone: str = "resnet50.tv_in1k"
    """Backbone of this network: `resnet38` or a timm name; IRN's code: ResNet-50 with these weights, torchvision's.
    IRN's first feature comes after the max-pooling, at stride 4; timm's comes before it, at stride 2."""
    weights: str = "timm"
    """Its pretrained weights, as `classifier.weights`."""
    output_stride: Literal[8, 16, 32] = 16
    """Pixels of the photo per cell of its last feature; IRN's code: 16, by a last stage without stride, which timm
    dilates besides."""
    foreground: ClosedUnitInterval = 0.30
    """Pixels above this activation, sharpened by the CRF, are confident pixels of their class; IRN's code."""
    uncertain: ClosedUnitInterval = 0.05
    """Pixels below this activation, sharpened by the CRF, are confident background; those in between are unlabelled
    (255); IRN's code."""
    low_alpha: PositiveFloat = 4.0
    """`affinity`: exponent of the background's score that favours the background; PSA's code."""
    high_alpha: PositiveFloat = 32.0
    """`affinity`: exponent that favours the foreground; PSA's code."""
    long_side: NonNegativeInt = 0
    """Photos whose long side has more pixels are brought down to it first, to learn from and to walk on; 0 = none
    (IRN's code). Memory grows with the square of it; maps are kept for the photo's own size."""
    resize_range: tuple[PositiveFloat, PositiveFloat] = (0.5, 1.5)
    """Uniform range of the random factor on the photo's sides; IRN's code."""
    crop: PositiveInt = 512
    """Side in pixels of the square training crop; IRN's code."""
    epochs: PositiveInt = 3
    """Passes over the photos with pseudo-labels; IRN's code."""
    batch_size: PositiveInt = 32
    """Photos per step, over all processes; IRN's code."""
    radius: PositiveInt = 10
    """Pairs of pixels closer than this, in cells, are compared in training; IRN's code."""
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(learning_rate=0.1, momentum=1e-4, weight_decay=1e-4, bias_factor=1.0)
    )
    """How it learns; IRN's code, which passes its weight decay as the momentum too. There biases decay as well, here
    never."""
    power: PositiveFloat = 1.0
    """Maps are raised to this power before they walk, with either method; IRN's and PSA's code: 1; RIB's, to which the
    released code refers: 1.3."""
    walk_radius: PositiveInt = 5
    """A step of the random walk reaches cells closer than this; IRN's and PSA's code."""
    beta: PositiveFloat = 10.0
    """Exponent that sharpens affinities into transitions; IRN's code. PSA: 8."""
    log_steps: NonNegativeInt = 8
    """The walk takes 2 to this power steps; IRN's and PSA's code."""


@dataclass(frozen=True)
class LabelSettings:
    """From refined maps to pseudo-labels (4-pseudo-labels).

    Without a refinement but with the CRF the label maps of the CRF are taken as they are, and none of these is read.
    """

    threshold_source: Literal["fixed", "estimated"] = "fixed"
    """`fixed`: `threshold`; `estimated`: found from photos and seeds alone, no mask is read; the labels then have the
    share of foreground that the estimate gives the seeds. Not for labels of the CRF."""
    threshold: ClosedUnitInterval = 0.25
    """Background score against the refined maps; IRN's code. Not for labels of the CRF."""
    uncertain: ClosedUnitInterval = 0.0
    """Pixels whose highest map is nearer than this to the threshold become 255, which trains nothing; where an
    estimated threshold leaves no room for so much, half of the way from it to 0 or 1. Not for labels of the CRF."""


@dataclass(frozen=True)
class SegmenterSettings:
    """The network that learns from pseudo-labels (5-segmenter) and its predictions (6-predictions)."""

    supervision: tuple[Supervision, ...] = ("pseudo_labels",)
    """What segmenters are trained on: the pseudo-labels, the true masks of the same photos for comparison, or none.
    Beside pseudo-labels the masks train one only where all photos of the label split have a mask; alone, those photos
    that have one."""
    head: Literal["deeplab_v1", "deeplab_v2", "deeplab_v3plus"] = "deeplab_v1"
    """DeepLab's large field of view (v1), its pyramid of dilations (v2), or pyramid and decoder (v3+)."""
    backbone: str = "resnet38"
    """`resnet38` or the name of any timm network that gives features."""
    weights: str = "none"
    """Its pretrained weights, as `classifier.weights`; a path may be that of a classifier that this package trained. Of
    one that began with `embedded` photos were normalised by (x - 127) / 128, and now are by (x - 127.5) / 127.5."""
    output_stride: Literal[8, 16, 32] = 8
    """Pixels of the photo per cell of the last feature."""
    long_side: NonNegativeInt = 0
    """Photos whose long side has more pixels are brought down to it first, to learn from and to predict; 0 = none (the
    field). Memory grows with the square of it; label maps are given at the photo's own size."""
    resize_range: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.3)
    """Uniform range of the random factor on the photo's sides; MCTformer's segmentation code."""
    crop: PositiveInt = 321
    """Side in pixels of the square training crop; the field's."""
    epochs: PositiveInt = 30
    """Passes over the photos with pseudo-labels; MCTformer's segmentation code."""
    batch_size: PositiveInt = 4
    """Photos per step, over all processes; MCTformer's segmentation code."""
    loss: Literal["cross_entropy", "balanced"] = "cross_entropy"
    """Mean over all labelled pixels, or half over the background's and half over the foreground's."""
    optimizer: OptimizerSettings = field(
        default_factory=lambda: OptimizerSettings(learning_rate=0.001, new_layers_factor=10.0, bias_factor=1.0)
    )
    """How it learns; paper, section 5.2: 0.001, poly 0.9; SEAM's author: weight decay and the factor of new layers. No
    source for the momentum."""
    scales: tuple[PositiveFloat, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    """Factors on the photo's size whose scores are joined; MCTformer's code. Their mirror images too, which is ours."""
    fuse: Literal["max", "mean"] = "max"
    """How scores of the scales are joined; the field: the highest."""
    crf: Literal["none"] | CrfPreset = "none"
    """Dense CRF on the predictions."""


PREDICTION_SETTINGS = ("scales", "fuse", "long_side", "crf")
"""Names of the `SegmenterSettings` that its predictions need."""


@dataclass(frozen=True)
class EngineSettings:
    """Seed, machines and arithmetic."""

    seed: NonNegativeInt = 4242
    """Seed of every random draw; released code."""
    accelerator: Device = "auto"
    """What the networks work on: `gpu` is `cuda` or `mps`, whichever there is; `auto` also takes the processor."""
    devices: PositiveInt = 1
    """Processes that work together on a machine."""
    num_nodes: PositiveInt = 1
    """Machines that work together."""
    workers: NonNegativeInt = 0
    """Processes that share photo-by-photo work without a network (CRF, labels, scores), and threads in which maps walk
    beside a GPU; 0 = one per core."""
    precision: Precision = "32-true"
    """Arithmetic of the networks; losses, CAM normalisation and scores are always float32."""
    inference_precision: Precision | None = None
    """Arithmetic of trained networks that make maps and predictions; if not set: as `precision`. With `bf16-mixed` a
    processor that multiplies bfloat16 itself makes CAMs more than twice as fast."""
    compile: bool = False
    """Let torch.compile build faster code for the networks of a training; the first steps take minutes, dropout draws
    anew."""


@dataclass(frozen=True)
class Recipe:
    """Everything a run needs to know."""

    extends: str | None = None
    """Recipe whose values are used where this one sets none: a shipped one's name, or a path beside this one."""
    methods: tuple[Method, ...] = ("baseline", "acr")
    """Seeds to make and compare, those of: `baseline` (plain classification), `pretrained` (table 1), `acr`,
    `mctformer` (a vision transformer), `acr_vit` (those of `acr` spread along the transformer's attention)."""
    refined_methods: tuple[Method, ...] | None = None
    """Methods whose seeds go on to refinement, pseudo-labels and segmenter; if not set: the last of `methods`."""
    data: DataSettings = field(default_factory=DataSettings)
    """Photos and tags."""
    classifier: ClassifierSettings = field(default_factory=ClassifierSettings)
    """Classifier and its plain training."""
    mctformer: MctformerSettings = field(default_factory=MctformerSettings)
    """Vision transformer and its plain training."""
    acr: AcrSettings = field(default_factory=AcrSettings)
    """Adversarial training."""
    cams: CamSettings = field(default_factory=CamSettings)
    """CAM inference."""
    crf: CrfSettings = field(default_factory=CrfSettings)
    """Seeds after a dense CRF."""
    refinement: RefinementSettings = field(default_factory=RefinementSettings)
    """Relations between pixels and the random walk."""
    labels: LabelSettings = field(default_factory=LabelSettings)
    """Pseudo-labels."""
    segmenter: SegmenterSettings = field(default_factory=SegmenterSettings)
    """Segmenter and predictions."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """Seed, machines and arithmetic."""

    def plain_training(self, section: ClassifierSection) -> ClassifierSettings | MctformerSettings:
        """A section that has a network and its plain training."""
        match section:
            case "classifier":
                return self.classifier
            case "mctformer":
                return self.mctformer
