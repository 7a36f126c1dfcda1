"""The guide and the other pages are true: commands parse, panels have pages, pictures are shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from napari_ct2mri.app.cli import app

ROOT = Path(__file__).resolve().parents[1]
GUIDE = ROOT / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
COMMAND = re.compile(r"^\s*(?:\$ )?(ct2mri .+?)(?:\s+#.*)?$", re.MULTILINE)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
WRONG = ["train", "pairs.csv", "--output", "m.safetensors", "--epoks", "6"]
LIMIT_BYTES = 250_000

QUOTED = re.compile(r"`(ct2mri [^`]+?)`")
PLACES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("models/*.md"))]


def _commands(page: Path) -> list[str]:
    """Of its shell blocks; of its sentences only those that show a whole command."""
    text = page.read_text(encoding="utf-8")
    joined = [block.replace("\\\n", " ") for block in BLOCK.findall(text)]
    shown = [command for block in joined for command in COMMAND.findall(block)]
    quoted = [" ".join(each.split()) for each in QUOTED.findall(text)]
    return shown + [
        each
        for each in quoted
        if each.count(" ") > 1 and "COMMAND" not in each and "..." not in each
    ]


COMMANDS = [(page.name, command) for page in [*PAGES, *PLACES] for command in _commands(page)]


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_parses(page: str, command: str) -> None:
    tokens = shlex.split(command)[1:]
    app.parse_args(tokens, exit_on_error=False, print_error=False)


def test_commands_were_found_and_a_wrong_one_would_be_noticed() -> None:
    assert {page for page, _ in COMMANDS} >= {"README.md", "headless.md", "train.md"}
    with pytest.raises(Exception, match="epoks"):
        app.parse_args(WRONG, exit_on_error=False, print_error=False)


def test_every_panel_has_a_page_that_the_guide_links_to() -> None:
    manifest = yaml.safe_load((ROOT / "src/napari_ct2mri/napari.yaml").read_text(encoding="utf-8"))
    panels = [widget["display_name"] for widget in manifest["contributions"]["widgets"]]
    text = (GUIDE / "README.md").read_text(encoding="utf-8")
    linked = dict(re.findall(r"\[([^\]]+)\]\(([^)#]+)\)", text))
    assert panels
    assert [panel for panel in panels if panel not in linked] == []


def test_every_picture_is_shown_and_small() -> None:
    pictures = sorted((GUIDE / "pictures").glob("*.png"))
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert pictures
    assert [p.name for p in pictures if f"pictures/{p.name}" not in text] == []
    assert [p.name for p in pictures if p.stat().st_size > LIMIT_BYTES] == []
