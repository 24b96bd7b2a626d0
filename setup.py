"""Build the compiled hot path; everything static stands in pyproject.toml.

Two switches, for developers, each an environment variable set to 1:

    HEADGATE_ANNOTATE=1     also write gateway/_sseparse.html: the C behind each line, the
                            slower the yellower
    HEADGATE_LINETRACE=1    let coverage see the lines of the .pyx (plugin Cython.Coverage);
                            far slower, never for a bench

To go back, `touch gateway/_sseparse.pyx` and build again.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup


annotate = os.environ.get("HEADGATE_ANNOTATE") == "1"
linetrace = os.environ.get("HEADGATE_LINETRACE") == "1"

setup(
    ext_modules=cythonize(
        Extension(
            "gateway._sseparse",
            ["gateway/_sseparse.pyx"],
            # Debian's Python asks for -O2.  Not -march=native: a wheel must run elsewhere too.
            extra_compile_args=["-O3"],
            define_macros=[("CYTHON_TRACE", "1")] if linetrace else [],
        ),
        compiler_directives={"language_level": 3, "linetrace": linetrace},
        annotate=annotate,
        # A switch changes what the C is, which file times do not show.
        force=annotate or linetrace,
    )
)
