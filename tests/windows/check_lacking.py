"""With a rasapi32.dll that lacks exports: an optional one takes its feature away, a required one the whole system (S8.77).

SPDX-License-Identifier: MIT
"""

import sys

import ras_ext

what, data = sys.argv[1:]
if what == "required":
    try:
        ras_ext.open("system")
    except ras_ext.NotAvailableError as error:
        assert isinstance(error, NotImplementedError)
        print("without RasHangUpW: NotAvailableError from open()")
    else:
        raise SystemExit("opened without RasHangUpW")
else:
    with ras_ext.open("system", phonebook=data + r"\office.pbk") as client:
        with client.dial("Office VPN").result(30) as connection:  # without RasGetEntryDialParamsW: nothing is saved
            assert connection.status().state is ras_ext.State.Connected
        try:
            client.validate_entry_name("New one")
        except ras_ext.NotAvailableError as error:
            assert isinstance(error, NotImplementedError)
        else:
            raise SystemExit("a missing function was called")
    print("without RasValidateEntryNameW: NotAvailableError from that call, dialling works")
