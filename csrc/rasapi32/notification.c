/* notification.c: RasConnectionNotification: events that are set when a connection comes up or goes down, or a link of one does.
 *
 * SPDX-License-Identifier: MIT
 *
 * There is no call that ends a registration (S4.13), and the caller may close the event whenever he likes. So what is kept is not the
 * caller's handle but what rasx__relay_hold makes of it; a registration ends when that has nobody any more, when its connection
 * is gone, with the machine's reset, or, the oldest first, when there are too many.
 */
#include <string.h>

#include "../os.h"
#include "engine.h"
#include "functions.h"

enum { MOST = 1024 };

#define ALL_CONNECTIONS UINTPTR_MAX /* INVALID_HANDLE_VALUE */
#define KNOWN_FLAGS (RASCN_Connection | RASCN_Disconnection | RASCN_BandwidthAdded | RASCN_BandwidthRemoved | RASCN_Dormant \
                     | RASCN_ReConnection | RASCN_EPDGPacketArrival)
#define E_INVALIDARG_CODE 0x80070057u

typedef struct registration {
    uintptr_t connection; /* or ALL_CONNECTIONS */
    void     *event;      /* the caller's handle: only compared */
    uint64_t  held;
    uint32_t  flags;
    int       fired;
} registration;

static rasx__mutex  lock = RASX_MUTEX_INIT; /* after the engine's, before the control's */
static registration table[MOST];            /* oldest first */
static uint32_t     used;

static void forget(uint32_t i)
{
    rasx__relay_drop(table[i].held);
    memmove(&table[i], &table[i + 1], (--used - i) * sizeof *table);
}

/* Signals, unless a knob is against it, and says whether the registration lives on. Several signals before the caller wakes are
 * one: that is in the nature of an event (S8.72). */
static int ring(registration *r, int once, int silent)
{
    if (silent || (once && r->fired))
        return 1;
    r->fired |= once;
    return rasx__relay_signal(r->held);
}

void sim_notify(uint32_t happening, uintptr_t handle)
{
    int once = sim_knob(NULL, SIM_KNOB_watch_fires_once) != 0;
    int silent = sim_knob(NULL, SIM_KNOB_watch_silent) != 0;

    rasx__lock(&lock);
    for (uint32_t i = 0; i < used;) {
        registration *r = &table[i];
        int mine = r->connection == ALL_CONNECTIONS || r->connection == handle;
        int lives = 1;

        if (happening == SIM_NOTIFY_NOTHING)
            lives = ring(r, 0, silent);
        else if (mine && (r->flags & happening) != 0)
            lives = ring(r, once, silent);
        if (happening == RASCN_Disconnection && r->connection == handle)
            lives = 0; /* the handle's value may soon mean another connection (S8.13) */
        if (lives)
            i++;
        else
            forget(i);
    }
    rasx__unlock(&lock);
}

int sim_notify_anybody(void)
{
    int anybody;

    rasx__lock(&lock);
    anybody = used > 0;
    rasx__unlock(&lock);
    return anybody;
}

void sim_notify_reset(void)
{
    rasx__lock(&lock);
    while (used > 0)
        forget(used - 1);
    rasx__unlock(&lock);
}

/* Registering the same event for the same connection again renews (assumed); it sets nothing by itself (measured, S4.2). */
static void enlist(uintptr_t connection, void *event, uint64_t held, uint32_t flags)
{
    int lasting = sim_knob(NULL, SIM_KNOB_watch_fires_once) == 2;
    registration fresh = { connection, event, held, flags, 0 };

    rasx__lock(&lock);
    for (uint32_t i = 0; i < used; i++) {
        if (table[i].connection == connection && table[i].event == event) {
            fresh.fired = lasting && table[i].fired;
            forget(i);
            break;
        }
    }
    if (used == MOST)
        forget(0);
    table[used++] = fresh;
    rasx__unlock(&lock);
}

/* 87 and 6 are this machine's (S4.13); Windows 11 was measured to take any flags, so a program that passes wrong ones is found here
 * and not there. What is no event handle gives 6 (assumed). RASCN_Connection of one connection is taken, and never signalled. */
uint32_t RASAPI_CALL sim_RasConnectionNotificationW(HRASCONN connection, void *event, uint32_t flags)
{
    uintptr_t handle = (uintptr_t)connection;
    uint64_t held = 0;
    uint32_t code;

    if (sim_enter(SIM_RasConnectionNotificationW, &code))
        return code;
    if (event == NULL || flags == 0 || (flags & ~KNOWN_FLAGS) != 0)
        code = 87;
    else if ((uintptr_t)event == UINTPTR_MAX)
        code = E_INVALIDARG_CODE;
    else if (handle != ALL_CONNECTIONS && (handle == 0 || !sim_engine_has(handle)))
        code = 6;
    else if ((held = rasx__relay_hold(event)) == 0)
        code = 6;
    if (code == 0) {
        enlist(handle, event, held, flags);
        sim_engine_keep_time();
        if (handle != ALL_CONNECTIONS && !sim_engine_has(handle)) /* it went in between */
            sim_notify(RASCN_Disconnection, handle);
    }
    return sim_leave(SIM_RasConnectionNotificationW, code, "h=0x%llx flags=0x%x", (unsigned long long)handle, (unsigned)flags);
}
