/* clock.c: the real clock, and the one that the simulated machine can make virtual.
 *
 * SPDX-License-Identifier: MIT
 *
 * Virtual time is an atomic that only a driver moves, and a driver moves it only while the clock is quiet: no owned thread is
 * expected or running, and none of the parked ones has an event that is set. To fire a timer is to move `now` to it and to
 * set the event of the one thread that waits for it; the driver then waits for quiet before it fires the next. So between two
 * timers exactly the consequences of the first run, and the order of everything is that of (time, order).
 *
 * A parked thread takes its event only under the clock's lock, in the moment in which it stops being counted as parked.
 * Otherwise a thread that has been woken but has not run yet would look asleep, and time would pass over its head.
 */
#include "clock.h"

#define NS_PER_MS UINT64_C(1000000)
#define SLICE_NS (50 * NS_PER_MS)          /* how long a thread that is not owned waits before it looks for signals */
#define PARK_BOUND_NS (10000 * NS_PER_MS)  /* real time for all owned threads to park in rasx__clock_advance */

/* One parked thread; lives on its stack while it is linked. */
typedef struct waiter {
    struct waiter *next, *previous;
    rasx__event   *event;
    uint64_t       deadline, order;
} waiter;

struct rasx__switch_clock {
    rasx_clock  face;        /* first: the public pointer is ours too */
    rasx__mutex lock;        /* guards everything below it but the atomics */
    rasx__cond  maybe_quiet; /* the last owned thread has parked or left */
    rasx__a32   is_virtual;
    rasx__a64   now;         /* virtual ns */
    uint32_t    expected;    /* announced, not entered */
    uint32_t    entered;     /* owned threads that run or are parked */
    uint32_t    parked;
    waiter     *waiters;     /* `parked` of them, the latest first */
};

/* Of the running thread; there is one switchable clock per copy of this code, so no key is needed. Depth: a thread may enter
 * again further up its stack, and counts once. */
static RASX_THREAD_LOCAL uint32_t thread_depth;
static RASX_THREAD_LOCAL uint64_t thread_order;

/* --- The real clock ------------------------------------------------------------------------------------------------------ */

static uint64_t real_now(rasx_clock *clock)
{
    (void)clock;
    return rasx__now_ns();
}

static void real_nothing(rasx_clock *clock) { (void)clock; }

static void real_enter(rasx_clock *clock, uint64_t order)
{
    (void)clock;
    (void)order;
}

static int real_wait(rasx_clock *clock, rasx__event *event, uint64_t deadline, int passive)
{
    const uint64_t now = deadline == RASX_NEVER ? 0 : rasx__now_ns();
    (void)clock;
    (void)passive;
    return rasx__event_wait(event, deadline == RASX_NEVER ? RASX_NEVER : deadline > now ? deadline - now : 0);
}

static int real_is_virtual(rasx_clock *clock)
{
    (void)clock;
    return 0;
}

rasx_clock *rasx__clock_real(void)
{
    static rasx_clock clock = { sizeof(rasx_clock), 0,          real_now,     real_nothing,   real_nothing,
                                real_enter,         real_nothing, real_wait, real_is_virtual };
    return &clock;
}

/* --- The machine's clock ---------------------------------------------------------------------------------------------------- */

static rasx__switch_clock *from(rasx_clock *clock) { return (rasx__switch_clock *)(void *)clock; }

static uint64_t machine_now(rasx_clock *clock)
{
    rasx__switch_clock *c = from(clock);
    return rasx__load(&c->is_virtual) ? rasx__load64(&c->now) : rasx__now_ns();
}

/* With the lock. Wakes drivers when they may find the clock quiet; they look at the events themselves. */
static void tell_drivers(rasx__switch_clock *c)
{
    if (c->expected == 0 && c->parked == c->entered) rasx__cond_signal_all(&c->maybe_quiet);
}

/* Threads are counted on a real clock too: set_virtual has to know that there are none. */
static void machine_expect(rasx_clock *clock)
{
    rasx__switch_clock *c = from(clock);
    rasx__lock(&c->lock);
    c->expected++;
    rasx__unlock(&c->lock);
}

static void machine_unexpect(rasx_clock *clock)
{
    rasx__switch_clock *c = from(clock);
    rasx__lock(&c->lock);
    if (c->expected > 0) c->expected--;
    tell_drivers(c);
    rasx__unlock(&c->lock);
}

static void machine_enter(rasx_clock *clock, uint64_t order)
{
    rasx__switch_clock *c = from(clock);
    rasx__lock(&c->lock);
    if (c->expected > 0) c->expected--;
    if (thread_depth++ == 0) {
        c->entered++;
        thread_order = order;
    }
    rasx__unlock(&c->lock);
}

static void machine_leave(rasx_clock *clock)
{
    rasx__switch_clock *c = from(clock);
    rasx__lock(&c->lock);
    if (thread_depth > 0 && --thread_depth == 0) c->entered--;
    tell_drivers(c);
    rasx__unlock(&c->lock);
}

/* With the lock. */
static int is_quiet(const rasx__switch_clock *c)
{
    const waiter *w;
    if (c->expected > 0 || c->parked != c->entered) return 0;
    for (w = c->waiters; w != NULL; w = w->next)
        if (rasx__event_is_set(w->event)) return 0;
    return 1;
}

/* With the lock, when quiet. Waiters of the same time and order (a caller's mistake) go by age: the list's end is the oldest.
 * Linear, as is_quiet: a machine with thousands of dials belongs on the real clock. */
static waiter *earliest(const rasx__switch_clock *c, uint64_t limit)
{
    waiter *w, *best = NULL;
    for (w = c->waiters; w != NULL; w = w->next) {
        if (w->deadline == RASX_NEVER || w->deadline > limit) continue;
        if (best == NULL || w->deadline < best->deadline || (w->deadline == best->deadline && w->order <= best->order)) best = w;
    }
    return best;
}

/* With the lock. Time never moves back: with two drivers one may be asked for less than the other has reached. */
static void move_to(rasx__switch_clock *c, uint64_t time)
{
    if (rasx__load64(&c->now) < time) rasx__store64(&c->now, time);
}

static void fire(rasx__switch_clock *c, const waiter *w)
{
    move_to(c, w->deadline);
    rasx__event_set(w->event); /* from here the clock is not quiet, until that thread parks again or leaves */
}

/* An owned thread's wait. Ends by its event only; a timer that fires sets that too. When both came at once the answer is 0,
 * and the caller, who looks at its own condition anyway, finds what the event was set for. */
static int park(rasx__switch_clock *c, rasx__event *event, uint64_t deadline)
{
    waiter w;
    int result;
    rasx__lock(&c->lock);
    if (rasx__event_is_set(event) || deadline <= rasx__load64(&c->now)) {
        rasx__unlock(&c->lock);
        return rasx__event_wait(event, 0); /* 1, or 0: the deadline has come */
    }
    w.event = event;
    w.deadline = deadline;
    w.order = thread_order;
    w.previous = NULL;
    w.next = c->waiters;
    if (w.next != NULL) w.next->previous = &w;
    c->waiters = &w;
    c->parked++;
    tell_drivers(c);
    rasx__unlock(&c->lock);

    result = rasx__event_peek(event, RASX_NEVER);

    rasx__lock(&c->lock);
    if (w.next != NULL) w.next->previous = w.previous;
    if (w.previous != NULL) w.previous->next = w.next;
    else c->waiters = w.next;
    c->parked--;
    if (rasx__event_wait(event, 0) == 1) result = 1; /* never blocks */
    if (deadline <= rasx__load64(&c->now)) result = 0;
    rasx__unlock(&c->lock);
    return result;
}

/* With the lock. Waits for quiet until the real time `bound`, or (own not NULL) until that event is set. An event that is set from
 * outside does not signal the condition, so this looks again after 1, 2, then every 4 ms. 1 when quiet. */
static int wait_quiet(rasx__switch_clock *c, const rasx__event *own, uint64_t bound)
{
    uint32_t pause_ms = 1;
    while (!is_quiet(c)) {
        if ((own != NULL && rasx__event_is_set(own)) || rasx__now_ns() >= bound) return 0;
        rasx__cond_wait(&c->maybe_quiet, &c->lock, pause_ms);
        if (pause_ms < 4) pause_ms *= 2;
    }
    return 1;
}

/* The wait of a thread that is not owned: time passes on its behalf, but not beyond its deadline. Its own event ends it at
 * once; as that is looked at before every timer, time stops at the very timer whose consequence it was waiting for. */
static int drive(rasx__switch_clock *c, rasx__event *event, uint64_t deadline)
{
    uint64_t bound = rasx__now_ns() + SLICE_NS;
    int result = -1;
    rasx__lock(&c->lock);
    for (;;) {
        const waiter *w;
        if (rasx__event_is_set(event)) break;
        if (!wait_quiet(c, event, bound)) {
            if (rasx__event_is_set(event)) break;
            result = deadline <= rasx__load64(&c->now) ? 0 : -1;
            break;
        }
        if (rasx__event_is_set(event)) break;
        w = earliest(c, deadline);
        if (w != NULL) {
            fire(c, w);
            bound = rasx__now_ns() + SLICE_NS;
            continue;
        }
        if (deadline != RASX_NEVER) {
            move_to(c, deadline);
            result = 0;
            break;
        }
        /* Nothing will happen unless somebody outside does something. */
        rasx__unlock(&c->lock);
        return rasx__event_wait(event, SLICE_NS) == 1 ? 1 : -1;
    }
    rasx__unlock(&c->lock);
    if (rasx__event_wait(event, 0) == 1) return 1;
    return result;
}

static int machine_wait(rasx_clock *clock, rasx__event *event, uint64_t deadline, int passive)
{
    rasx__switch_clock *c = from(clock);
    if (!rasx__load(&c->is_virtual)) return real_wait(clock, event, deadline, passive);
    if (thread_depth > 0) return park(c, event, deadline);
    if (!passive) return drive(c, event, deadline);
    if (rasx__event_wait(event, deadline <= rasx__load64(&c->now) ? 0 : SLICE_NS) == 1) return 1;
    return deadline <= rasx__load64(&c->now) ? 0 : -1;
}

static int machine_is_virtual(rasx_clock *clock) { return rasx__load(&from(clock)->is_virtual) != 0; }

static rasx__switch_clock machine = {
    { sizeof(rasx_clock), 0, machine_now, machine_expect, machine_unexpect, machine_enter, machine_leave, machine_wait,
      machine_is_virtual },
    RASX_MUTEX_INIT, RASX_COND_INIT, { 0 }, { 0 }, 0, 0, 0, NULL
};

rasx_clock *rasx__clock_machine(void) { return &machine.face; }

/* A clock of another kind has these functions elsewhere or nowhere. */
static int is_switchable(const rasx_clock *clock) { return clock->now == machine_now; }

int rasx__clock_set_virtual(rasx_clock *clock, int on)
{
    rasx__switch_clock *c = from(clock);
    int result = -1;
    if (!is_switchable(clock)) return -1;
    rasx__lock(&c->lock);
    if (c->expected == 0 && c->entered == 0) {
        if (on && !rasx__load(&c->is_virtual)) rasx__store64(&c->now, rasx__now_ns()); /* time goes on from here */
        rasx__store(&c->is_virtual, on != 0); /* release: who sees it virtual sees its time */
        result = 0;
    }
    rasx__unlock(&c->lock);
    return result;
}

int rasx__clock_is_virtual(rasx_clock *clock)
{
    return clock->size >= sizeof *clock && clock->is_virtual(clock);
}

int rasx__clock_advance(rasx_clock *clock, uint64_t ns)
{
    rasx__switch_clock *c = from(clock);
    uint64_t start, target;
    int result = 0;
    if (!is_switchable(clock) || !machine_is_virtual(clock)) return -1;
    rasx__lock(&c->lock);
    start = rasx__load64(&c->now);
    target = ns < RASX_NEVER - 1 - start ? start + ns : RASX_NEVER - 1;
    for (;;) {
        const waiter *w;
        if (!wait_quiet(c, NULL, rasx__now_ns() + PARK_BOUND_NS)) {
            result = -1;
            break;
        }
        w = earliest(c, target);
        if (w == NULL) {
            move_to(c, target);
            break;
        }
        fire(c, w);
    }
    rasx__unlock(&c->lock);
    return result;
}

uint32_t rasx__clock_owned(rasx_clock *clock)
{
    rasx__switch_clock *c = from(clock);
    uint32_t count;
    if (!is_switchable(clock)) return 0;
    rasx__lock(&c->lock);
    count = c->expected + c->entered;
    rasx__unlock(&c->lock);
    return count;
}
