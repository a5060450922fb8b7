/* fake.c: a RAS that hands the notifier and the id of each dial to the benchmark, and keeps the caller inside RasDial.
 *
 * SPDX-License-Identifier: MIT
 */
#include "bench.h"
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rasx__mutex lock = RASX_MUTEX_INIT;
static rasx__cond  changed = RASX_COND_INIT;
static int         hold;
static uint32_t    inside, most;
static uintptr_t  *ids;
static void       *notifier;
static rasx_client *client;
static rasx_queue  *its_queue;

static uint32_t RASAPI_CALL fake_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                      uint32_t kind, void *function, HRASCONN *connection)
{
    (void)extensions;
    (void)phonebook;
    (void)kind;
    rasx__lock(&lock);
    if (inside < most) ids[inside] = params->dwCallbackId;
    inside++;
    notifier = function;
    *connection = (HRASCONN)(uintptr_t)(0x10000u + inside);
    rasx__cond_signal_all(&changed);
    while (hold) rasx__cond_wait(&changed, &lock, 0xFFFFFFFFu);
    inside--;
    rasx__unlock(&lock);
    return 0;
}

static uint32_t RASAPI_CALL fake_hang_up(HRASCONN connection)
{
    (void)connection;
    return 0;
}

static uint32_t RASAPI_CALL fake_status(HRASCONN connection, RASCONNSTATUSW *status)
{
    (void)connection;
    (void)status;
    return 6;
}

uint32_t bench_open(uint32_t dials, uint32_t capacity, rasx_queue **queue)
{
    static rasapi table;
    rasx_dial_options options;
    rasx_dial dial;
    uint32_t code;
    table.RasDialW = fake_dial;
    table.RasHangUpW = fake_hang_up;
    table.RasGetConnectStatusW = fake_status;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.notifier = RASX_NOTIFIER_FUNC2;
    options.username = "ada";
    options.timeout_ms = RASX_FOREVER;
    options.capacity = capacity;
    free(ids);
    ids = calloc(dials, sizeof *ids);
    if (ids == NULL) return 8;
    most = dials;
    hold = 1;
    code = rasx__open_table(&table, rasx__clock_real(), NULL, &client);
    if (code == 0) code = rasx_queue_open(client, NULL, NULL, &its_queue);
    for (uint32_t i = 0; i < dials && code == 0; i++) {
        char entry[32];
        (void)snprintf(entry, sizeof entry, "Entry %05u", (unsigned)i);
        options.entry = entry;
        code = rasx_dial_start(its_queue, &options, &dial);
    }
    *queue = its_queue;
    if (code != 0) return code;
    rasx__lock(&lock);
    while (inside < dials && rasx__thread_total() >= dials) rasx__cond_wait(&changed, &lock, 100);
    code = inside < dials ? 8 : 0; /* the system refused a thread */
    rasx__unlock(&lock);
    return code;
}

uint32_t bench_close(void)
{
    uint32_t code;
    rasx__lock(&lock);
    hold = 0;
    rasx__cond_signal_all(&changed);
    rasx__unlock(&lock);
    code = rasx_close(client, 30000);
    rasx_queue_close(its_queue);
    return code;
}

uint32_t bench_inside(void)
{
    uint32_t count;
    rasx__lock(&lock);
    count = inside;
    rasx__unlock(&lock);
    return count;
}

uint32_t      bench_dial_count(void) { return most; }
uintptr_t     bench_dial_id(uint32_t index) { return ids[index]; }
bench_handler bench_notifier(void) { return (bench_handler)(uintptr_t)notifier; }
