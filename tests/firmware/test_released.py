"""The released model for small DSPs on real slices: how near its float network, and exact in C."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ct2mri.evaluation.metrics import psnr, ssim
from napari_ct2mri.firmware.build import build
from napari_ct2mri.firmware.container import unpack
from napari_ct2mri.firmware.export import export
from napari_ct2mri.firmware.reference import dequantize_output, each_layer, quantize_input
from napari_ct2mri.firmware.simulate import simulated
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.engines import load_generator
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.slices import load_slices
from napari_ct2mri.pix2pix.zoo import find_model

EVERY = 7  # of the 40 T2 val slices
RANGE = 2.0  # of images in [-1, 1]


def test_ct2mri_dsp8_keeps_its_quality_and_its_bits(real_data: Path, tmp_path: Path) -> None:
    if shutil.which("cc") is None or shutil.which("make") is None:
        pytest.skip("no C compiler, or no make")
    pairs = read_pairs(real_data / "pairs.csv")
    checkpoint = load_checkpoint(find_model("ct2mri-dsp8"))
    folder = tmp_path / "fw"
    run_job(export(checkpoint, "ct2mri-dsp8", folder, pairs), lambda event: None)
    run_job(build(folder, "host"), lambda event: None)
    model = unpack((folder / "model.ctm").read_bytes()).model
    slices = run_job(
        load_slices(pairs.where("val", "T2"), checkpoint.config.model), lambda event: None
    )
    generator = load_generator(checkpoint, torch.device("cpu"))
    near, change = [], []
    with simulated(folder, "host") as line:
        for i in range(0, len(slices), EVERY):
            ct = slices.ct[i].astype(np.float32)
            with torch.inference_mode():
                floating = generator(torch.from_numpy(ct[None]))[0, 0].numpy()
            made, digests = line.run_with_digests(quantize_input(ct))
            layers = each_layer(model, quantize_input(ct))
            assert digests == [hashlib.sha256(np.ascontiguousarray(a)).digest() for a in layers]
            fake, real = dequantize_output(made), slices.mr[i].astype(np.float32)
            near.append(psnr(fake, floating, RANGE))
            change.append(
                [psnr(each, real, RANGE, slices.head[i]) for each in (fake, floating)]
                + [ssim(each + 1, real + 1, RANGE, slices.head[i]) for each in (fake, floating)]
            )
    assert np.mean(near) > 45
    assert min(near) > 40
    psnr_q, psnr_f, ssim_q, ssim_f = np.transpose(change)
    assert np.abs(psnr_q - psnr_f).max() < 0.1
    assert np.abs(ssim_q - ssim_f).max() < 0.005
