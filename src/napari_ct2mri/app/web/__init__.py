"""``ct2mri web``: the project as a page in the browser of this machine, made with Streamlit.

The command starts a server in a child process (``serving``, ``server``), which runs ``page`` for
each visitor. What is shown is a ``case`` of the sample or of ``uploads``, as ``pictures`` in a
``viewer``. The server listens on 127.0.0.1 alone, and neither it nor the page asks any other host.
"""

from napari_ct2mri.app.web.serving import serving

__all__ = ["serving"]
