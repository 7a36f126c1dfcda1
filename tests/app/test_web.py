"""The page of ``ct2mri web``: its logic by Streamlit's own test, the whole in a real browser."""

from __future__ import annotations

import base64
import http.client
import io
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
from napari_ct2mri.app.web.serving import MODEL_VARIABLE
from napari_ct2mri.errors import ImageError
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
    assert not [*temporary.iterdir()]


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
    head = phantom(0, shape=(2, 64, 64), spacing=(40.0, 3.75, 3.75))
    assert np.array_equal(first.ct.data, head.ct.data)
    os.utime(model)  # trained anew
    assert case.sample_case(str(model)) is not first
    case._sample_case.cache_clear()
