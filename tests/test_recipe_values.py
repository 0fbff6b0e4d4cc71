import math
from dataclasses import replace

import pytest
import torch

from tag2mask.config import (
    AcrSettings,
    CamSettings,
    DataSettings,
    EngineSettings,
    MctformerSettings,
    Recipe,
    SegmenterSettings,
)
from tag2mask.recipes import load_recipe
from tag2mask.recipes.recipe_files import shipped_recipes
from tag2mask.recipes.values import check_values

INFINITE = AcrSettings(remnants=replace(AcrSettings().remnants, probability_step=math.inf))


@pytest.mark.parametrize("name", shipped_recipes())
def test_values_of_shipped_recipes_can_work(name: str):
    check_values(load_recipe(name))


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        (Recipe(cams=CamSettings(scales=())), "cams.scales is empty"),
        (Recipe(mctformer=MctformerSettings(scales=())), "mctformer.scales is empty"),
        (Recipe(segmenter=SegmenterSettings(scales=())), "segmenter.scales is empty"),
        (Recipe(cams=CamSettings(scales=(1.0, math.nan))), "cams.scales has nan, expected finite numbers"),
        (Recipe(acr=INFINITE), "acr.remnants.probability_step has inf, expected finite numbers"),
        (Recipe(data=DataSettings(resize_range=(9, 8))), r"data.resize_range is \[9, 8\], expected the lower number"),
        (Recipe(engine=EngineSettings(seed=2**63)), f"engine.seed is {2**63}, expected at most {2**63 - 1}"),
        (Recipe(methods=()), "methods is empty, expected one or more, or masks in segmenter.supervision"),
        (Recipe(methods=("acr", "baseline", "acr")), "methods has acr more than once"),
        (Recipe(refined_methods=("acr", "acr")), "refined_methods has acr more than once"),
    ],
)
def test_values_that_cannot_work_are_refused_in_one_line(recipe: Recipe, told: str):
    with pytest.raises(ValueError, match=told) as error:
        check_values(recipe)

    assert "\n" not in str(error.value)


def test_recipe_without_seeds_can_train_a_segmenter_on_masks():
    check_values(Recipe(methods=(), segmenter=SegmenterSettings(supervision=("masks",))))


def test_highest_seed_is_one_that_torch_takes():
    check_values(Recipe(engine=EngineSettings(seed=2**63 - 1)))

    torch.Generator().manual_seed(2**63 - 1)


def test_a_recipe_with_such_a_value_is_refused_when_it_is_read():
    with pytest.raises(ValueError, match=r"cams\.scales is empty"):
        load_recipe("demo", ["--cams.scales", "[]"])
