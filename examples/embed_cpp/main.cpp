/* Dials an entry from C++, tells what happens, hangs up again. SPDX-License-Identifier: MIT
 *
 *     c++ $(python -m ras_ext --cflags) main.cpp $(python -m ras_ext --libs) -o dialer
 *     ./dialer office.pbk "Office VPN" [system]     without the last word: on the simulated machine
 */
#include "ras_ext.h"
#include <iostream>
#include <memory>
struct Close {
    void operator()(rasx_queue *queue) const { rasx_queue_close(queue); }
    void operator()(rasx_client *client) const { rasx_close(client, 5000); }
};

int main(int argc, char **argv)
{
    rasx_client *opened = nullptr;
    uint32_t code = rasx_open(argc > 3 ? argv[3] : "sim", argc > 1 ? argv[1] : "office.pbk", &opened);
    const std::unique_ptr<rasx_client, Close> client(opened);
    rasx_queue *filled = nullptr;
    if (code == 0) code = rasx_queue_open(client.get(), nullptr, nullptr, &filled);
    const std::unique_ptr<rasx_queue, Close> queue(filled); // closed before its client
    rasx_dial_options options{};
    options.size = sizeof options, options.timeout_ms = 60000, options.entry = argc > 2 ? argv[2] : "Office VPN";
    rasx_dial dial = 0;
    if (code == 0) code = rasx_dial_start(queue.get(), &options, &dial); // returns at once
    uint32_t ready = 0, count = 0, settled = 0, failed = 0, ended = 0;
    while (code == 0 && !settled) {
        rasx_event events[16];
        code = rasx_queue_wait(queue.get(), RASX_FOREVER, 0, &ready);
        if (code == 0) code = rasx_queue_drain(queue.get(), events, 16, &count);
        for (const rasx_event *event = events; code == 0 && event < events + count; event++) {
            settled = event->outcome == RASX_OUTCOME_SETTLED; // the last record of every dial
            if (!settled) std::cout << "state " << event->state << " error " << event->error << '\n';
            if (event->outcome == RASX_OUTCOME_FAILED) failed = event->error;
            if (event->outcome == RASX_OUTCOME_CONNECTED) code = rasx_hang_up(client.get(), event->handle, 0, 0, 10000, &ended);
        }
    }
    return failed || code ? (std::cerr << "error " << (failed ? failed : code) << '\n', 1) : 0;
}
