"""Variables of a scenario's matrix, and what stands for them: `${variable}`."""

from __future__ import annotations

import itertools
import re
from math import prod
from typing import TYPE_CHECKING, Any, Final

from gateway.config.validate import did_you_mean
from gateway.config.values import Malformed, described
from gateway.rego.values import equal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.workbench.scenario import ScenarioFile, ScenarioRecipe

MOST_COMBINATIONS: Final = 10_000
"""So many scenarios may be in a file, those of matrices included."""
MOST_TEXT: Final = 64 * 1024**2
"""So many characters may all values together have that are put in for variables."""

_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


class Room:
    """What the scenarios of a file may take; Malformed for the one that takes too much.

    A few long values, each put in at many places of many combinations, would fill the memory.
    """

    def __init__(self, file: ScenarioFile) -> None:
        self._count = self._text = 0
        self._in_tokens = str(file.tokens).count("${")

    def take(self, recipe: ScenarioRecipe) -> None:
        """Count the scenarios of a recipe, and at most how much text is put into them."""
        count = prod(map(len, recipe.matrix.values()))
        self._count += count
        if self._count > MOST_COMBINATIONS:
            said = f"{self._count} combinations, more than {MOST_COMBINATIONS}"
            raise Malformed(said, key=("matrix",))
        parts = (recipe.token, recipe.request, recipe.expect, recipe.otherwise)
        places = self._in_tokens + len(recipe.matrix) + sum(str(each).count("${") for each in parts)
        values = itertools.chain.from_iterable(recipe.matrix.values())
        self._text += count * places * max((len(str(each)) for each in values), default=0)
        if self._text > MOST_TEXT:
            raise Malformed("the values are too long for so many places", key=("matrix",))


def is_among(value: Any, values: Iterable[Any]) -> bool:
    """Whether a value is one of some; true is not 1."""
    return any(equal(value, each) for each in values)


def filled(section: Any, chosen: Mapping[str, Any], key: str) -> Any:
    """Return a section with the values of a matrix put in."""
    update = {}
    for name in section.model_fields_set:
        value = getattr(section, name)
        update[name] = put(value, chosen, key)
        if isinstance(value, str) and type(section).model_fields[name].annotation is not Any:
            update[name] = _text(update[name], f"{key}.{name}", key)
    return section.model_copy(update=update)


def _text(value: Any, what: str, key: str) -> str:
    """Return what must be a text; numbers are written."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise Malformed(f"{what} must be a text, got {described(value)}", key=(key,))
    return value


def put(value: Any, chosen: Mapping[str, Any], key: str) -> Any:
    """Return a value with the values of a matrix in the place of `${variable}`.

    A text that is nothing else becomes the value itself. Malformed for an unknown variable.
    """
    match value:
        case str():
            alone = _VARIABLE.fullmatch(value)
            if alone:
                return _value(alone, chosen, key)
            return _VARIABLE.sub(lambda found: str(_value(found, chosen, key)), value)
        case list() | tuple():
            return type(value)(put(item, chosen, key) for item in value)
        case dict():
            return {
                _text(put(name, chosen, key), "a name", key): put(item, chosen, key)
                for name, item in value.items()
            }
        case _:
            return value


def _value(found: re.Match[str], chosen: Mapping[str, Any], key: str) -> Any:
    if found[1] not in chosen:
        raise Malformed(f"the matrix has no {found[1]}", did_you_mean(found[1], chosen), key=(key,))
    return chosen[found[1]]
