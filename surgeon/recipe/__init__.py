"""Recipes: what to do to a network, as data in a YAML file. Imports no torch.

`training.py` (with `adversary.py` and `weights.py`), `images.py` and `evaluation.py` have the settings of a recipe's
parts, `recipe.py` the recipe. It is read by `loading.py` (with `named.py`, which knows `folder.py` and `plugged.py`,
`overriding.py`, and `retelling.py`: what it says of its source once settings are others) and written by `writing.py`.
"""

from surgeon.recipe.adversary import PAIRED as PAIRED
from surgeon.recipe.adversary import Adversary as Adversary
from surgeon.recipe.evaluation import Evaluation as Evaluation
from surgeon.recipe.folder import recipe_folder as recipe_folder
from surgeon.recipe.folder import shipped as shipped
from surgeon.recipe.images import Data as Data
from surgeon.recipe.limits import LARGEST as LARGEST
from surgeon.recipe.loading import listed as listed
from surgeon.recipe.loading import load_recipe as load_recipe
from surgeon.recipe.named import available as available
from surgeon.recipe.overriding import apply_settings as apply_settings
from surgeon.recipe.overriding import owners as owners
from surgeon.recipe.overriding import put as put
from surgeon.recipe.recipe import NAME as NAME
from surgeon.recipe.recipe import PARTS as PARTS
from surgeon.recipe.recipe import Recipe as Recipe
from surgeon.recipe.retelling import with_parts as with_parts
from surgeon.recipe.training import Training as Training
from surgeon.recipe.weights import WeightAverage as WeightAverage
from surgeon.recipe.weights import WeightPerturbation as WeightPerturbation
from surgeon.recipe.writing import dump as dump
from surgeon.recipe.writing import schema as schema
