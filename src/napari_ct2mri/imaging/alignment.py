"""The search for the pose in which CT and MR say most of each other: SimpleITK at work.

Motions run as ITK has them: from points of the CT to points of the MR, LPS mm.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.pose import AlignKind, Matrix
from napari_ct2mri.imaging.prepared import Prepared
from napari_ct2mri.jobs import Event, Job

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["LEVELS", "Level", "mutual_information", "optimise", "to_transform"]

_BINS = 32
_RADIUS_MM = 80.0
"""Of a head, and the search's unit of length: a step by 0.01 rad, by 0.01 of the scale and by
0.01 of this move the scalp alike. ITK's scales of parameters do not serve: its regular step is
measured after they act, so that where the matrix alone is wrong it leaps."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution of the search.

    Attributes
    ----------
    mm : float
        Finer voxels are averaged to this.
    step_mm, least_mm : float
        The first step of the optimizer, at a head's surface, and the one that ends the search.
    most : int
        Voxels that are looked at, drawn at random where there are more.
    limit : int
        Iterations.
    """

    mm: float
    step_mm: float
    least_mm: float
    most: int
    limit: int = 120


LEVELS = (Level(8, 4, 0.05, 20_000), Level(4, 1.5, 0.02, 60_000), Level(2, 0.5, 0.01, 150_000))


def mutual_information(pair: Prepared, matrix: Matrix, threads: int = 0) -> float:
    """Mattes mutual information of CT and MR in and around the CT's head, nats; 0 if apart."""
    method = _method(pair, threads)
    method.SetInitialTransform(to_transform("affine", matrix, pair.ct_head.centre))
    try:
        return max(0.0, -float(method.MetricEvaluate(pair.ct, pair.mr)))
    except RuntimeError:  # ITK's word for no voxel in common
        return 0.0


def optimise(
    pair: Prepared,
    start: Matrix,
    kind: AlignKind,
    level: Level,
    report: Callable[[int], Event],
    *,
    seed: int,
    threads: int,
) -> Job[tuple[Matrix, bool]]:
    """Climb to the next maximum of mutual information.

    Parameters
    ----------
    pair : Prepared
        At the level's resolution.
    start : (4, 4)
        CT points to MR points, LPS mm.
    report : callable
        Makes an event of an iteration's number, from 0.
    seed : int
        Of the draw of voxels.
    threads : int
        0: as SimpleITK decides.

    Yields
    ------
    Event
        What ``report`` made, after every iteration; closing the job there ends the search.

    Returns
    -------
    ((4, 4), bool)
        Where the search ended, and whether at its limit of iterations.

    Raises
    ------
    VolumeError
        If the images have too little in common.
    """
    pair = _in_radii(pair.thinned(level.most, seed))
    method = _method(pair, threads)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level.step_mm / _RADIUS_MM,
        minStep=level.least_mm / _RADIUS_MM,
        numberOfIterations=level.limit,
        relaxationFactor=0.75,
        gradientMagnitudeTolerance=1e-7,
    )
    centre = pair.ct_head.centre / _RADIUS_MM
    transform = to_transform(kind, _scaled(start, 1 / _RADIUS_MM), centre)
    method.SetInitialTransform(transform, inPlace=True)
    with closing(_steps(method, pair)) as steps:
        for iteration in steps:
            yield report(iteration)
    reached_limit = method.GetOptimizerIteration() >= level.limit - 1
    return _scaled(_matrix(transform), _RADIUS_MM), reached_limit


def _in_radii(pair: Prepared) -> Prepared:
    """The images with a head's radius as their unit of length."""
    import SimpleITK as sitk

    def smaller(image: sitk.Image) -> sitk.Image:
        image = sitk.Image(image)
        image.SetSpacing([step / _RADIUS_MM for step in image.GetSpacing()])
        image.SetOrigin([place / _RADIUS_MM for place in image.GetOrigin()])
        return image

    return replace(pair, ct=smaller(pair.ct), mr=smaller(pair.mr), near=smaller(pair.near))


def _scaled(matrix: Matrix, factor: float) -> Matrix:
    """A motion in another unit of length."""
    scaled = matrix.copy()
    scaled[:3, 3] *= factor
    return scaled


def _method(pair: Prepared, threads: int) -> sitk.ImageRegistrationMethod:
    """Mattes et al. 2003, its gradient taken from the image as it is.

    By default ITK smooths the moving image by its widest spacing, some 5 mm, before it takes
    the gradient, but not for the metric: the search then stops millimetres too early.
    """
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.MetricUseMovingImageGradientFilterOff()
    method.MetricUseFixedImageGradientFilterOff()
    method.SetMetricFixedMask(pair.near)
    method.SetInterpolator(sitk.sitkLinear)
    if threads:
        method.SetNumberOfThreads(threads)
        method.SetNumberOfWorkUnits(threads)  # the metric heeds this alone
    return method


def _steps(method: sitk.ImageRegistrationMethod, pair: Prepared) -> Generator[int, None, None]:
    """Run ITK in a thread that waits after every iteration until it is asked for the next."""
    import SimpleITK as sitk

    ask, answer = threading.Semaphore(0), threading.Semaphore(0)
    is_over = threading.Event()
    failures: list[RuntimeError] = []

    def pause() -> None:
        if not is_over.is_set():
            answer.release()
            ask.acquire()
        if is_over.is_set():
            method.StopRegistration()

    def work() -> None:
        try:
            method.Execute(pair.ct, pair.mr)
        except RuntimeError as error:
            failures.append(error)
        finally:
            is_over.set()
            answer.release()

    method.AddCommand(sitk.sitkIterationEvent, pause)
    worker = threading.Thread(target=work, name="registration", daemon=True)
    worker.start()
    try:
        iteration = 0
        answer.acquire()
        while not is_over.is_set():
            yield iteration
            iteration += 1
            ask.release()
            answer.acquire()
    finally:
        is_over.set()
        ask.release()
        worker.join()
        method.RemoveAllCommands()
    if failures:
        raise VolumeError(
            "CT and MR lost each other: too little of the head lies in both; give landmarks, or "
            "an MR that covers the CT"
        ) from failures[0]


def to_transform(kind: AlignKind, matrix: Matrix, centre: NDArray[np.float64]) -> sitk.Transform:
    """A motion as ITK's; it turns about ``centre``, (3,)."""
    import SimpleITK as sitk

    turn, move = matrix[:3, :3], matrix[:3, 3]
    transform: Any = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(turn.ravel().tolist())
    transform.SetTranslation((move + turn @ centre - centre).tolist())
    return transform  # type: ignore[no-any-return]


def _matrix(transform: Any) -> Matrix:
    matrix = np.eye(4)
    turn = np.reshape(transform.GetMatrix(), (3, 3))
    centre = np.asarray(transform.GetCenter())
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre + transform.GetTranslation() - turn @ centre
    return matrix
