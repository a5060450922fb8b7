/* engine.c: what the control table asks of the engine, the dialling half of our implementation of the RAS API. The engine's
 * rooms are the files engine_*.c; engine_parts.h lists them.
 *
 * SPDX-License-Identifier: MIT
 *
 * A dial in flight is a `conn` with a `session`; the session and its worker thread end with the outcome, the conn lives until
 * its handle is gone. The worker pulls the link (link.h) and calls the notifier itself, so the dial stands still while a handler
 * runs (S1.5). What merely takes time after that (a hang-up closing the port, a link that breaks later) needs no thread: it is a
 * due time in a heap, and every call first takes care of what has fallen due. Only while somebody is registered for connection
 * notification does a thread, the keeper, see to it that nothing in the heap falls due unseen.
 *
 * One lock guards everything here. It is never held while a handler runs, while anything waits, or across a call into the link
 * that may take time.
 */
#include <stdlib.h>
#include <string.h>

#include "enumerate.h"
#include "engine_parts.h"

engine      sim_machine;
rasx__mutex sim_engine_lock = RASX_MUTEX_INIT;
rasx__cond  sim_thread_ended = RASX_COND_INIT;

/* The other side ends the link: a connection vanishes and the reason is lost (S2.5); a dial fails in its state. */
uint32_t sim_engine_drop(uint64_t handle, uint32_t reason)
{
    uint32_t code = 0;
    uint32_t subentry = 0;
    conn *c;

    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    c = (uint64_t)(uintptr_t)handle == handle ? sim_find_handle((uintptr_t)handle) : NULL;
    if (c == NULL && (uint64_t)(uintptr_t)handle == handle)
        c = sim_find_link((uintptr_t)handle, &subentry);
    if (c != NULL && subentry != 0) {
        code = sim_drop_link(c, subentry, 0);
    } else if (c == NULL || c->phase >= CLOSING) {
        code = 6;
    } else if (c->phase == CONNECTED) {
        sim_unlist(c);
    } else if (c->phase == DIALING && c->session != NULL) {
        c->session->drop_code = reason;
        rasx__store(&c->session->stop, 1);
        rasx__event_set(&c->session->wake);
    }
    rasx__unlock(&sim_engine_lock);
    return code;
}

int sim_engine_has(uintptr_t handle)
{
    int has;

    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    has = sim_find_handle(handle) != NULL;
    rasx__unlock(&sim_engine_lock);
    return has;
}

void sim_engine_counters(rasx_sim_counters *counters)
{
    memset(counters, 0, sizeof *counters);
    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    for (const conn *c = sim_machine.first; c != NULL; c = c->next) {
        counters->handles += c->phase != ZOMBIE;
        counters->references += c->references;
    }
    counters->threads = sim_machine.threads;
    for (uint32_t i = 0; i < sim_machine.port_types; i++)
        counters->ports += sim_machine.ports[i].used;
    rasx__unlock(&sim_engine_lock);
}

/* Dials that are not decided, and threads of ours; a thread that is just ending gets a moment. */
uint32_t sim_engine_in_flight(void)
{
    uint64_t end = rasx__now_ns() + GRACE_MS * MS_NS;
    uint32_t dials = 0;
    uint32_t threads;

    rasx__lock(&sim_engine_lock);
    for (const conn *c = sim_machine.first; c != NULL; c = c->next)
        dials += c->phase == DIALING;
    sim_stop_keeper(1); /* it does not count; sim_engine_keep_time lets it come back */
    while (dials == 0 && sim_machine.threads > 0 && rasx__now_ns() < end)
        rasx__cond_wait(&sim_thread_ended, &sim_engine_lock, 20);
    threads = sim_machine.threads;
    sim_stop_keeper(0);
    rasx__unlock(&sim_engine_lock);
    while (dials + threads == 0 && rasx__clock_owned(sim_clock()) > 0 && rasx__now_ns() < end)
        rasx__yield();
    return dials + threads;
}

void sim_engine_clock_moved(uint64_t from_ns, uint64_t to_ns)
{
    rasx__lock(&sim_engine_lock);
    for (uint32_t i = 0; i < sim_machine.heap_count; i++) { /* all by the same amount: the order stays */
        conn *c = sim_machine.heap[i];

        c->due_ns = to_ns + (c->due_ns > from_ns ? c->due_ns - from_ns : 0);
    }
    rasx__unlock(&sim_engine_lock);
}

/* Back to nothing. Without force only when nothing is open; with force every handle goes, every worker is stopped and no handler is
 * called any more, and threads get a bounded real time to end. */
uint32_t sim_engine_reset(uint32_t force)
{
    uint64_t end = rasx__now_ns() + (force ? RESET_WAIT_MS : GRACE_MS) * MS_NS;
    uint32_t left = 0;
    conn *next;

    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    for (const conn *c = sim_machine.first; c != NULL; c = c->next)
        left += c->phase != ZOMBIE;
    if (left > 0 && !force) {
        rasx__unlock(&sim_engine_lock);
        return RASX_E_STILL_OPEN;
    }
    if (force) {
        sim_machine.resetting = 1;
        for (conn *c = sim_machine.first; c != NULL; c = next) {
            next = c->next;
            c->muted = 1;
            if (c->session == NULL)
                sim_finish_waiter(c, 631);
            sim_unlist(c);
        }
        sim_wake_sleepers(0);
    }
    sim_stop_keeper(1);
    for (;;) {
        for (session *s = sim_machine.sessions; force && s != NULL; s = s->next) {
            s->c->muted = 1;
            s->c->phase = GONE;
            rasx__store(&s->stop, 1);
            rasx__event_set(&s->wake);
        }
        left = sim_machine.threads + (sim_machine.sleepers != NULL);
        if (left == 0 || rasx__now_ns() >= end)
            break;
        rasx__cond_wait(&sim_thread_ended, &sim_engine_lock, 20);
    }
    sim_machine.resetting = 0;
    sim_stop_keeper(0);
    if (left == 0) {
        for (conn *c = sim_machine.first; c != NULL; c = next) { /* zombies */
            next = c->next;
            sim_unlist(c);
        }
        sim_machine.gone_count = 0;
        sim_machine.reusable_count = 0;
        sim_machine.dials = 0;
        sim_machine.port_types = 0; /* none is in use */
    }
    rasx__unlock(&sim_engine_lock);
    while (left == 0 && rasx__clock_owned(sim_clock()) > 0 && rasx__now_ns() < end)
        rasx__yield();
    return left == 0 ? 0 : RASX_E_STILL_OPEN;
}
