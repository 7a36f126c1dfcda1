"""The flags of ``train``, built from the leaves of the settings tree; flags that hold two numbers.

A setting that is added to ``config`` has its flag, help, bounds and group here at once.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, get_args

from annotated_types import Ge, Gt, Le, Lt
from cyclopts import Group, Parameter
from pydantic.fields import FieldInfo

from napari_ct2mri.config import (
    PRESETS,
    Preset,
    TrainConfig,
    Window,
    leaf_field,
    leaf_paths,
    leaf_text,
    leaf_value,
    preset,
)
from napari_ct2mri.errors import ConfigError

__all__ = ["config_from_flags", "slices_from_flag", "window_from_flag", "with_config_flags"]

_USUAL: Preset = "default"  # what --preset says if it is not given
_SIGNS = ((Ge, "ge", ">="), (Gt, "gt", ">"), (Le, "le", "<="), (Lt, "lt", "<"))


def with_config_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Put a keyword for every leaf of :class:`TrainConfig` in place of ``**leaves``.

    A flag that is not given is ``None``, so that the preset decides.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    leaves = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=flag)
        for name, flag in _flags().items()
        if name not in signature.parameters
    ]
    command.__signature__ = signature.replace(parameters=[*own, *leaves])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in (*own, *leaves)}
    return command


def config_from_flags(
    asked: Preset | None, given: dict[str, Any], resumed: TrainConfig | None = None
) -> TrainConfig:
    """Build the settings from the preset, or those of the resumed run, and the given flags.

    ``epochs`` without ``decay_epochs`` scales the preset's; the schedule keeps its shape.

    Raises
    ------
    ConfigError
        If a value is out of bounds, by its flag, or the run to resume was of another preset.
    """
    leaves = {leaf: value for leaf, value in given.items() if value is not None}
    if "windows" in leaves:
        leaves["windows"] = [_parse_window(text) for text in leaves["windows"]]
    if resumed is not None:
        paths = dict(leaf_paths(TrainConfig))
        leaves = {leaf: leaf_value(resumed, path) for leaf, path in paths.items()} | leaves
        name: Preset = leaves.pop("preset")
        if asked not in (name, None):
            raise ConfigError(
                f"--resume goes on with the settings of the run, where preset was {name}, not "
                f"{asked}; leave the flags as they were, or train anew"
            )
    else:
        name = asked or _USUAL
    if resumed is None and "epochs" in leaves:
        usual = PRESETS[name].optimizer
        leaves.setdefault("decay_epochs", leaves["epochs"] * usual.decay_epochs // usual.epochs)
    try:
        return preset(name, **leaves)
    except ConfigError as error:
        raise ConfigError(_with_flags_named(str(error))) from error


def _with_flags_named(text: str) -> str:
    """``setting 'model.network.width'`` as the person typed it: ``--width``."""
    flags = {".".join(path): leaf for leaf, path in leaf_paths(TrainConfig)}
    return re.sub(
        r"setting '([\w.]+)'",
        lambda found: "--" + flags.get(found[1], found[1]).replace("_", "-"),
        text,
    )


def window_from_flag(level_width: tuple[float, float] | None) -> Window | None:
    """``--window LEVEL WIDTH``, where it was given."""
    if level_width is None:
        return None
    return Window.parse(dict(zip(("level", "width"), level_width, strict=True)), "--window")


def slices_from_flag(text: str | None) -> range | None:
    """``--slices FROM:TO``, where it was given.

    Raises
    ------
    ConfigError
        If it names no slice.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6}):(\d{1,6})", text)
    wanted = range(*map(int, found.groups())) if found else range(0)
    if not wanted:
        raise ConfigError(f"--slices {text}: expected FROM:TO with FROM < TO, as in 10:20")
    return wanted


def _parse_window(text: str) -> Window:
    """``LEVEL/WIDTH`` in HU, as in ``40/80``."""
    try:
        level, width = (float(part) for part in text.split("/"))
    except ValueError as error:
        raise ConfigError(f"--windows {text}: expected LEVEL/WIDTH in HU, as in 40/80") from error
    return Window.parse({"level": level, "width": width}, f"--windows {text}")


def _flags() -> dict[str, Any]:
    """Leaf name to the annotation of its flag."""
    return {
        leaf: _flag(leaf_field(path), path)
        for leaf, path in leaf_paths(TrainConfig)
        if leaf != "preset"
    }


def _flag(field: FieldInfo, path: tuple[str, ...]) -> Any:
    is_list = get_args(field.annotation)[-1:] == (Ellipsis,)
    kind = list[str] if is_list else field.annotation
    parameter = Parameter(
        help=_help(field, path),
        group=_group(path[-2]),
        show_default=False,
        consume_multiple=is_list,
    )
    return Annotated[kind | None, parameter]  # type: ignore[operator]


@cache
def _group(name: str) -> Group:
    """One panel of the help for each group of settings, in the order of the tree."""
    return Group.create_ordered(name.capitalize())


def _help(field: FieldInfo, path: tuple[str, ...]) -> str:
    """Title, description, bounds, and what each preset says."""
    text = f"{field.title}. {field.description}" if field.description else f"{field.title}."
    bounds = ", ".join(
        f"{sign} {leaf_text(getattr(limit, attribute))}"
        for limit in field.metadata
        for kind, attribute, sign in _SIGNS
        if isinstance(limit, kind)
    )
    defaults = {name: leaf_text(leaf_value(config, path)) for name, config in PRESETS.items()}
    same = len(set(defaults.values())) == 1
    default = (
        next(iter(defaults.values()))
        if same
        else ", ".join(f"{name}: {value}" for name, value in defaults.items())
    )
    return f"{text} [{bounds + '; ' if bounds else ''}{default or 'none'}]"
