/* engine_handlers.c: calls of the client's handler, from whatever thread the knobs ask for.
 *
 * SPDX-License-Identifier: MIT
 *
 * The dial stands still while a handler runs (S1.5): who calls one holds no lock, and who waits for one is the worker.
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"

static RASX_THREAD_LOCAL int inside_handler;

int sim_inside_handler(void)
{
    return inside_handler;
}

/* RasHangUp's work begins here or, when a handler holds the dial, as soon as that returns (S1.5). */
void sim_begin_closing(conn *c)
{
    if (c->in_handler == 0 && c->phase == CLOSING && c->due_ns == RASX_NEVER)
        sim_set_due(c, sim_clock()->now(sim_clock()) + c->closing_ns);
}

/* Calls the handler on this thread. holds: the dial is suspended meanwhile. A handler that returned 0 is not called again, for
 * any subentry (S8.28). */
void sim_call_handler(conn *c, const notifier *n, const note *what, int holds)
{
    HRASCONN handle = (HRASCONN)c->handle;
    int goes_on = 1;

    rasx__lock(&sim_engine_lock);
    if (c->muted) {
        rasx__unlock(&sim_engine_lock);
        return;
    }
    c->in_handler += (uint32_t)holds;
    rasx__unlock(&sim_engine_lock);
    inside_handler++;
    switch (n->kind) {
    case RASAPI_NOTIFIER_FUNC:
        ((RASDIALFUNC)(uintptr_t)n->function)(n->message, what->state, what->error);
        break;
    case RASAPI_NOTIFIER_FUNC1:
        ((RASDIALFUNC1)(uintptr_t)n->function)(handle, n->message, what->state, what->error, what->extended_error);
        break;
    case RASAPI_NOTIFIER_FUNC2:
        goes_on = ((RASDIALFUNC2)(uintptr_t)n->function)(n->id, what->subentry, handle, n->message, what->state, what->error,
                                                         what->extended_error) != 0;
        break;
    case RASAPI_NOTIFIER_WINDOW:
        /* S8.31: lParam is wider than the code on 64-bit systems; sign-extended, so that a client that forgets to cut it fails */
        (void)rasx__message_send(n->function, RASDIALEVENT, WM_RASDIALEVENT, what->state, (intptr_t)(int32_t)what->error);
        break;
    default:
        break;
    }
    inside_handler--;
    rasx__lock(&sim_engine_lock);
    c->in_handler -= (uint32_t)holds;
    if (!goes_on)
        c->muted = 1;
    sim_begin_closing(c);
    rasx__unlock(&sim_engine_lock);
}

void sim_call_own_handler(conn *c, const note *what, int holds)
{
    notifier n;

    rasx__lock(&sim_engine_lock);
    n = c->notify; /* a resume may bring another callback id */
    rasx__unlock(&sim_engine_lock);
    sim_call_handler(c, &n, what, holds);
}

/* Knob threads: a thread that makes one call and ends. */
typedef struct relay {
    conn    *c;
    session *s; /* alive for as long as it counts in s->outstanding */
    note     what;
} relay;

static void relay_main(void *argument)
{
    relay *r = argument;
    conn *c = r->c;

    sim_clock()->enter(sim_clock(), c->number << 8 | 255);
    sim_call_own_handler(c, &r->what, 1);
    rasx__lock(&sim_engine_lock);
    r->s->outstanding--;
    rasx__event_set(&r->s->relay);
    rasx__unlock(&sim_engine_lock);
    free(r);
    sim_end_thread(c, 1);
}

void sim_wait_for_relays(session *s, uint32_t most)
{
    rasx_clock *clock = sim_clock();

    if (most == 0)
        s->pair = 0;
    for (;;) {
        uint32_t outstanding;

        rasx__lock(&sim_engine_lock);
        outstanding = s->outstanding;
        rasx__unlock(&sim_engine_lock);
        if (outstanding <= most)
            return;
        clock->wait(clock, &s->relay, RASX_NEVER, 0);
    }
}

static int relay_start(session *s, const note *what)
{
    relay *r = malloc(sizeof *r);

    if (r == NULL)
        return -1;
    r->c = s->c;
    r->s = s;
    r->what = *what;
    rasx__lock(&sim_engine_lock);
    s->c->holders++;
    s->outstanding++;
    rasx__unlock(&sim_engine_lock);
    if (sim_start_thread(relay_main, r, 1) == 0)
        return 0;
    rasx__lock(&sim_engine_lock);
    s->c->holders--;
    s->outstanding--;
    rasx__unlock(&sim_engine_lock);
    free(r);
    return -1;
}

/* Knob slow_device: one thread beside the dial makes the calls in order. It is not the clock's: the dial's time goes on while
 * such a handler blocks. */
static void lane_run(conn *c)
{
    for (;;) {
        lane_note *first;

        rasx__lock(&sim_engine_lock);
        first = c->lane->first;
        if (first == NULL) {
            c->lane->running = 0;
            if (c->session != NULL)
                rasx__event_set(&c->session->relay);
            rasx__unlock(&sim_engine_lock);
            break;
        }
        c->lane->first = first->next;
        rasx__unlock(&sim_engine_lock);
        sim_call_own_handler(c, &first->what, 0);
        free(first);
    }
}

static void lane_main(void *argument)
{
    lane_run(argument);
    sim_end_thread(argument, 0);
}

static int lane_post(session *s, const note *what)
{
    conn *c = s->c;
    lane_note *last = malloc(sizeof *last);
    int start;
    int running = 1;

    if (last == NULL)
        return -1;
    last->next = NULL;
    last->what = *what;
    rasx__lock(&sim_engine_lock);
    if (c->lane == NULL)
        c->lane = calloc(1, sizeof *c->lane);
    if (c->lane == NULL) {
        rasx__unlock(&sim_engine_lock);
        free(last);
        return -1;
    }
    if (c->lane->first == NULL) c->lane->first = last; else c->lane->last->next = last;
    c->lane->last = last;
    start = !c->lane->running;
    c->lane->running = 1;
    c->holders += (uint32_t)start;
    rasx__unlock(&sim_engine_lock);
    if (start && sim_start_thread(lane_main, c, 0) != 0) {
        lane_run(c);
        rasx__lock(&sim_engine_lock);
        sim_release_conn(c);
        rasx__unlock(&sim_engine_lock);
        return 0;
    }
    /* A handler that returns at once stays in step with the dial, which keeps runs repeatable. */
    for (uint64_t end = rasx__now_ns() + SLOW_WAIT_MS * MS_NS, now = rasx__now_ns(); running && now < end;
         now = rasx__now_ns()) {
        rasx__event_wait(&s->relay, end - now);
        rasx__lock(&sim_engine_lock);
        running = c->lane->running;
        rasx__unlock(&sim_engine_lock);
    }
    return 0;
}

/* Hands the call to the thread that is inside RasDial (knob early_on_caller) and waits for it. 0 when nobody takes it. */
static int post_to_caller(session *s, const note *what)
{
    rasx_clock *clock = sim_clock();
    conn *c = s->c;
    int waiting;

    rasx__lock(&sim_engine_lock);
    waiting = c->waiter != NULL && c->waiter->takes && !c->waiter->done;
    if (waiting) {
        c->waiter->posted = what;
        rasx__event_set(&c->waiter->event);
    }
    rasx__unlock(&sim_engine_lock);
    if (!waiting)
        return 0;
    while (waiting) {
        clock->wait(clock, &s->relay, RASX_NEVER, 0);
        rasx__lock(&sim_engine_lock);
        waiting = c->waiter != NULL && c->waiter->posted == what;
        rasx__unlock(&sim_engine_lock);
    }
    return 1;
}

/* Makes one call by whatever thread the knobs say. */
static void deliver(session *s, const note *what)
{
    int64_t threads = s->knobs[SIM_KNOB_threads];

    if (post_to_caller(s, what))
        return;
    if (threads != 0 && relay_start(s, what) == 0) {
        s->pair = threads == 2 && !s->pair; /* two at once: the dial waits for every second one only */
        sim_wait_for_relays(s, s->pair ? 1 : 0);
        return;
    }
    if (threads == 0 && s->knobs[SIM_KNOB_slow_device] != 0 && lane_post(s, what) == 0)
        return;
    sim_call_own_handler(s->c, what, 1);
}

static int by_chance(session *s, enum sim_knob percent)
{
    return s->knobs[percent] > 0 && (int64_t)(sim_chance(&s->chance) % 100) < s->knobs[percent];
}

void sim_finish_waiter(conn *c, uint32_t code)
{
    if (c->waiter == NULL || c->waiter->done)
        return;
    c->waiter->done = 1;
    c->waiter->code = code;
    rasx__event_set(&c->waiter->event);
}

/* RasDial's caller has waited for early notifications, and no more will come for now. */
void sim_no_more_early(session *s)
{
    conn *c = s->c;

    if (s->early_over)
        return;
    s->early_over = 1;
    rasx__lock(&sim_engine_lock);
    if (c->waiter != NULL && !c->waiter->sync)
        sim_finish_waiter(c, 0);
    rasx__unlock(&sim_engine_lock);
}

void sim_announce(session *s, const note *what, int silent)
{
    conn *c = s->c;
    int intermediate = (what->state & (RASCS_PAUSED | RASCS_DONE)) == 0 && what->error == 0
                       && what->state != RASCS_SubEntryConnected && what->state != RASCS_SubEntryDisconnected;

    if (silent || c->notify.kind == KIND_NONE || (intermediate && by_chance(s, SIM_KNOB_skip_percent)))
        return;
    s->announced++;
    if (s->knobs[SIM_KNOB_silent] <= 0 || s->announced < s->knobs[SIM_KNOB_silent]) {
        int times = by_chance(s, SIM_KNOB_repeat_percent) ? 2 : 1;

        while (times-- > 0)
            deliver(s, what);
    }
    if (s->announced >= s->knobs[SIM_KNOB_early])
        sim_no_more_early(s);
}
