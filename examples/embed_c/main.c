/* Dials an entry from C, tells what happens, hangs up again. SPDX-License-Identifier: MIT
 *
 *     cc $(python -m ras_ext --cflags) main.c $(python -m ras_ext --libs) -o dialer
 *     ./dialer office.pbk "Office VPN"            on the simulated machine, anywhere
 *     ./dialer office.pbk "Office VPN" system     for real, on Windows
 */
#include "ras_ext.h"
#include <stdio.h>

int main(int argc, char **argv)
{
    rasx_dial_options options = {.size = sizeof options, .entry = argc > 2 ? argv[2] : "Office VPN", .timeout_ms = 60000};
    rasx_client *client = NULL;
    rasx_queue *queue = NULL;
    uint64_t dial, handle = 0;
    uint32_t failed = 0, settled = 0, ended = RASX_HANGUP_NONE;
    char text[512];
    uint32_t code = rasx_open(argc > 3 ? argv[3] : "sim", argc > 1 ? argv[1] : "office.pbk", &client);
    if (code == 0) code = rasx_queue_open(client, NULL, NULL, &queue);
    if (code == 0) code = rasx_dial_start(queue, &options, &dial); /* returns at once */
    while (code == 0 && !settled) {                                /* the last record of every dial */
        rasx_event events[16];
        uint32_t ready, count = 0;
        code = rasx_queue_wait(queue, RASX_FOREVER, 0, &ready);
        if (code == 0) code = rasx_queue_drain(queue, events, 16, &count);
        for (const rasx_event *event = events; event < events + count; event++) {
            if (event->outcome == RASX_OUTCOME_SETTLED) settled = 1;
            else printf("state %u error %u\n", (unsigned)event->state, (unsigned)event->error);
            if (event->outcome == RASX_OUTCOME_CONNECTED) handle = event->handle;
            if (event->outcome == RASX_OUTCOME_FAILED) failed = event->error;
        }
    }
    if (handle != 0) code = rasx_hang_up(client, handle, 0, 0, 10000, &ended); /* left out, the connection stays up */
    if (failed != 0) code = failed;
    if (code != 0 && rasx_error_text(client, code, text, sizeof text) == 0) fprintf(stderr, "%u: %s\n", (unsigned)code, text);
    if (code == 0) printf("hung up: %u\n", (unsigned)ended); /* enum rasx_hangup */
    if (queue) rasx_queue_close(queue);
    return (client && rasx_close(client, 5000) != 0) || code != 0;
}
