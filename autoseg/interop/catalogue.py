"""The recipes that come with the package, by their names."""

from pathlib import Path

from pydantic import ValidationError

from autoseg.base.errors import UserError, hint, listed
from autoseg.formats.files import list_files
from autoseg.interop.recipe import Recipe, RecipeFile
from autoseg.workspace.files import read_model
from planners.schema.base import complaints_of

FOLDER = Path(__file__).parent / "recipes"


def recipes(folder: Path = FOLDER) -> list[Recipe]:
    """All recipes of a folder, in the order of their names."""
    return [recipe for path in list_files(folder) if path.suffix == ".json" for recipe in _of_file(path)]


def find_recipe(name: str) -> Recipe:
    """The recipe of a name or of another name of its own; case does not matter. A path to a JSON file is one of the user's,
    if it holds one recipe. Raises UserError where there is none: it names those that there are.
    """
    path = Path(name).expanduser()
    is_own = path.suffix.lower() == ".json"
    known = _of_file(path) if is_own else recipes()
    fits = known if is_own else [
        recipe for recipe in known if name.lower() in {word.lower() for word in (recipe.name, *recipe.aliases)}]
    if len(fits) == 1:
        return fits[0]
    names = [recipe.name for recipe in known]
    variants = [word for word in names if word.lower().startswith(f"{name.lower()}_")] if not fits else names
    if variants:
        raise UserError("this dataset has several recipes", found=name, expected=listed(variants, len(variants)))
    raise UserError(f"unknown recipe {name!r}{hint(name, names, near=0.6)}", expected=listed(names, len(names)),
                    do="autoseg_import list tells what each is")


def _of_file(path: Path) -> list[Recipe]:
    try:
        return read_model(path, RecipeFile).recipes(path.stem)
    except ValidationError as error:
        raise UserError("the recipe is not valid", where=path, found=complaints_of(error)) from None
