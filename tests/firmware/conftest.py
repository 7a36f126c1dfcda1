from __future__ import annotations

import shutil

import pytest
from native import UNDEFINED, Native, compile_c, core


@pytest.fixture(scope="session", params=["gcc", "clang"])
def native(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Native:
    """The runtime under the undefined behaviour sanitizer, by each compiler."""
    compiler = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    target = tmp_path_factory.mktemp("native") / f"runtime-{compiler}.so"
    flags = ["-O3", "-march=native", "-shared", "-fPIC"]
    return Native(compile_c(compiler, [*flags, *UNDEFINED], core(), target))
