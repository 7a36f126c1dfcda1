"""Train: the pairs of Register & pair into a model, watched while it learns."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QPushButton

from napari_ct2mri.config import leaf_text
from napari_ct2mri.errors import ConfigError, Ct2MriError, JobError
from napari_ct2mri.evaluation.labels import MEANING
from napari_ct2mri.jobs import EpochDone, Event, Job, Paused, Preview
from napari_ct2mri.pix2pix.checkpoint import EpochRecord, read_header
from napari_ct2mri.pix2pix.state_file import state_path
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.command_line import CommandLine, model_name
from napari_ct2mri.widgets.curves import Curves
from napari_ct2mri.widgets.docks import bring_forward
from napari_ct2mri.widgets.forms import LayerChooser, OutputField, narrow, wrapped
from napari_ct2mri.widgets.layer_pairs import file_of, pairs_of
from napari_ct2mri.widgets.layers import layer_to_shown
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.preview import PreviewLayer
from napari_ct2mri.widgets.runs import Run, Runs, RunState
from napari_ct2mri.widgets.settings import Settings

if TYPE_CHECKING:
    import napari.viewer
    from napari.utils.events import Event as ViewerEvent

    from napari_ct2mri.pix2pix.checkpoint import TrainResult

__all__ = ["TrainPanel"]

_ENDING = ".safetensors"
_PAUSE, _GO_ON = "Pause", "Go on"


class TrainPanel(Panel):
    """Set a few things, watch a child process learn, compare it with runs before it."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Train")
        self.pairs = pairs_of(self.viewer)
        self._run: Run | None = None
        self._preview: PreviewLayer | None = None
        self.pause = QPushButton(_PAUSE)
        self.pause.setToolTip("Stand still, and go on later: memory is kept, no processor used.")
        self.pause.setEnabled(False)
        self.pause.clicked.connect(self._pause_or_go_on)
        self.buttons.insertWidget(1, self.pause, 1)
        self._build_pairs()
        self._build_settings()
        self._build_preview()
        self._build_runs()
        self.body.addStretch(1)
        self.job.succeeded.connect(lambda _: self._end_run("done"))
        self.job.cancelled.connect(lambda _: self._end_run("stopped"))
        self.job.failed.connect(self._break_off)
        self.remember(init=self.init, settings=self.settings, output=self.output)
        self._take_free_name()
        self._show_command()

    # ------------------------------------------------------------ what the person does

    def start(self) -> None:
        """Train on the viewer's pairs."""
        output, model = self._output(), self.init.choice()
        config = self.settings.config()
        contrast = self.target.currentData()
        self._begin(
            Run(output, config.optimizer.epochs, "running", contrast=contrast),
            tasks.train,
            self.pairs.entries(),
            output,
            self.settings.name(),
            self.settings.leaves(),
            contrast=contrast,
            init=model.path if model else None,
        )

    def resume(self, run: Run) -> None:
        """Go on with a run after its last whole epoch.

        Raises
        ------
        Ct2MriError
            If there is nothing to go on from, no pairs, or another run is at work.
        """
        run.check_resumable()
        pairs = run.pairs if run.pairs.is_file() else self.pairs.entries()
        self._begin(run, tasks.resume, pairs, run.path, contrast=run.contrast)
        run.rewind()
        self.runs.refresh()
        self._draw()

    def open_table(self) -> None:
        """Open Register & pair, where the pairs are put together."""
        dock, _ = self.viewer.window.add_plugin_dock_widget("napari-ct2mri", "Register & pair")
        bring_forward(dock)  # it may be open already, behind another tab

    def _pause_or_go_on(self) -> None:
        self.pause.setEnabled(False)  # until the child has heard it
        if self.pause.text() == _PAUSE:
            self.job.pause()
            self.say("pausing after this step ...")
        else:
            self.job.go_on()

    def _resume_clicked(self, run: Run) -> None:
        with self.telling():
            self.resume(run)

    # ------------------------------------------------------------ the run

    def _begin(self, run: Run, job: Callable[..., Job[Any]], *args: Any, **kwargs: Any) -> None:
        if self.job.is_running:
            raise JobError("a training is at work in this panel; wait for it or cancel it first")
        source = self.watch.layer()
        ct = layer_to_shown(source, "CT") if source else None
        watched = file_of(source, "CT") or (ct, "") if source else None
        self.run(self._finish, job, *args, watched=watched, **kwargs)
        run.state = "running"
        self._run = run
        self.runs.add(run) if run not in self.runs else self.runs.refresh()
        self._see("")
        if source is not None and ct is not None:
            self._preview = PreviewLayer(self.viewer, source, ct, self.job.look_at)
        self.pause.setText(_PAUSE)
        self.pause.setEnabled(True)

    def on_event(self, event: Event) -> None:
        """Take what an epoch came to, a preview, or that it stands still."""
        assert self._run is not None
        if isinstance(event, EpochDone):
            self._run.epochs = event.epochs
            self._run.records.append(
                EpochRecord(
                    epoch=event.epoch,
                    losses=dict(event.losses),
                    validation=dict(event.validation),
                )
            )
            self.runs.refresh()
            self._draw()
        elif isinstance(event, Preview) and self._preview is not None:
            self._preview.show(event)
            self._see(_said_of(event, self._preview.of))
        elif isinstance(event, Paused):
            self._run.state = "paused" if event.is_paused else "running"
            self.runs.refresh()
            self.pause.setText(_GO_ON if event.is_paused else _PAUSE)
            self.pause.setEnabled(True)
            self.say("paused: memory is kept, no processor used" if event.is_paused else "going on")

    def _finish(self, result: TrainResult) -> None:
        stopped = f" ({result.stopped})" if result.stopped else ""
        self.say(
            f"{result.path}: epoch {result.epoch} of {result.epochs} is kept{stopped}. "
            "In Synthesize, choose it by its file"
        )

    def _break_off(self, error: Ct2MriError) -> None:
        run = self._run
        self._end_run("crashed" if isinstance(error, JobError) else "stopped")
        if run is not None and run.records and state_path(run.path).is_file():
            self.note(
                f"{run.name} can go on after epoch {len(run.records)}: choose it under Runs and "
                "press Resume."
            )

    def _end_run(self, state: RunState) -> None:
        run, self._run = self._run, None
        preview, self._preview = self._preview, None
        if run is not None:
            run.state = state
        if preview is not None:
            name = f"{run.name} after epoch {len(run.records)}" if run else ""
            preview.end(keep=name if self.keep.isChecked() else "")
        self._see("")
        self.pause.setText(_PAUSE)
        self.pause.setEnabled(False)
        self.runs.refresh()
        self._take_free_name()

    def abandon(self) -> None:
        """End the run and its preview with the panel, as Cancel does."""
        super().abandon()
        if self._run is not None:
            self._end_run("stopped")

    def _see(self, text: str) -> None:
        """Say what the preview shows; nothing takes no room."""
        self.seen.setText(text)
        self.seen.setVisible(bool(text))

    def _draw(self) -> None:
        self.curves.show_runs(self.runs.drawn())

    # ------------------------------------------------------------ the form

    def _take_free_name(self) -> None:
        if not self.output.is_empty:
            self.output.line.setText(str(_free(self.output.path())))

    def _output(self) -> Path:
        if self.output.is_empty:
            raise ConfigError("no file is chosen under 'Save as'; write its name, or press ...")
        output = self.output.path().absolute()
        if output.suffix != _ENDING:
            raise ConfigError(f"{output}: a model's name ends in {_ENDING}; add that")
        if output.exists():
            raise ConfigError(
                f"{output}: is there already; choose another name, or open it under Runs to go on "
                "with it"
            )
        return output

    def _build_pairs(self) -> None:
        self.section("Pairs")
        self.counted = wrapped()
        self.edit = QPushButton("Open Register && pair")
        self.edit.setToolTip("Add, remove, open and save pairs there; they are trained on here.")
        self.edit.clicked.connect(self.open_table)
        self.body.addWidget(self.counted)
        self.body.addWidget(self.edit)

    def _build_settings(self) -> None:
        form = self.section("Training")
        self.init = ModelChooser(none="scratch")
        self.target = narrow(QComboBox())
        self.target.setToolTip("Learn all contrasts of the pairs, or this one only.")
        default = Path.home() / "ct2mri" / f"my-model{_ENDING}"
        self.output = OutputField("Save the model as", f"Models (*{_ENDING})", default)
        self.settings = Settings()
        form.addRow("Start from", self.init)
        form.addRow("Contrast", self.target)
        form.addRow("Save as", self.output)
        self.command = CommandLine()
        self.command.setToolTip("The same in a terminal, once the pairs are written beside it.")
        for part in (self.settings, wrapped("The same on the command line"), self.command):
            self.body.addWidget(part)
        self.init.failed.connect(self._failed)
        self.init.changed.connect(self._follow_init)
        self.pairs.changed.connect(self._follow_pairs)
        for changed in (self.settings.changed, self.output.changed):
            changed.connect(self._show_command)
        self.target.currentIndexChanged.connect(self._show_command)
        self._follow_pairs()

    def _build_preview(self) -> None:
        form = self.section("Preview")
        self.watch = LayerChooser(self.viewer, "CT to watch", "CT", optional=True)
        self.watch.setToolTip(
            "While it trains, a layer shows what the model makes of the slice of this CT that you "
            "look at."
        )
        self.keep = QCheckBox("keep its last slice")
        self.keep.setToolTip("Otherwise it goes at the end; Synthesize makes the whole volume.")
        form.addRow("Watch on", self.watch)
        form.addRow("At the end", self.keep)
        self.seen = wrapped()
        self.body.addWidget(self.seen)
        self._see("")

    def _build_runs(self) -> None:
        self.section("Runs")
        self.runs = Runs(self._resume_clicked)
        self.curves = Curves(self.viewer)
        self.runs.changed.connect(self._draw)
        self.runs.failed.connect(self._failed)
        self.body.addWidget(self.runs)
        self.body.addWidget(self.curves)

    def _follow_init(self) -> None:
        model = self.init.choice()
        with self.telling():
            self.settings.start_from(read_header(model.path).config.model if model else None)

    def _follow_pairs(self, event: ViewerEvent | None = None) -> None:
        self.counted.setText(self.pairs.summary)
        if words := getattr(event, "words", ""):
            self.note(words)
        before = self.target.currentText()
        self.target.clear()
        self.target.addItem("all", None)
        for contrast in self.pairs.contrasts:
            self.target.addItem(contrast, contrast)
        self.target.setCurrentIndex(max(0, self.target.findText(before)))

    def _show_command(self, _: object = None) -> None:
        """What a terminal would be told; or why not, while a setting is wrong."""
        try:
            self.settings.config()
            flags = self.settings.leaves()
        except ConfigError as error:
            self.command.show_command("", str(error))
            return
        if self.output.is_empty:
            self.command.show_command("", "no file is chosen under 'Save as'")
            return
        run = Run(self.output.path().absolute(), 0, "stopped")
        words = ["ct2mri", "train", str(run.pairs), "--output", str(run.path)]
        words += ["--preset", self.settings.name()]
        if contrast := self.target.currentData():
            words += ["--contrast", contrast]
        if model := self.init.choice():
            words += ["--init", model_name(model.path)]
        for leaf, value in flags.items():  # with =, as a window may begin with a minus
            values = value if isinstance(value, list) else [leaf_text(value)]
            words += [f"--{leaf.replace('_', '-')}={text}" for text in values]
        self.command.show_command(shlex.join(words))


def _free(path: Path) -> Path:
    """``path``, or the first of its name with a number that is not there yet."""
    stem, number, free = path.stem, 2, path
    while free.exists():
        free = path.with_name(f"{stem}-{number}{path.suffix}")
        number += 1
    return free


def _said_of(event: Preview, of: str) -> str:
    meaning = MEANING[event.label]  # type: ignore[index]
    return (
        f"Slice {event.index} of {of} after {event.epoch} epochs, synthetic {event.contrast}: "
        f"{event.label}, {meaning}."
    )
