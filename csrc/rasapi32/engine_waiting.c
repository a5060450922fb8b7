/* engine_waiting.c: threads of the simulated machine, and everything in it that waits for time to pass.
 *
 * SPDX-License-Identifier: MIT
 *
 * A thread that is not the worker of a dial sleeps in a `sleeper`, so that reset and release can wake it. The keeper is the one
 * thread that exists for the sake of time alone, and only while somebody is registered for connection notification.
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"

int sim_start_thread(void (*entry)(void *), void *argument, int owned)
{
    rasx_clock *clock = sim_clock();

    rasx__lock(&sim_engine_lock);
    sim_machine.threads++;
    rasx__unlock(&sim_engine_lock);
    if (owned)
        clock->expect(clock);
    if (rasx__thread_start(entry, argument) == 0)
        return 0;
    if (owned)
        clock->unexpect(clock);
    rasx__lock(&sim_engine_lock);
    sim_machine.threads--;
    rasx__cond_signal_all(&sim_thread_ended);
    rasx__unlock(&sim_engine_lock);
    return -1;
}

/* The last thing that a thread does. It counts itself out before it leaves the clock, so that whoever has advanced a virtual clock
 * sees the thread gone. */
void sim_end_thread(conn *c, int owned)
{
    rasx__lock(&sim_engine_lock);
    if (c != NULL)
        sim_release_conn(c);
    sim_machine.threads--;
    rasx__cond_signal_all(&sim_thread_ended);
    rasx__unlock(&sim_engine_lock);
    if (owned)
        sim_clock()->leave(sim_clock());
}

/* The keeper: takes care of what falls due although nobody calls, for those who wait to be notified. It lives only while there is
 * something in the heap and somebody registered. On a virtual clock it fires after everything else that is due at the time. */
static void keeper_main(void *unused)
{
    rasx_clock *clock = sim_clock();

    (void)unused;
    clock->enter(clock, UINT64_MAX);
    rasx__lock(&sim_engine_lock);
    for (;;) {
        uint64_t due;

        sim_catch_up();
        if (sim_machine.heap_count == 0 || sim_machine.keeper_stops || sim_machine.resetting || !sim_notify_anybody())
            break;
        due = sim_machine.heap[0]->due_ns;
        rasx__unlock(&sim_engine_lock);
        clock->wait(clock, &sim_machine.keeper_wake, due, 0);
        rasx__lock(&sim_engine_lock);
    }
    sim_machine.keeper = 0;
    rasx__unlock(&sim_engine_lock);
    sim_end_thread(NULL, 1);
}

/* With the lock. Without a thread for it there are no notifications of what falls due: nothing promises them. */
void sim_keep_time(void)
{
    rasx_clock *clock = sim_clock();

    if (sim_machine.keeper) {
        rasx__event_set(&sim_machine.keeper_wake);
        return;
    }
    if (sim_machine.heap_count == 0 || sim_machine.keeper_stops || sim_machine.resetting || !sim_notify_anybody())
        return;
    if (!sim_machine.keeper_ready) {
        if (rasx__event_init(&sim_machine.keeper_wake) != 0)
            return;
        rasx__event_pump(&sim_machine.keeper_wake, 0);
        sim_machine.keeper_ready = 1;
    }
    sim_machine.threads++;
    clock->expect(clock);
    sim_machine.keeper = rasx__thread_start(keeper_main, NULL) == 0;
    if (!sim_machine.keeper) {
        clock->unexpect(clock);
        sim_machine.threads--;
    }
}

void sim_engine_keep_time(void)
{
    rasx__lock(&sim_engine_lock);
    sim_keep_time();
    rasx__unlock(&sim_engine_lock);
}

void sim_stop_keeper(int stop)
{
    sim_machine.keeper_stops = stop;
    if (sim_machine.keeper)
        rasx__event_set(&sim_machine.keeper_wake);
}

/* Lets `ns` pass on the machine's clock, or (held) waits until the control table's release(). A reset ends both. releases, if not
 * NULL: their number when the call came in; a release() since then counts, though this thread was not waiting yet. */
void sim_pause_unless(uint64_t ns, int held, const uint32_t *releases)
{
    rasx_clock *clock = sim_clock();
    uint64_t until = held ? RASX_NEVER : clock->now(clock) + ns;
    sleeper me;
    int on;

    memset(&me, 0, sizeof me);
    if (rasx__event_init(&me.event) != 0)
        return;
    me.held = held;
    rasx__lock(&sim_engine_lock);
    on = me.on = !sim_machine.resetting && (releases == NULL || *releases == sim_machine.releases);
    me.next = sim_machine.sleepers;
    if (me.next != NULL)
        me.next->prev = &me;
    sim_machine.sleepers = &me;
    rasx__unlock(&sim_engine_lock);
    while (on && clock->now(clock) < until) {
        clock->wait(clock, &me.event, until, held);
        rasx__lock(&sim_engine_lock);
        on = me.on;
        rasx__unlock(&sim_engine_lock);
    }
    rasx__lock(&sim_engine_lock);
    if (me.prev != NULL) me.prev->next = me.next; else sim_machine.sleepers = me.next;
    if (me.next != NULL) me.next->prev = me.prev;
    rasx__unlock(&sim_engine_lock);
    rasx__event_destroy(&me.event);
}

void sim_wake_sleepers(int held_only)
{
    for (sleeper *s = sim_machine.sleepers; s != NULL; s = s->next) {
        if (held_only && !s->held)
            continue;
        s->on = 0;
        rasx__event_set(&s->event);
    }
}

void sim_pause_here(uint64_t ns, int held)
{
    sim_pause_unless(ns, held, NULL);
}

void sim_engine_release(void)
{
    rasx__lock(&sim_engine_lock);
    sim_machine.releases++;
    sim_wake_sleepers(1);
    rasx__unlock(&sim_engine_lock);
}
