"""Several links in one connection (S2.3d, S4.10), and devices whose names are translated.

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ras_ext
from ras_ext import Client, Dial, HangUp, LineError, Link, State
from ras_ext.sim import Machine

MODEM = ["MEDIA=serial", "Port=COM3", "Device=Standard Modem", "", "DEVICE=modem", "PhoneNumber=555", ""]


@pytest.fixture
def client(sim: Machine, tmp_path: Path) -> Iterator[Client]:
    """A client whose phone book has bundles."""
    lines = [
        *("[Bundle]", "Type=1", "DialMode=1", "", *MODEM, *MODEM),
        *("[Three]", "Type=1", "DialMode=1", "", *MODEM, *MODEM, *MODEM),
        *("[Needed]", "Type=1", "DialMode=2", "", *MODEM, *MODEM),
        *(
            "[Localised]",
            "Type=2",
            "MEDIA=rastapi",
            "Port=VPN2-0",
            "Device=WAN 微型端口 (L2TP)",
            "DEVICE=vpn",
            "PhoneNumber=vpn.example",
            "",
        ),
    ]
    book = tmp_path / "bundles.pbk"
    book.write_bytes("\r\n".join(lines).encode())
    with ras_ext.open("sim", phonebook=book) as opened:
        yield opened


def steps(*told: tuple[int, int, int]) -> list[Any]:
    """(state, error, subentry), a millisecond apart."""
    return [{"delay_ms": 1, "state": state, "error": error, "subentry": subentry} for state, error, subentry in told]


def story(dial: Dial) -> list[tuple[int, int, int]]:
    return [(int(event.state), event.error, event.subentry) for event in dial.events]


def test_s8_74_interleaved_subentries_and_one_connection(virtual: Machine, client: Client) -> None:
    """Each link walks its own states; events carry the link; one Connected closes the bundle."""
    dial = client.dial("Bundle")
    connection = dial.result()
    for subentry in (1, 2):
        walked = [event.state for event in dial.events if event.subentry == subentry]
        assert walked[:3] == [State.OpenPort, State.PortOpened, State.ConnectDevice]
        assert State.SubEntryConnected in walked
    assert [event.state for event in dial.events].count(State.Connected) == 1
    assert [link.subentry for link in connection.links()] == [1, 2]
    assert connection.hang_up() is HangUp.GONE


def test_s8_74_one_link_fails_while_another_connects(virtual: Machine, client: Client) -> None:
    """The error of a link is an event, not the outcome; even when it comes before anything of the other link."""
    virtual.script("Bundle", steps((2, 676, 2), (23, 0, 2), (0, 0, 1), (22, 0, 1), (8192, 0, 1)))
    dial = client.dial("Bundle")
    with dial.result() as connection:
        first = dial.events[0]
        assert (first.error, first.subentry, first.failed) == (676, 2, False)
        links = connection.links()
        assert [(link.subentry, link.up) for link in links] == [(1, True), (2, False)]
        assert links[1].handle == 0
        with pytest.raises(LineError) as raised:
            links[1].status()
        assert raised.value.code == 618
        assert links[1].hang_up() is False
    assert virtual.calls("RasHangUpW") == 1


def test_s8_74_the_default_script_of_a_bundle_that_half_fails(virtual: Machine, client: Client) -> None:
    """One line answers, the other is busy: a success."""
    virtual.script("Bundle", "multilink2")
    with client.dial("Bundle").result() as connection:
        assert [link.up for link in connection.links()] == [True, False]


@pytest.mark.parametrize("last", [0, 1, 2, 3])
def test_s8_74_the_final_connected_comes_for_any_subentry(virtual: Machine, client: Client, last: int) -> None:
    """Also for one that failed, or for none."""
    virtual.script("Three", steps((22, 0, 1), (2, 678, 2), (22, 0, 3), (8192, 0, last)))
    with client.dial("Three").result() as connection:
        assert [link.up for link in connection.links()] == [True, False, True]


@pytest.mark.parametrize("notifier", ["func2", "func1", "func"])
def test_s8_74_every_link_fails(virtual: Machine, client: Client, notifier: Any) -> None:
    """The dial fails with the first error, also where the notifier does not tell whose it is; one RasHangUp."""
    virtual.script("Bundle", steps((0, 0, 1), (0, 0, 2), (6, 691, 2), (23, 0, 2), (2, 676, 1)))
    dial = client.dial("Bundle", notifier=notifier)
    with pytest.raises(ras_ext.AuthenticationError) as raised:
        dial.result()
    assert raised.value.code == 691
    assert virtual.calls("RasHangUpW") == 1
    if notifier == "func2":
        assert (2, 676, 1) in story(dial)


def test_s8_74_ras_says_it_of_the_whole(virtual: Machine, client: Client) -> None:
    """Disconnected ends it although one link was never heard of; the first error is kept."""
    virtual.script("Three", steps((2, 676, 1), (2, 678, 2), (8193, 0, 2)))
    with pytest.raises(LineError) as raised:
        client.dial("Three").result()
    assert raised.value.code == 676


def test_dial_as_needed_has_one_link_at_first(virtual: Machine, client: Client) -> None:
    """Only the chosen subentry is dialled, so its error is that of the dial."""
    with client.dial("Needed", subentry=2).result() as connection:
        assert [(link.subentry, link.up) for link in connection.links()] == [(1, False), (2, True)]
    virtual.script("Needed", steps((0, 0, 2), (2, 676, 2)))
    with pytest.raises(LineError) as raised:
        client.dial("Needed", subentry=2).result()
    assert (raised.value.code, raised.value.origin) == (676, ras_ext.Origin.Notifier)


@pytest.mark.parametrize("link_gone", [0, 1, 2])
def test_s8_48_hanging_up_one_link(virtual: Machine, client: Client, link_gone: int) -> None:
    """That link goes at once for the caller, whatever its status says afterwards; the rest stays up."""
    virtual.knob("link_gone", link_gone)
    connection = client.dial("Three").result()
    first, second, third = connection.links()
    assert len({link.handle for link in (first, second, third)} | {connection.handle}) == 4
    assert second.status().state is State.Connected
    before = virtual.now
    assert second.hang_up() is True
    assert virtual.now == before  # no waiting for a code 6 that need not come
    assert second.hang_up() is False
    if link_gone == 2:
        with pytest.raises(ras_ext.DisconnectedError):
            second.status()
    else:
        assert second.status().state is (State.Disconnected if link_gone else State.Connected)
    assert connection.status().state is State.Connected
    assert [link.up for link in connection.links()] == [True, False, True]
    assert first.status().device_type == "modem"
    assert virtual.counters.ports == 2
    assert connection.hang_up() is HangUp.GONE
    with pytest.raises(ras_ext.DisconnectedError):
        connection.links()
    assert third.hang_up() is False


def test_s8_48_the_last_link_takes_the_connection_with_it(virtual: Machine, client: Client) -> None:
    """A bundle lives as long as one link does."""
    connection = client.dial("Bundle").result()
    assert [link.hang_up() for link in connection.links()] == [True, True]
    with pytest.raises(ras_ext.DisconnectedError):
        connection.status()
    assert connection.hang_up() is HangUp.GONE


def test_a_plain_connection_has_one_link(virtual: Machine, client: Client) -> None:
    """And a Link shows where it belongs."""
    with client.dial("Localised").result() as connection:
        (link,) = connection.links()
        assert isinstance(link, Link)
        assert repr(link) == f"<ras_ext.Link 1 of 'Localised', {link.handle:#x}>"


def test_links_when_ras_refuses(virtual: Machine, client: Client) -> None:
    """Another code of RasGetSubEntryHandle, and of RasHangUp, is told as it is."""
    with client.dial("Bundle").result() as connection:
        link = connection.links()[0]
        virtual.fault("RasGetSubEntryHandleW", 5, times=1)
        with pytest.raises(ras_ext.AccessError):
            connection.links()
        virtual.fault("RasHangUpW", 753, times=1)
        with pytest.raises(ras_ext.RasError, match="753"):
            link.hang_up()


def test_s8_61_s8_63_the_number_of_links_from_an_old_system(virtual: Machine, client: Client) -> None:
    """RASENTRY is asked for in older and older versions on 632; one without dwSubEntries leaves the number unknown."""
    virtual.script("Bundle", steps((2, 676, 2), (22, 0, 1), (8192, 0, 1)))
    virtual.knob("entry_size", 3496)
    with client.dial("Bundle").result():
        assert virtual.calls("RasGetEntryPropertiesW") == 6
    with client.dial("Bundle").result():
        assert virtual.calls("RasGetEntryPropertiesW") == 7  # what fits is remembered
    virtual.fault("RasGetEntryPropertiesW", 5)
    with pytest.raises(LineError):  # nobody could know of the other link
        client.dial("Bundle").result()


def test_s8_76_devices_are_known_by_type(virtual: Machine, client: Client) -> None:
    """Device names are translated; the type is not."""
    with client.dial("Localised").result() as connection:
        assert connection.device_name == "WAN 微型端口 (L2TP)"
        assert connection.device_type == "vpn"
        assert [found.device_type for found in client.connections()] == ["vpn"]
