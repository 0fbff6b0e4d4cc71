"""What a recipe's values must be beyond their types."""

import math
from dataclasses import asdict

from tag2mask.config import Recipe
from tag2mask.dotted_names import leaves

# Torch takes twice as much, which leaves room for the seeds after it that a table takes.
_HIGHEST_SEED = 2**63 - 1


def check_values(recipe: Recipe) -> None:
    """Refuse values that nothing can be made with, whatever the photos are.

    Raises:
        ValueError: a number is not finite, a list is empty or repeats itself, a range ends before it begins, a seed is
            too large, or nothing is asked for.
    """
    values = leaves(asdict(recipe))
    for name, value in values.items():
        for number in value if isinstance(value, list) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{name} has {number}, expected finite numbers")
        if name.endswith(".resize_range") and value[0] > value[1]:
            raise ValueError(f"{name} is {value}, expected the lower number first")
        if name.endswith(".scales") and not value:
            raise ValueError(f"{name} is empty, expected one or more")
    if recipe.engine.seed > _HIGHEST_SEED:
        raise ValueError(f"engine.seed is {recipe.engine.seed}, expected at most {_HIGHEST_SEED}")
    if not recipe.methods and "masks" not in recipe.segmenter.supervision:
        raise ValueError("methods is empty, expected one or more, or masks in segmenter.supervision")
    for name, listed in (("methods", recipe.methods), ("refined_methods", recipe.refined_methods or ())):
        repeated = [method for method in dict.fromkeys(listed) if listed.count(method) > 1]
        if repeated:
            raise ValueError(f"{name} has {', '.join(repeated)} more than once, expected each once")
