"""Released checkpoints and their cards: data only, read by ``napari_ct2mri.pix2pix.zoo``."""
