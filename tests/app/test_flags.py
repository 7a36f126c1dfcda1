"""The flags of ``train`` are the leaves of the settings tree."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from napari_ct2mri.app.cli import main
from napari_ct2mri.app.flags import config_from_flags, window_from_flag
from napari_ct2mri.config import PRESETS, TrainConfig, Window, leaf_paths
from napari_ct2mri.errors import ConfigError


def test_every_leaf_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    for leaf, _ in leaf_paths(TrainConfig):
        assert f"--{leaf.replace('_', '-')}" in shown, leaf


def test_help_shows_bounds_and_what_each_preset_says(capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "--help"])
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "Filters. Of the outermost level. [>= 4, <= 128; classic: 64, default: 32]" in shown


@pytest.mark.parametrize("name", PRESETS)
def test_without_flags_the_preset_decides(name: str) -> None:
    nothing = {leaf: None for leaf, _ in leaf_paths(TrainConfig) if leaf != "preset"}
    assert config_from_flags(name, nothing) == PRESETS[name]  # type: ignore[arg-type]


def test_given_flags_override_only_themselves() -> None:
    config = config_from_flags("classic", {"width": 8, "windows": ["40/80", "600/2800"]})
    assert config.model.network.width == 8
    assert config.model.input.windows == (Window(), Window(level=600, width=2800))
    assert config.optimizer == PRESETS["classic"].optimizer


def test_epochs_alone_keep_the_shape_of_the_schedule() -> None:
    assert config_from_flags("classic", {"epochs": 40}).optimizer.decay_epochs == 20
    assert (
        config_from_flags("classic", {"epochs": 40, "decay_epochs": 5}).optimizer.decay_epochs == 5
    )


def test_a_resumed_run_keeps_its_preset() -> None:
    for run in PRESETS.values():
        assert config_from_flags(None, {}, run) == run
        assert config_from_flags(run.preset, {"threads": 3}, run).run.threads == 3
    with pytest.raises(ConfigError, match="preset was default, not classic"):
        config_from_flags("classic", {}, PRESETS["default"])
    with pytest.raises(ConfigError, match="preset was classic, not default"):
        config_from_flags("default", {}, PRESETS["classic"])


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"width": 1}, "--width"),
        ({"learning_rate": 7.0}, "--learning-rate"),
        ({"windows": ["40:80"]}, "--windows 40:80"),
        ({"windows": ["40/0"]}, "--windows 40/0"),
        ({"windows": ["40/80/1"]}, "--windows 40/80/1"),
    ],
)
def test_a_wrong_value_names_its_flag(given: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        config_from_flags("default", given)


def test_window_flag() -> None:
    assert window_from_flag(None) is None
    assert window_from_flag((40, 80)) == Window(level=40, width=80)
    with pytest.raises(ConfigError, match="--window"):
        window_from_flag((40, -80))


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["nonsense"], "nonsense"),
        (["train", "pairs.csv", "--output", "x", "--widht", "8"], "--widht"),
        (["train", "pairs.csv", "--output", "x", "--width", "wide"], "--width"),
        (["train", "pairs.csv", "--output", "x", "--width", "1"], "--width"),
        (["train", "pairs.csv"], "--output"),
        (["info"], "INPUT"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_1(
    tokens: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(tokens) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


def test_help_is_quick_and_without_torch() -> None:
    code = """
import sys
from napari_ct2mri.app.cli import main
assert main(["--help"]) == 0
heavy = set("torch numpy SimpleITK pydicom skimage scipy matplotlib qtpy napari".split())
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def seconds(code: str) -> float:
        """Of processor time: other programs on this machine do not count."""
        before = os.times()
        subprocess.run(
            [sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.DEVNULL
        )
        after = os.times()
        return (after.children_user + after.children_system) - (
            before.children_user + before.children_system
        )

    seconds(code)  # compiles
    rounds = [(seconds(code), seconds("import cyclopts, pydantic, rich.table")) for _ in range(3)]
    help_s, libraries_s = (min(times) for times in zip(*rounds, strict=True))
    assert help_s < 3.5 * libraries_s, f"{help_s:.2f} s, of which libraries {libraries_s:.2f} s"
