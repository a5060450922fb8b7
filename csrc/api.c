/* api.c: the counters, and the function table for other modules of the process.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core.h"

#include <string.h>

void rasx_get_counters(rasx_counters *counters)
{
    if (!counters) return;
    memset(counters, 0, sizeof *counters);
    if (rasx__forked()) return;
    rasx__slot_census(&counters->slots, &counters->abandoned);
    counters->threads = rasx__thread_total();
    counters->queues = rasx__queue_total();
    counters->clients = rasx__client_total();
    counters->references = rasx__reference_total();
}

static const rasx_api api_table = {
    .size = (uint32_t)sizeof(rasx_api),
    .abi = RASX_ABI,
    .open = rasx_open,
    .close = rasx_close,
    .now_ns = rasx_now_ns,
    .queue_open = rasx_queue_open,
    .queue_close = rasx_queue_close,
    .queue_wait = rasx_queue_wait,
    .queue_drain = rasx_queue_drain,
    .queue_wake = rasx_queue_wake,
    .dial_start = rasx_dial_start,
    .dial_cancel = rasx_dial_cancel,
    .dial_lost = rasx_dial_lost,
    .get_status = rasx_get_status,
    .hang_up = rasx_hang_up,
    .list_connections = rasx_list_connections,
    .list_entries = rasx_list_entries,
    .list_devices = rasx_list_devices,
    .validate_entry_name = rasx_validate_entry_name,
    .error_text = rasx_error_text,
    .error_name = rasx_error_name,
    .get_counters = rasx_get_counters,
    .sim_get_api = rasx_sim_get_api,
    .window_post = rasx_window_post,
    .dial_resume = rasx_dial_resume,
    .dial_paused = rasx_dial_paused,
    .link_handle = rasx_link_handle,
    .link_hang_up = rasx_link_hang_up,
    .sim_of = rasx_sim_of,
    .watch_open = rasx_watch_open,
    .watch_wait = rasx_watch_wait,
    .watch_wake = rasx_watch_wake,
    .watch_close = rasx_watch_close,
    .queue_set_socket = rasx_queue_set_socket,
    .queue_timeout = rasx_queue_timeout,
    .hang_up_start = rasx_hang_up_start,
    .clock_is_virtual = rasx_clock_is_virtual,
};

const rasx_api *rasx_get_api(void) { return &api_table; }
