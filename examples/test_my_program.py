"""How to test a program that dials, with no Windows and no network: the fixture `ras_sim` comes with ras_ext.

SPDX-License-Identifier: MIT

    pytest test_my_program.py
"""

import pytest

import ras_ext
from ras_ext.testing import RasSim


def connect(tries: int = 3) -> ras_ext.Connection:
    """The program: dials, and dials again while the line is busy."""
    for left in reversed(range(tries)):
        try:
            return ras_ext.dial("Office VPN", username="ada", password="lovelace").result(timeout=60)
        except ras_ext.RasError as problem:
            if not problem.transient or not left:
                raise
    raise ValueError("tries must be positive")


def test_a_wrong_password_is_tried_once(ras_sim: RasSim) -> None:
    ras_sim.account("Office VPN", "ada", "byron")
    with pytest.raises(ras_ext.AuthenticationError):
        connect()
    assert ras_sim.calls("RasDialW") == 1


def test_a_busy_line_is_tried_three_times(ras_sim: RasSim) -> None:
    # Half a minute each, which nobody has to wait for.
    ras_sim.script("Office VPN", [{"state": "OpenPort"}, {"state": "ConnectDevice", "delay_ms": 30_000, "error": 676}])
    with pytest.raises(ras_ext.LineError):
        connect()
    assert (ras_sim.calls("RasDialW"), ras_sim.now >= 90) == (3, True)
