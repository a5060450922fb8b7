/* client.c: opening and closing, what a fork does to us, counters, and the function table for other modules.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

/* --- The process --- */

static rasx__a32   forked;
static rasx__a32   open_clients;
static rasx__mutex start_lock = RASX_MUTEX_INIT;
static int         started;
static char16_t    pad[257];

static void on_fork_child(void) { rasx__store_seq(&forked, 1); }

int rasx__forked(void) { return rasx__load(&forked) != 0; }

const char16_t *rasx__pad(void) { return started ? pad : NULL; }

static uint32_t start_once(void)
{
    rasx__lock(&start_lock);
    if (!started && rasx__random(pad, sizeof pad) == 0) {
        rasx__on_fork_child(on_fork_child);
        rasx__stay_loaded();
        started = 1;
    }
    int ok = started;
    rasx__unlock(&start_lock);
    return ok ? 0 : 8;
}

/* --- Clients --- */

void rasx__client_hold(rasx_client *client) { (void)rasx__add(&client->users, 1); }

void rasx__client_drop(rasx_client *client)
{
    if (rasx__sub(&client->users, 1) != 1) return;
    rasx__event_destroy(&client->idle);
    free(client->phonebook);
    free(client);
}

uint32_t rasx__open_table(const rasapi *ras, rasx_clock *clock, const char *phonebook, rasx_client **client)
{
    *client = NULL;
    if (rasx__forked()) return RASX_E_FORKED;
    if (!ras) return RASX_E_NOT_AVAILABLE;
    uint32_t code = start_once();
    if (code != 0) return code;
    rasx_client *opened = calloc(1, sizeof *opened);
    if (!opened) return 8;
    size_t bytes = phonebook ? strlen(phonebook) + 1 : 0;
    opened->phonebook = bytes ? malloc(bytes) : NULL;
    if ((bytes && !opened->phonebook) || rasx__event_init(&opened->idle) != 0) {
        free(opened->phonebook);
        free(opened);
        return 8;
    }
    if (bytes) memcpy(opened->phonebook, phonebook, bytes);
    opened->ras = ras;
    opened->clock = clock;
    rasx__store(&opened->users, 1);
    (void)rasx__add(&open_clients, 1);
    *client = opened;
    return 0;
}

/* The simulated machine in the system's rasapi32.dll, if that DLL is ours, of this version. The clock then is that machine's. */
static const rasx_sim_api *system_sim(void)
{
    const rasx_sim_api *(*get)(void) = (const rasx_sim_api *(*)(void))(uintptr_t)rasapi_system_export("rasx_sim_get_api");
    const rasx_sim_api *sim = get ? get() : NULL;
    return sim && sim->size >= sizeof *sim && sim->abi == RASX_ABI ? sim : NULL;
}

const rasx_sim_api *rasx_sim_of(rasx_client *client)
{
    if (!client) return NULL;
    if (client->ras == rasapi_sim()) return rasx_sim_get_api();
    return client->ras == rasapi_system() ? system_sim() : NULL;
}

uint32_t rasx_open(const char *api, const char *phonebook, rasx_client **client)
{
    if (!api || !client) return RASX_E_INVALID;
    if (strcmp(api, "sim") == 0) return rasx__open_table(rasapi_sim(), rasx_sim_get_api()->clock_object(), phonebook, client);
    if (strcmp(api, "system") == 0) {
        const rasx_sim_api *sim = system_sim();
        rasx_clock *clock = sim ? sim->clock_object() : rasx__clock_real();
        return rasx__open_table(rasapi_system(), clock, phonebook, client);
    }
    *client = NULL;
    return RASX_E_INVALID;
}

uint32_t rasx_close(rasx_client *client, uint32_t timeout_ms)
{
    uint32_t open = 0;
    if (!client) return RASX_E_INVALID;
    if (rasx__forked()) return RASX_E_FORKED;
    if (!rasx__cas(&client->closed, &open, 1)) return RASX_E_CLOSED;
    rasx__cancel_where(client, NULL);
    rasx_clock *clock = client->clock;
    uint64_t bound_ns = timeout_ms == RASX_FOREVER ? RASX_NEVER : (uint64_t)timeout_ms * 1000000u;
    uint64_t start_ns = clock->now(clock), real_ns = rasx__now_ns();
    uint64_t deadline_ns = bound_ns == RASX_NEVER ? RASX_NEVER : start_ns + bound_ns;
    /* Bounded on the client's clock, and in real time too: a virtual clock stands still while a thread is stuck. */
    while (rasx__load_seq(&client->threads) != 0 && clock->now(clock) < deadline_ns && rasx__now_ns() - real_ns < bound_ns) {
        (void)clock->wait(clock, &client->idle, deadline_ns, 0);
    }
    uint32_t code = rasx__load_seq(&client->threads) == 0 ? 0 : 258;
    (void)rasx__sub(&open_clients, 1);
    rasx__client_drop(client);
    return code;
}

uint64_t rasx_now_ns(rasx_client *client) { return client ? client->clock->now(client->clock) : rasx__now_ns(); }

uint32_t rasx_clock_is_virtual(rasx_client *client) { return client ? (uint32_t)rasx__clock_is_virtual(client->clock) : 0; }

void rasx_get_counters(rasx_counters *counters)
{
    if (!counters) return;
    memset(counters, 0, sizeof *counters);
    if (rasx__forked()) return;
    rasx__slot_census(&counters->slots, &counters->abandoned);
    counters->threads = rasx__thread_total();
    counters->queues = rasx__queue_total();
    counters->clients = rasx__load(&open_clients);
    counters->references = rasx__reference_total();
}

/* --- The function table --- */

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
