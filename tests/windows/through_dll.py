"""A pytest plugin that lets tests of the simulated machine run unchanged over our rasapi32.dll: -p through_dll.

SPDX-License-Identifier: MIT

`open("sim")` opens the system's RAS and `sim.control()` controls the machine inside that DLL, whose marker export proves
that it is ours. Nothing else changes.
"""

from __future__ import annotations

from typing import Any

import ras_ext
import ras_ext.sim

_open = ras_ext.open
with _open("system") as _probe:
    _machine = ras_ext.sim.control(_probe)  # NotAvailableError: not our DLL


def _open_system(api: str = "system", **keywords: Any) -> ras_ext.Client:
    return _open("system" if api == "sim" else api, **keywords)


def _control(client: ras_ext.Client | None = None) -> ras_ext.sim.Machine:
    return _machine if client is None else _control_of(client)


_control_of = ras_ext.sim.control
ras_ext.open = _open_system
ras_ext.sim.control = _control
