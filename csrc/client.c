/* client.c: opening and closing.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

static rasx__a32 open_clients;

uint32_t rasx__client_total(void) { return rasx__load(&open_clients); }

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
    uint32_t code = rasx__start_once();
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
