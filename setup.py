"""Builds the extension and chooses the wheel's tag; everything that is data stands in pyproject.toml.

SPDX-License-Identifier: MIT
"""

import sysconfig

from setuptools import setup

# One wheel serves every CPython from 3.10 on. Free-threaded builds cannot load it: their wheels are for one version each.
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

setup(
    cffi_modules=["ras_ext/_build.py:ffibuilder"],
    options={} if free_threaded else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
