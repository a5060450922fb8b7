/* watch.c: hears that connections of the machine may have changed: by RasConnectionNotification, and by looking now and then.
 *
 * SPDX-License-Identifier: MIT
 *
 * RAS tells no more than that something happened, and several happenings may be one signal (S4.13, S8.72), so all that this file
 * says is "list them again". It registers anew after each signal and before it says so: then whatever happens while the caller
 * lists is signalled again, even by a system that signals a registration once only.
 */
#include "core.h"

#include <stdlib.h>

#define POLL_MS 2000u
#define FOLLOW_UP_NS (250u * 1000000ull) /* after a signal: lists may lag behind it (assumed, as for the status of a dial) */
#define ALL_CONNECTIONS ((HRASCONN)(uintptr_t)-1) /* INVALID_HANDLE_VALUE */
#define HAPPENINGS (RASCN_Connection | RASCN_Disconnection | RASCN_BandwidthAdded | RASCN_BandwidthRemoved)

struct rasx_watch {
    rasx_client *client;
    rasx_clock  *clock;
    void        *relay;   /* what RAS signals; NULL: there is only the polling */
    rasx__event  wake;    /* RAS, rasx_watch_wake or the end */
    rasx__a32    waiter;  /* 1 while a thread is in rasx_watch_wait */
    rasx__a32    closed;
    uint64_t     poll_ns;
    uint64_t     next_ns; /* the waiter's: look then, whatever RAS says */
};

/* A refusal is not an error of the watch: polling goes on, and the next look tries again. */
static void listen(rasx_watch *watch)
{
    const rasapi *ras = watch->client->ras;
    if (watch->relay && ras->RasConnectionNotificationW) {
        (void)ras->RasConnectionNotificationW(ALL_CONNECTIONS, watch->relay, HAPPENINGS);
    }
}

uint32_t rasx_watch_open(rasx_client *client, uint32_t poll_ms, rasx_watch **watch)
{
    if (!client || !watch) return RASX_E_INVALID;
    *watch = NULL;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load(&client->closed)) return RASX_E_CLOSED;
    rasx_watch *opened = calloc(1, sizeof *opened);
    if (!opened) return 8;
    if (rasx__event_init(&opened->wake) != 0) {
        free(opened);
        return 8;
    }
    rasx__client_hold(client);
    opened->client = client;
    opened->clock = client->clock;
    opened->poll_ns = (uint64_t)(poll_ms ? poll_ms : POLL_MS) * 1000000u;
    opened->next_ns = opened->clock->now(opened->clock) + opened->poll_ns;
    opened->relay = client->ras->RasConnectionNotificationW ? rasx__relay_open(&opened->wake) : NULL;
    listen(opened);
    *watch = opened;
    return 0;
}

static int is_closed(const rasx_watch *watch)
{
    return rasx__load_seq(&watch->closed) || rasx__load(&watch->client->closed);
}

/* Waits for one of the reasons to look. 1: look. 0: the deadline came or the wait was interrupted. */
static int wait_for_reason(rasx_watch *watch, uint64_t deadline_ns, int passive)
{
    for (;;) {
        /* Virtual time must not run ahead of a signal that is under way. */
        if (!passive && rasx__clock_is_virtual(watch->clock)) rasx__relay_flush(watch->relay);
        uint64_t now_ns = watch->clock->now(watch->clock);
        int woken = rasx__event_wait(&watch->wake, 0);
        if (is_closed(watch)) return 1;
        if (woken != 1 && now_ns < watch->next_ns) {
            if (now_ns >= deadline_ns) return 0;
            uint64_t until_ns = watch->next_ns < deadline_ns ? watch->next_ns : deadline_ns;
            woken = watch->clock->wait(watch->clock, &watch->wake, until_ns, passive);
            if (woken < 0) return 0;
            if (woken == 0) continue;
        }
        now_ns = watch->clock->now(watch->clock);
        watch->next_ns = now_ns + (woken == 1 && FOLLOW_UP_NS < watch->poll_ns ? FOLLOW_UP_NS : watch->poll_ns);
        return 1;
    }
}

uint32_t rasx_watch_wait(rasx_watch *watch, uint32_t timeout_ms, uint32_t passive, uint32_t *changed)
{
    uint32_t nobody = 0, code = 0;
    if (!watch || !changed) return RASX_E_INVALID;
    if (rasx__forked()) return RASX_E_FORKED;
    if (!rasx__cas(&watch->waiter, &nobody, 1)) return RASX_E_BUSY;
    *changed = 0;
    uint64_t now_ns = watch->clock->now(watch->clock);
    uint64_t deadline_ns = timeout_ms == RASX_FOREVER ? RASX_NEVER : now_ns + (uint64_t)timeout_ms * 1000000u;
    if (wait_for_reason(watch, deadline_ns, passive != 0)) {
        if (is_closed(watch)) {
            code = RASX_E_CLOSED;
        } else {
            listen(watch);
            *changed = 1;
        }
    }
    rasx__store_seq(&watch->waiter, 0);
    return code;
}

void rasx_watch_wake(rasx_watch *watch)
{
    if (watch && !rasx__forked()) rasx__event_set(&watch->wake);
}

void rasx_watch_close(rasx_watch *watch)
{
    uint32_t open = 0;
    if (!watch || rasx__forked() || !rasx__cas(&watch->closed, &open, 1)) return;
    rasx__event_set(&watch->wake);
    while (rasx__load_seq(&watch->waiter)) rasx__sleep_ms(1); /* it sees `closed` as soon as it wakes */
    rasx__relay_close(watch->relay);
    rasx__event_destroy(&watch->wake);
    rasx__client_drop(watch->client);
    free(watch);
}
