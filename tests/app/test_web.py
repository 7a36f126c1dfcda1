"""The page of ``ct2mri web``: its logic by Streamlit's own test, the whole in a real browser."""

from __future__ import annotations

import base64
import http.client
import io
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from small_heads import OBLIQUE, write_volumes
from streamlit.testing.v1 import AppTest

from napari_ct2mri.app.web import case, page, pictures, uploads
from napari_ct2mri.app.web.serving import MODEL_VARIABLE, _wait_for
from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging import pictures as imaging_pictures
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.phantom import phantom
from napari_ct2mri.imaging.volume import Geometry, Volume

WAIT_S = 120  # a busy machine; an idle one needs two


def named(name: str, content: bytes) -> io.BytesIO:
    """An upload."""
    file = io.BytesIO(content)
    file.name = name
    return file


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def app(model: Path, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The page of a tiny model, which has seen the patients ada, bea and cid."""
    monkeypatch.setenv(MODEL_VARIABLE, str(model))
    monkeypatch.setattr(case, "SAMPLE_SHAPE", (3, 64, 64))
    monkeypatch.setattr(case, "SAMPLE_SPACING", (30.0, 3.75, 3.75))
    case._sample_case.cache_clear()
    return AppTest.from_file(page.__file__, default_timeout=WAIT_S)


def words(app: AppTest) -> str:
    """All text of the page, once it is known that nothing unexpected happened."""
    assert not app.exception
    return "\n".join(element.value for element in (*app.markdown, *app.caption, *app.error))


def shown(app: AppTest) -> dict[str, np.ndarray]:
    """The tiles by their titles, and as ``left`` and ``right`` what is swiped."""
    data = json.loads(app.get("bidi_component")[0].proto.json)
    tiles = {tile["title"]: tile["picture"] for tile in data["tiles"]}
    tiles["left"], tiles["right"] = (each["picture"] for each in data["swipe"])
    return {
        title: np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))
        for title, uri in tiles.items()
    }


def test_the_first_result_needs_no_compiler() -> None:
    """Torch's own takes as long to import as all the rest of it, and somebody waits."""
    code = """
import sys
from napari_ct2mri.app.web import case
case.SAMPLE_SHAPE, case.SAMPLE_SPACING = (2, 64, 64), (40.0, 3.75, 3.75)
case.sample_case()
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["True", "False"], done.stderr


# -- the page ------------------------------------------------------------------------------------


def test_a_sample_is_shown_at_once(app: AppTest) -> None:
    app.run()
    text = words(app)
    assert "For research; not a diagnostic device." in text
    assert "A simulated head" in text
    assert "[held-out]" in text
    assert {*shown(app)} == {
        *("CT", "synthetic T2", "real T2", "difference, red: too bright", "left", "right")
    }
    assert len(app.metric) == 4
    assert float(app.metric[0].value) <= 1  # SSIM


def test_seam_slice_and_window(app: AppTest) -> None:
    before = shown(app.run())
    assert np.array_equal(before["left"], before["CT"])
    swiped = shown(app.radio(key="side").set_value("real MR").run())
    assert np.array_equal(swiped["left"], before["real T2"])
    assert np.array_equal(swiped["right"], before["synthetic T2"])
    moved = shown(app.slider[0].set_value(2).run())
    assert not np.array_equal(moved["CT"], before["CT"])
    bone = shown(app.selectbox(key="window").set_value("Bone").run())
    assert bone["CT"].mean() < moved["CT"].mean()
    assert np.array_equal(bone["synthetic T2"], moved["synthetic T2"])
    app.selectbox(key="window").set_value(page.OWN_WINDOW).run()
    app.number_input[0].set_value(-1000.0).run()
    assert shown(app)["CT"].min() > 0  # now air is grey


@pytest.mark.parametrize(
    ("patient", "label"), [("ada", "train-fit"), ("cid", "selection"), ("dot", "held-out")]
)
def test_a_picture_is_labelled_by_what_the_model_has_seen(
    app: AppTest, pictures: Path, patient: str, label: str
) -> None:
    folder = pictures.parent / patient
    app.run()
    app.file_uploader(key="ct").upload("01.png", (folder / "CT" / "01.png").read_bytes()).run()
    assert f"Your image. :{page.LABEL_COLOURS[label]}-badge[{label}]" in words(app)
    assert {*shown(app)} == {"CT", "synthetic T2", "left", "right"}
    assert not app.metric
    app.file_uploader(key="mr").upload("x.png", (folder / "MR" / "01.png").read_bytes()).run()
    assert len(app.metric) == 4
    words(app)
    app.file_uploader(key="ct").clear().run()
    assert "A simulated head" in words(app)


def test_a_volume_and_its_real_mr(app: AppTest, tmp_path: Path, temporary: Path) -> None:
    ct, mr = write_volumes(tmp_path, seed=9)
    app.run()
    app.file_uploader(key="ct").upload("ct.nii.gz", ct.read_bytes()).run()
    app.file_uploader(key="mr").upload("mr.nii.gz", mr.read_bytes()).run()
    assert len(app.metric) == 4
    assert len(shown(app)) == 6
    picture = shown(app)["CT"]  # 64 x 64 of 1.5 x 1.25 mm: as many mm high as wide
    assert picture.shape[0] / picture.shape[1] == pytest.approx(1.5 / 1.25, rel=0.02)
    elsewhere = Geometry(OBLIQUE.spacing, (0.0, 0.0, 0.0), OBLIQUE.direction)
    moved = Volume(np.ones((4, 64, 64), np.float32), elsewhere, "MR")
    write_volume(moved, tmp_path / "moved.nii.gz")
    app.file_uploader(key="mr").clear()
    app.file_uploader(key="mr").upload("m.nii.gz", (tmp_path / "moved.nii.gz").read_bytes()).run()
    assert "CT and MR differ in origin in mm" in words(app)
    assert "ct2mri register" in words(app)
    assert not [*temporary.iterdir()]


def test_of_several_series_it_asks_which(app: AppTest, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, seed=9)
    data = ct.read_bytes()
    app.run()
    app.file_uploader(key="ct").upload("s.zip", zipped({"a.nii.gz": data, "b.nii.gz": data})).run()
    assert "Your image" in words(app)
    chooser = app.sidebar.selectbox[-1]
    assert chooser.label == "CT series"
    assert len(chooser.options) == 2
    chooser.set_value(2).run()
    assert "Your image" in words(app)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("notes.txt", b"hello", "notes.txt: not an image this program reads; expected a DICOM"),
        ("a.zip", b"PK nonsense", "the upload: cannot be unpacked: File is not a zip file"),
        ("a.zip", zipped({"notes.txt": b"hello"}), "the upload: no image among its 1 files"),
        ("cut.png", b"\x89PNG\r\n\x1a\n", "cut.png: "),
        ("cut.nii.gz", b"\x1f\x8b\x08", "cut.nii.gz: "),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    app: AppTest, temporary: Path, name: str, content: bytes, expected: str
) -> None:
    app.run()
    app.file_uploader(key="ct").upload(name, content).run()
    assert not app.exception
    (error,) = app.error
    text = re.sub(r"\\(.)", r"\1", error.value)
    assert text.startswith(expected)
    assert "\n" not in text
    assert str(temporary) not in text
    assert not app.get("bidi_component")
    assert not [*temporary.iterdir()]


# -- uploads -------------------------------------------------------------------------------------


def test_nothing_of_a_zip_leads_out_of_its_folder(temporary: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, seed=9)
    content = zipped(
        {
            "../../evil.nii.gz": ct.read_bytes(),
            "/etc/passwd": b"x",
            "C:\\windows\\x": b"x",
            "__MACOSX/._ct.nii.gz": b"x",
            ".hidden": b"x",
        }
    )
    before = {*tmp_path.rglob("*")}
    volume = uploads.read_upload([named("a.zip", content)], "CT")
    assert volume.data.shape == (4, 64, 64)
    assert volume.source.path == ""
    assert {*tmp_path.rglob("*")} == before


def test_a_header_opens_no_file_of_this_machine(temporary: Path, tmp_path: Path) -> None:
    voxels = tmp_path / "voxels.raw"
    voxels.write_bytes(bytes(4 * 8 * 8))
    meta = "NDims = 3\nDimSize = 8 8 4\nElementType = MET_UCHAR\nElementDataFile = {}\n"
    nrrd = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 8 4\nencoding: raw\ndata file: {}\n"
    for name, header in (("a.mhd", meta), ("a.mha", meta), ("a.nrrd", nrrd), ("a.nhdr", nrrd)):
        for where in (str(voxels), f"../{voxels.name}", f"LIST\n{voxels}"):
            with pytest.raises(ImageError, match=rf"^{name}: its voxels are in other files"):
                uploads.read_upload([named(name, header.format(where).encode())], "CT")
        long = header.replace("\n", "\nx := " + "y" * 2**20 + "\n", 1).format(voxels).encode()
        with pytest.raises(ImageError, match=rf"^{name}: a header of more than 1 MiB"):
            uploads.read_upload([named(name, long)], "CT")
        beside = {name: header.format("b.raw").encode(), "b.raw": voxels.read_bytes()}
        assert uploads.read_upload([named("a.zip", zipped(beside))], "CT").data.shape == (4, 8, 8)
    assert not [*temporary.iterdir()]


META = "NDims = 3\nDimSize = 8 8 4\nElementType = MET_UCHAR\n"
NRRD = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 8 8 4\nencoding: raw\n"
MANY_LINES = "".join(f"k{number} = {'y' * 60}\n" for number in range(17_000))


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.mha", META + "ElementDataFile : {}\n"),  # ITK takes the colon, too
        ("a.mhd", META + "ElementDataFile:{}\n"),
        ("a.mha", META + "ElementDataFile == {}\n"),
        ("a.mha", META + "\vElementDataFile = {}\n"),
        ("a.mha", META + "\fElementDataFile = {}\n"),
        ("a.mha", META + "ElementDataFile\v= {}\n"),
        ("a.mha", META.replace("\n", "\r") + "ElementDataFile = {}\r"),
        ("a.mha", META + "ElementDataFile =\n{}\n"),
        ("a.mha", META + "elementdatafile = LOCAL\n" + MANY_LINES + "ElementDataFile = {}\n"),
        ("a.mha", META + "Comment = ElementDataFile = LOCAL\nElementDataFile = {}\n"),
        ("a.mha", META + "Comment =\nElementDataFile = LOCAL\nElementDataFile = {}\n"),
        ("a.mha", META + "ElementDataFile = %s 1 4 1\n"),
        ("a.nrrd", NRRD.replace("\n", "\r") + "data file: {}\r\r"),
        ("a.nrrd", NRRD + "# x\rdata file: {}\n\n"),
        ("a.nhdr", NRRD + "\vdata file: {}\n\n"),
        ("a.nhdr", NRRD + "data  file: {}\n\n"),
        ("a.nhdr", NRRD + "Data File: {}\n\n"),
        ("a.nhdr", NRRD + "datafile: b.raw\ndata file: {}\n\n"),
        ("a.nhdr", NRRD + "data file: -\n\n"),
        ("a.nhdr", NRRD + "data file: %s 1 4 1\n\n"),
    ],
)
def test_no_odd_spelling_of_a_header_opens_one_either(
    temporary: Path, tmp_path: Path, name: str, header: str
) -> None:
    voxels = tmp_path / "voxels.raw"
    voxels.write_bytes(bytes(range(256)))
    with pytest.raises(
        ImageError,
        match=rf"^{name}: (its voxels are in other files|it is not clear where|a header of more)",
    ) as raised:
        uploads.read_upload([named(name, header.format(voxels).encode())], "CT")
    assert "\n" not in str(raised.value)
    assert not [*temporary.iterdir()]


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_headers_as_programs_write_them_are_read(temporary: Path, ends: str) -> None:
    voxels = bytes(range(256))
    meta = f"Comment = a: b\n{META}ElementDataFile = {{}}\n".replace("\n", ends)
    nrrd = f"{NRRD}# the data file: follows\nnote:=x\n".replace("\n", ends)
    named_file = f"Data File: m\u00fc.raw{ends}"
    zips = [
        {"a.mhd": meta.format("m\u00fc.raw").encode(), "m\u00fc.raw": voxels},
        {"a.nhdr": (nrrd + named_file + ends).encode(), "m\u00fc.raw": voxels},
        {"a.nhdr": (nrrd + named_file).encode(), "m\u00fc.raw": voxels},
    ]
    content = [
        named("a.mha", meta.format("LOCAL").encode() + voxels),
        named("a.nrrd", (nrrd + ends).encode() + voxels),
        *(named("a.zip", zipped(files)) for files in zips),
    ]
    for upload in content:
        assert uploads.read_upload([upload], "CT").data.tobytes() == voxels


def test_a_file_is_read_as_what_it_is_named_or_not_at_all(temporary: Path, tmp_path: Path) -> None:
    """HDF5 and the XML of niftilib can say that their voxels are in any file of this machine."""
    import SimpleITK as sitk

    voxels = sitk.GetImageFromArray(np.zeros((4, 8, 8), np.uint8))
    sitk.WriteImage(voxels, str(tmp_path / "a.h5"))
    xml = f"<nifti_image image_filename='{tmp_path / 'a.h5'}' ndim='3' nx='8' ny='8' nz='4' />"
    contents = (
        (tmp_path / "a.h5").read_bytes(),
        xml.encode().ljust(344) + b"n+1\0" + bytes(500),
        NRRD.encode() + b"\n" + bytes(256),
    )
    endings = ("nii", "nii.gz", "mha", "mhd", "nrrd", "nhdr", "png", "tif", "jpg", "bmp")
    for content, ending in itertools.product(contents, endings):
        if content[:4] == b"NRRD" and ending in ("nrrd", "nhdr"):
            continue
        with pytest.raises(ImageError, match=rf"^a\.{ending}: (not a|it is not clear)"):
            uploads.read_upload([named(f"a.{ending}", content)], "CT")


def test_files_of_one_name_are_both_kept(temporary: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, seed=9)
    file = ct.read_bytes()
    assert len(uploads.list_series([named("a.nii.gz", file), named("a.nii.gz", file)])) == 2


def test_uploads_are_bounded(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    bomb = zipped({f"{n}.nii": bytes(2**20) for n in range(4)})
    assert len(bomb) < 2**14
    for limit, value, expected in (
        ("MAX_BYTES", 2**21, "more than 2 MiB, unpacked"),
        ("MAX_FILES", 2, "more than 2 files"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(uploads, limit, value)
            with pytest.raises(ImageError, match=expected):
                uploads.list_series([named("bomb.zip", bomb)])
    picture = io.BytesIO()
    Image.new("L", (64, 64)).save(picture, "PNG")
    monkeypatch.setattr(uploads, "MAX_VOXELS", 64 * 63)
    with pytest.raises(ImageError, match=r"^p\.png: 1 x 64 x 64 voxels, but this page takes 4,032"):
        uploads.read_upload([named("p.png", picture.getvalue())], "CT")
    monkeypatch.setattr(uploads, "MAX_VOXELS", 64 * 64)
    monkeypatch.setattr(uploads, "MAX_SLICE", 64 * 63)
    with pytest.raises(ImageError, match=r"this page takes 4,096, 4,032 a slice"):
        uploads.read_upload([named("p.png", picture.getvalue())], "CT")
    assert not [*temporary.iterdir()]


def test_the_size_of_every_picture_counts(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {}
    for name, side in (("1.png", 8), ("2.png", 3000)):
        picture = io.BytesIO()
        Image.new("L", (side, side)).save(picture, "PNG")
        files[name] = picture.getvalue()
    content = zipped(files)
    assert len(content) < 2**16
    monkeypatch.setattr(imaging_pictures, "_read_picture", pytest.fail)
    with pytest.raises(ImageError, match=r"^2\.png: 3000x3000 pixels, but 1\.png has 8x8"):
        uploads.read_upload([named("p.zip", content)], "CT")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_damaged_content_is_refused(temporary: Path, method: int) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr("a.nii", bytes(range(256)) * 40)
    content = bytearray(made.getvalue())
    middle = slice(40, content.index(b"PK\x01\x02") - 4)
    content[middle] = bytes(byte ^ 0x5A for byte in content[middle])
    with pytest.raises(ImageError, match=r"the upload: cannot be unpacked: .*; zip it again"):
        uploads.list_series([named("a.zip", bytes(content))])


def test_an_encrypted_zip_is_refused(temporary: Path) -> None:
    content = bytearray(zipped({"a.nii": b"x" * 99}))
    for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(start) + offset] |= 1  # the flag is all that is looked at
    with pytest.raises(ImageError, match=r"cannot be unpacked: .*encrypted.*; zip it again"):
        uploads.list_series([named("a.zip", bytes(content))])


# -- pictures ------------------------------------------------------------------------------------


def test_grey_and_colours_of_differences() -> None:
    hu = np.array([[-1000.0, 0, 40, 80, 3000, np.nan]])
    assert pictures.grey(hu, 0, 80).tolist() == [[0, 0, 128, 255, 255, 0]]
    difference = np.array([[-500, 0, 500, 9999, np.nan]], np.float32)
    colours = pictures.blue_red(difference, 500)[0].tolist()
    assert colours == [[5, 48, 97], [247, 247, 247], [103, 0, 31], [103, 0, 31], [0, 0, 0]]


def test_pixels_become_square_without_new_values() -> None:
    levels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    tall = pictures.square(levels, (3.0, 1.0))
    assert tall.shape == (6, 3)
    assert np.array_equal(tall[1::3], levels)
    assert np.array_equal(pictures.square(levels, (0.7, 0.7)), levels)


def test_a_picture_shown_has_bounds() -> None:
    levels = np.tile(np.arange(200, dtype=np.uint8), (300, 1))
    flat = pictures.square(levels, (16.0, 0.05))  # 4800 x 10 mm
    assert flat.shape == (4096, 9)
    assert np.all(np.diff(flat[0].astype(int)) > 20)


# -- the command ---------------------------------------------------------------------------------


def test_without_streamlit_it_says_what_to_install(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "streamlit", None)
    assert "pip install 'napari-ct2mri[demo]'" in fails("web", "--no-browser")


def test_a_port_that_is_taken_and_a_model_that_is_not_there(fails: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"--port {port}" in fails("web", "--no-browser", "--port", port)
    assert "expected 1 to 65535" in fails("web", "--no-browser", "--port", "70000")
    assert "nor a released model" in fails("web", "--no-browser", "--model", "nosuch")


COMMAND = (
    'import sys; from napari_ct2mri.app.cli import main; sys.exit(main(["web", "--no-browser"]))'
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The command itself, with the released model: the page's address, its temporary folders.

    Afterwards Ctrl-C ends it, and nothing of it is left.
    """
    temporary = tmp_path_factory.mktemp("web")
    command = subprocess.Popen(
        [sys.executable, "-c", COMMAND],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    try:
        assert command.stdout is not None
        address = command.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
        yield address, temporary
        command.send_signal(signal.SIGINT)
        assert command.wait(30) == 0
        assert command.stdout.read() == ""
    finally:
        command.kill()
        command.wait()
    assert not [*temporary.iterdir()]
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection(("127.0.0.1", urlsplit(address).port), 5)


def test_it_is_served_to_this_machine_alone(server: tuple[str, Path]) -> None:
    port = urlsplit(server[0]).port
    with pytest.raises(OSError, match=r"refused|unreachable|route"):
        socket.create_connection(("127.0.0.2", port), 5)  # not bound to all addresses
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
    }
    origin = {"Origin": server[0]}
    for headers, status in (
        (origin, 101),
        ({"Host": f"elsewhere.example:{port}", **origin}, 403),
    ):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        line.request("GET", "/_stcore/stream", headers={**upgrade, **headers})
        assert line.getresponse().status == status
        line.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium, whose network log is kept."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("no chromium and chromedriver here; apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *("no-proxy-server", "disable-dev-shm-usage", "window-size=1400,1000"),
        f"user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield found
    finally:
        found.quit()


VIEWER = """
const host = [...document.querySelectorAll("*")].find(
  (each) => each.shadowRoot && each.shadowRoot.querySelector(".swipe"));
return host ? host.shadowRoot.querySelector(arguments[0]) : null;
"""


def test_a_visitor_with_a_real_browser(
    server: tuple[str, Path], browser: Any, tmp_path: Path
) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    address, temporary = server
    wait = WebDriverWait(browser, WAIT_S)
    browser.get("about:blank")
    browser.get_log("performance")  # of the browser's own pages
    opened = time.monotonic()
    browser.get(address)
    wait.until(lambda b: b.execute_script(VIEWER, ".tile:nth-of-type(5)"))  # the sample's result
    print(f"the sample's result stood there after {time.monotonic() - opened:.1f} s")  # with -s
    assert browser.title == "CT to MR"

    seam = browser.execute_script(VIEWER, ".seam")
    over = browser.execute_script(VIEWER, ".over")
    middle, clip = seam.location["x"], over.value_of_css_property("clip-path")
    range_ = browser.execute_script(VIEWER, "input")
    drag = ActionChains(browser).move_to_element(range_).click_and_hold()
    drag.move_by_offset(-range_.size["width"] // 4, 0).release().perform()
    moved = seam.location["x"]
    assert moved == pytest.approx(middle - range_.size["width"] / 4, abs=4)
    assert over.value_of_css_property("clip-path") != clip

    picture = over.get_attribute("src")
    slice_ = browser.find_element("css selector", "[data-testid=stSlider] input")
    browser.execute_script("arguments[0].focus()", slice_)
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    wait.until(lambda b: b.execute_script(VIEWER, ".over").get_attribute("src") != picture)
    assert browser.execute_script(VIEWER, ".seam").location["x"] == moved  # it stayed

    (tmp_path / "notes.txt").write_text("hello")
    browser.find_element("css selector", "input[type=file]").send_keys(str(tmp_path / "notes.txt"))
    alert = wait.until(lambda b: b.find_elements("css selector", "[role=alert]"))[0]
    assert alert.text.startswith("notes.txt: not an image this program reads; expected")
    assert not [file for file in temporary.rglob("*") if file.is_file()]

    asked = asked_for(browser)
    assert any(url.endswith("/_stcore/stream") for url in asked)
    strange = {
        url[:200]
        for url in asked
        if urlsplit(url).scheme in ("http", "https", "ws", "wss")  # not data:, nor chrome:
        and urlsplit(url).netloc != urlsplit(address).netloc
    }
    assert not strange


def test_the_seam_by_key_and_by_finger(server: tuple[str, Path], browser: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(browser, WAIT_S)
    size = browser.get_window_size()
    browser.set_window_size(500, 900)  # a phone: the page is higher than it
    touch = "Emulation.setTouchEmulationEnabled"
    browser.execute_cdp_cmd(touch, {"enabled": True, "maxTouchPoints": 1})
    try:
        browser.get(server[0])
        wait.until(lambda b: b.execute_script(VIEWER, ".tile:nth-of-type(5)"))
        range_ = browser.execute_script(VIEWER, "input")

        def at() -> float:
            style = browser.execute_script(VIEWER, ".swipe").get_attribute("style")
            assert style == f"--at: {range_.get_property('value')}%;"
            return float(range_.get_property("value"))

        assert at() == 50
        browser.execute_script("arguments[0].focus()", range_)
        for keys, expected in (
            (Keys.ARROW_RIGHT * 3, 56),
            (Keys.ARROW_LEFT, 54),
            (Keys.ARROW_UP + Keys.ARROW_DOWN * 2, 52),
            (Keys.END + Keys.ARROW_RIGHT, 100),
        ):
            ActionChains(browser).send_keys(keys).perform()
            assert at() == expected

        def swipe(*points: tuple[float, float]) -> None:
            """A finger along points of the picture, from 0 to 1."""
            box = range_.rect
            for number, (x, y) in enumerate(points):
                place = {"x": box["x"] + box["width"] * x, "y": box["y"] + box["height"] * y}
                kind = "touchMove" if number else "touchStart"
                event = {"type": kind, "touchPoints": [place]}
                browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)
            event = {"type": "touchEnd", "touchPoints": []}
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", event)

        swipe(*((0.5 + 0.03 * k, 0.5) for k in range(11)))
        assert at() == pytest.approx(80, abs=2)
        before = at()
        assert browser.execute_script(SCROLLED) == 0
        swipe(*((0.3, 0.8 - 0.05 * k) for k in range(11)))
        wait.until(lambda b: b.execute_script(SCROLLED) > 20)
        assert at() == before
    finally:
        browser.execute_cdp_cmd(touch, {"enabled": False})
        browser.set_window_size(size["width"], size["height"])


SCROLLED = "return document.querySelector('[data-testid=stMain]').scrollTop"


WATCHED = """
import sys, threading, time
from pathlib import Path
from weakref import WeakSet
from streamlit import runtime
from napari_ct2mri.app.web import case, server

alive = WeakSet()

class Watched(case.Case):
    def __new__(cls, *values):
        made = super().__new__(cls)
        alive.add(made)
        return made

case.Case = Watched
port, seen = int(sys.argv[1]), Path(sys.argv[2])
server.FORGOTTEN_EVERY_S = 1.0
server.FLAGS = [flag.replace("SessionTTL=120", "SessionTTL=1") for flag in server.FLAGS]

def watch():
    while True:
        time.sleep(0.3)
        if runtime.exists():
            stored = runtime.get_instance()._uploaded_file_mgr.file_storage
            seen.write_text(f"{sum(map(len, stored.values()))} {len(alive)}")

threading.Thread(target=watch, daemon=True).start()
server.main(port)
"""


def test_what_was_uploaded_is_forgotten_when_the_page_is_closed(
    model: Path, pictures: Path, tmp_path: Path, browser: Any
) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen = tmp_path / "seen"
    child = subprocess.Popen(
        [sys.executable, "-c", WATCHED, str(port), str(seen)],
        stdin=subprocess.PIPE,
        env={**os.environ, MODEL_VARIABLE: str(model)},
    )
    try:
        wait = WebDriverWait(browser, WAIT_S)
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, child)
        browser.get(address)
        wait.until(lambda b: b.execute_script(VIEWER, ".tile:nth-of-type(5)"))
        wait.until(lambda _: seen.read_text() == "0 1")  # no file; the images of the sample
        picture = pictures.parent / "dot" / "CT" / "01.png"
        browser.find_element("css selector", "input[type=file]").send_keys(str(picture))
        wait.until(lambda _: seen.read_text() == "1 2")
        page_, _ = browser.current_window_handle, browser.switch_to.new_window("tab")
        other = browser.current_window_handle
        browser.switch_to.window(page_)
        browser.close()
        browser.switch_to.window(other)
        wait.until(lambda _: seen.read_text() == "0 1")  # and nobody else has come
    finally:
        child.kill()
        child.communicate()


def asked_for(browser: Any) -> list[str]:
    """Every address that the page has opened."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        event["params"]["request"]["url"]
        if event["method"] == "Network.requestWillBeSent"
        else event["params"]["url"]
        for event in events
        if event["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated")
    ]


def test_the_sample_is_made_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case, "SAMPLE_SHAPE", (2, 64, 64))
    monkeypatch.setattr(case, "SAMPLE_SPACING", (40.0, 3.75, 3.75))
    case._sample_case.cache_clear()
    first = case.sample_case(str(model))
    assert case.sample_case(str(model)) is first
    assert case.sample_case(str(model), "T2") is first  # as the page asks
    head = phantom(0, shape=(2, 64, 64), spacing=(40.0, 3.75, 3.75))
    assert np.array_equal(first.ct.data, head.ct.data)
    os.utime(model)  # trained anew
    assert case.sample_case(str(model)) is not first
    case._sample_case.cache_clear()
