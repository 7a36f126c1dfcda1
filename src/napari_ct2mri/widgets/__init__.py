"""The viewer: npe2 contributions and panels. Qt stays in this package, heavy work out of it.

Importing the package imports nothing; ``napari.yaml`` names what napari loads, and when.
"""
