"""The pytest plugin of ras_ext: the fixture `ras_sim`, a simulated RAS for the tests of programs that dial.

SPDX-License-Identifier: MIT

It is installed as the package `ras_ext_pytest`, beside `ras_ext` and not inside it: pytest imports every installed plugin
at its start, and importing anything inside `ras_ext` would load all of it and its C core into runs that never dial.
The fixture imports `ras_ext.testing` when the first test asks for it. docs/testing-your-code.md is the manual.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ras_ext.testing import RasSim

_OPTIONS = ("entries", "phonebook", "clock", "scenario", "leaves", "as_system")
_ONE_MACHINE = "there is one simulated RAS in a process (ras_sim)"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "ras_sim(clock='virtual', entries=[...], phonebook=path, scenario={...}, leaves=[...], as_system=True): "
        "gives the test a simulated RAS, the fixture ras_sim, set up like this",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    names = getattr(item, "fixturenames", None)
    if names is None:
        return
    if "ras_sim" not in names and item.get_closest_marker("ras_sim") is not None:
        names.insert(0, "ras_sim")  # a marker without effect would let the test, or its other fixtures, dial for real
    if "ras_sim" in names and item.config.pluginmanager.has_plugin("_run-parallel"):
        item.add_marker(pytest.mark.thread_unsafe(reason=_ONE_MACHINE))  # pytest-run-parallel then takes one thread


def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keywords of the test's markers; the nearest one wins."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("ras_sim"))):
        unknown = [name for name in mark.kwargs if name not in _OPTIONS]
        if unknown or mark.args:
            wrong = ", ".join(unknown) or "an argument without a name"
            pytest.fail(f"the marker ras_sim takes the keywords {', '.join(_OPTIONS)}, and not {wrong}", pytrace=False)
        options |= mark.kwargs
    for name in ("phonebook", "scenario"):  # paths are told from the test's own folder
        if isinstance(options.get(name), (str, Path)):
            options[name] = request.path.parent / options[name]
    return options


@pytest.fixture
def ras_sim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RasSim]:
    """A simulated RAS for this test: a fresh machine, its phone book, and a check that nothing of RAS is left at the end."""
    from ras_ext.testing import LeftoverError, RasSim

    try:
        opened = RasSim(tmp_path, user=f"the test {request.node.nodeid}", **_options(request))
    except RuntimeError as refused:
        raise pytest.fail.Exception(str(refused), pytrace=False) from None
    yield opened
    try:
        opened.close()
    except LeftoverError as left:  # an error of the teardown, beside what the test itself may have failed with
        raise pytest.fail.Exception(str(left), pytrace=False) from None
