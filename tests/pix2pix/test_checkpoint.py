import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from napari_ct2mri.config import preset
from napari_ct2mri.errors import CheckpointError
from napari_ct2mri.imaging.fingerprint import Fingerprint
from napari_ct2mri.pix2pix.checkpoint import (
    Checkpoint,
    EpochRecord,
    Header,
    load_checkpoint,
    load_weights,
    read_header,
    save_checkpoint,
)
from napari_ct2mri.pix2pix.networks import Generator


@pytest.fixture
def checkpoint() -> Checkpoint:
    config = preset("default", width=4, levels=3, frame_px=32, contrasts=("T1", "T2"))
    header = Header(
        config=config,
        epochs=3,
        history=(EpochRecord(epoch=1, losses={"l1": 0.5}, validation={"ssim": 0.2}),),
        trained_on=(("a" * 64, "0" * 64),),
        selected_on=(("b" * 64, "1" * 64),),
    )
    return Checkpoint(header, Generator(config.model).state_dict())


@pytest.fixture
def saved(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, checkpoint)
    return path


def _rewrite(path: Path, change: dict[str, object]) -> None:
    """Change keys of the JSON in a checkpoint's header."""
    header = json.loads(read_header(path).model_dump_json())
    save_file({"w": torch.zeros(1)}, path, metadata={"ct2mri": json.dumps({**header, **change})})


def test_what_is_saved_is_loaded(saved: Path, checkpoint: Checkpoint) -> None:
    loaded = load_checkpoint(saved)
    assert loaded.header == checkpoint.header
    assert loaded.contrasts == ("T1", "T2")
    assert loaded.trained_on == (Fingerprint("a" * 64, "0" * 64),)
    assert all(torch.equal(loaded.weights[k], v) for k, v in checkpoint.weights.items())
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_checkpoint_is_as_private_as_other_files(saved: Path) -> None:
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_half_precision_is_half_the_size_and_loads_as_float(
    tmp_path: Path, saved: Path, checkpoint: Checkpoint
) -> None:
    small = tmp_path / "half.safetensors"
    save_checkpoint(small, checkpoint, half=True)
    assert small.stat().st_size < 0.7 * saved.stat().st_size
    weight = load_checkpoint(small).weights["down.0.conv.weight"]
    assert weight.dtype == torch.float32
    assert torch.allclose(weight, checkpoint.weights["down.0.conv.weight"], atol=1e-4)


def test_the_digest_depends_on_who_was_seen(checkpoint: Checkpoint) -> None:
    other = checkpoint.header.model_copy(update={"trained_on": (("c" * 64, "0" * 64),)})
    assert Checkpoint(other, {}).digest != checkpoint.digest
    assert len(checkpoint.digest) == 64


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("part", [0.0, 0.0005, 0.5, 0.999])
def test_a_file_cut_anywhere(saved: Path, part: float) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut|too few"):
        load_checkpoint(saved)


def test_a_header_that_lies_about_its_length(saved: Path) -> None:
    saved.write_bytes((2**62).to_bytes(8, "little") + saved.read_bytes()[8:])
    with pytest.raises(CheckpointError, match="header of"):
        load_checkpoint(saved)


def test_a_header_nested_without_end(tmp_path: Path) -> None:
    path, text = tmp_path / "deep.safetensors", b"[" * 200_000
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match="its header is not JSON"):
        read_header(path)
    save_file({"w": torch.zeros(1)}, path, metadata={"ct2mri": text.decode()})
    with pytest.raises(CheckpointError, match=r"damaged .* nested too deeply"):
        read_header(path)


def test_a_pickle_in_disguise_is_not_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (str(tmp_path / "exploded"),))

    for name, write in (
        ("plain", lambda p: p.write_bytes(pickle.dumps(Bomb()))),
        ("torch", lambda p: torch.save({"w": torch.zeros(1)}, p)),
    ):
        path = tmp_path / f"{name}.safetensors"
        write(path)
        with pytest.raises(CheckpointError, match="is a pickle"):
            load_checkpoint(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("first", [0x80, 0x50])
def test_a_header_s_length_may_look_like_a_pickle(
    saved: Path, checkpoint: Checkpoint, first: int
) -> None:
    """The first byte is the low one of the header's length."""
    header = checkpoint.header
    for text in ("x" * n for n in range(300)):
        padded = header.model_copy(update={"trained_on": ((text, "0"),)})
        save_checkpoint(saved, Checkpoint(padded, checkpoint.weights))
        if saved.read_bytes()[0] == first:
            assert read_header(saved) == padded
            return
    pytest.fail(f"no header of this series has a length that ends in {first:#x}")


def test_an_unknown_field_is_named(saved: Path) -> None:
    _rewrite(saved, {"colour": "red"})
    with pytest.raises(CheckpointError, match="'colour'"):
        read_header(saved)


def test_another_version_is_named(saved: Path) -> None:
    _rewrite(saved, {"format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        read_header(saved)


def test_safetensors_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of napari-ct2mri"):
        read_header(path)


def test_weights_of_another_network_are_refused(checkpoint: Checkpoint) -> None:
    wider = Generator(preset("default", width=8, levels=3, contrasts=("T1", "T2")).model)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_weights(wider, checkpoint.weights, "model")


@pytest.mark.parametrize("change", ["shape", "name", "nan"])
def test_a_file_whose_weights_do_not_fit_its_header_is_refused(
    tmp_path: Path, checkpoint: Checkpoint, change: str
) -> None:
    weights = dict(checkpoint.weights)
    name = "down.1.conv.weight"
    if change == "shape":
        weights[name] = weights[name][:, :1]
    elif change == "name":
        weights["other"] = weights.pop(name)
    else:
        weights[name] = weights[name] * float("nan")
    save_checkpoint(tmp_path / "odd.safetensors", Checkpoint(checkpoint.header, weights))
    with pytest.raises(CheckpointError, match=r"do not fit|holds NaN"):
        load_checkpoint(tmp_path / "odd.safetensors")


def test_a_huge_network_in_a_small_header_takes_no_memory(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    huge = preset("classic", width=128, widest=16, levels=9, contrasts=("T2",))
    header = checkpoint.header.model_copy(update={"config": huge})
    save_checkpoint(tmp_path / "huge.safetensors", Checkpoint(header, checkpoint.weights))
    with pytest.raises(CheckpointError, match="do not fit the network"):
        load_checkpoint(tmp_path / "huge.safetensors")


def test_a_failed_write_leaves_the_former_file(
    saved: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(saved, checkpoint)
    assert saved.read_bytes() == before
    assert [p.name for p in saved.parent.iterdir()] == [saved.name]
