"""CT to MR in napari: pair, train, synthesize, measure. Research only; not a diagnostic device."""

__version__ = "0.1.0"
