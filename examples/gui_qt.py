"""A window of Qt that shows a dial's progress: the event loop waits on the client's socket, and nothing runs on other threads.

SPDX-License-Identifier: MIT

    python gui_qt.py --api sim            needs PySide6
"""

import argparse
import sys
from pathlib import Path

from PySide6.QtCore import QSocketNotifier
from PySide6.QtWidgets import QApplication, QLabel

import ras_ext

OFFICE = Path(__file__).parent.parent / "tests" / "data" / "office.pbk"  # a phone book for the simulated machine
parser = argparse.ArgumentParser(description="Dial, and show it in a window.")
parser.add_argument("entry", nargs="?", default="Office VPN")
parser.add_argument("--api", choices=("system", "sim"), default="system")
options = parser.parse_args()
application = QApplication(sys.argv[:1])
label = QLabel("dialling")
label.show()
with ras_ext.open(options.api, phonebook=OFFICE if options.api == "sim" else None) as client, client.pollable() as pollable:
    dial = pollable.dial(options.entry)

    def look() -> None:
        pollable.poll()
        label.setText("\n".join(event.state.name for event in dial.events))
        if dial.done():
            application.quit()

    notifier = QSocketNotifier(pollable.fileno(), QSocketNotifier.Type.Read)
    notifier.activated.connect(look)
    application.exec()
    notifier.setEnabled(False)
    print(label.text())
    dial.result().hang_up()
