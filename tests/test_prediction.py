import numpy as np
from drawn_segmenter import NAMES
from PIL import Image

from tag2mask.data.classes import voc_palette
from tag2mask.prediction import Prediction


def test_areas_and_overlay_by_hand():
    photo = Image.new("RGB", (3, 1), (200, 100, 0))
    prediction = Prediction(photo, np.array([[0, 2, 0]], np.uint8), NAMES)

    overlay = np.asarray(prediction.overlay)[0].tolist()

    assert prediction.areas == {"background": 2, "square": 1}
    # 0.4 of the photo and 0.6 of VOC's second colour, (0, 128, 0).
    assert overlay == [[200, 100, 0], [80, 117, 0], [200, 100, 0]]


def test_no_two_classes_share_a_colour():
    assert len(set(voc_palette())) == 256
