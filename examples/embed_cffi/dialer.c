/* Dials once through the function table of ras_ext's core, counts the events, hangs up. SPDX-License-Identifier: MIT */
#include "ras_ext.h"
#include <stddef.h>

uint32_t dial_once(const rasx_api *ras, const char *phonebook, const char *entry, uint32_t *events);

uint32_t dial_once(const rasx_api *ras, const char *phonebook, const char *entry, uint32_t *events)
{
    rasx_dial_options options = {.size = sizeof options, .entry = entry, .timeout_ms = 60000};
    rasx_client *client = NULL;
    rasx_queue *queue = NULL;
    rasx_dial dial;
    uint32_t ready, ended, failed = 0, settled = 0;
    /* hang_up is the last member used here: a core whose table is shorter is older than this header */
    if (ras->abi != RASX_ABI || ras->size < offsetof(rasx_api, hang_up) + sizeof ras->hang_up) return RASX_E_NOT_AVAILABLE;
    uint32_t code = ras->open("sim", phonebook, &client);
    if (code == 0) code = ras->queue_open(client, NULL, NULL, &queue);
    if (code == 0) code = ras->dial_start(queue, &options, &dial);
    while (code == 0 && !settled) {
        rasx_event batch[16];
        uint32_t count = 0;
        code = ras->queue_wait(queue, RASX_FOREVER, 0, &ready);
        if (code == 0) code = ras->queue_drain(queue, batch, 16, &count);
        for (const rasx_event *event = batch; event < batch + count; event++) {
            settled = event->outcome == RASX_OUTCOME_SETTLED;
            *events += !settled;
            if (event->outcome == RASX_OUTCOME_FAILED) failed = event->error;
            if (event->outcome == RASX_OUTCOME_CONNECTED) code = ras->hang_up(client, event->handle, 0, 0, 10000, &ended);
        }
    }
    if (queue) ras->queue_close(queue);
    if (client) (void)ras->close(client, 5000);
    return failed ? failed : code;
}
