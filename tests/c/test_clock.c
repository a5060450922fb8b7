/* test_clock.c: the real clock and the switchable one: order of timers, quiet, driving, refusals, stress.
 *
 * SPDX-License-Identifier: MIT
 *
 * RASX_STRESS scales the 20,000 rounds of the stress test.
 */
#include "../../csrc/clock.h"
#include "testhelp.h"

#define MS UINT64_C(1000000)
#define MOST_WORKERS 8u
#define MOST_LOG 4096u

static rasx_clock *the_clock; /* the machine's */

static uint64_t now(void) { return the_clock->now(the_clock); }

/* What happened, in order: (time, who). Under a lock, because a broken clock would let two threads write at once. */
static rasx__mutex log_lock = RASX_MUTEX_INIT;
static struct { uint64_t time; uint64_t who; } log_lines[MOST_LOG];
static uint32_t log_count;

static void note(uint64_t who)
{
    rasx__lock(&log_lock);
    if (log_count < MOST_LOG) {
        log_lines[log_count].time = now();
        log_lines[log_count].who = who;
        log_count++;
    }
    rasx__unlock(&log_lock);
}

typedef struct worker {
    uint64_t      order, period;
    uint32_t      rounds;
    rasx__event   event;
    struct worker *next;    /* told after each round, when not NULL */
    rasx__a32     told;     /* how often this one was told */
    uint32_t      answered;
    rasx__event  *outside;  /* set after the last round, when not NULL */
} worker;

static worker workers[MOST_WORKERS];

/* Ticks `rounds` times, and notes each tick and each message from its neighbour. */
static void run_worker(void *argument)
{
    worker *w = argument;
    uint64_t due;
    the_clock->enter(the_clock, w->order);
    due = now() + w->period;
    while (w->rounds > 0) {
        (void)the_clock->wait(the_clock, &w->event, due, 0);
        while (w->answered < rasx__load(&w->told)) {
            w->answered++;
            note(w->order | 0x80);
        }
        if (now() < due) continue;
        note(w->order);
        w->rounds--;
        due += w->period;
        if (w->next != NULL && w->rounds % 3 == 0) { /* its last act before it parks: the neighbour runs while we park */
            (void)rasx__add(&w->next->told, 1);
            rasx__event_set(&w->next->event);
        }
    }
    if (w->outside != NULL) rasx__event_set(w->outside);
    the_clock->leave(the_clock);
}

static void prepare(uint32_t i, uint64_t order, uint64_t period, uint32_t rounds)
{
    worker *w = &workers[i];
    static int ready[MOST_WORKERS];
    if (!ready[i]) CHECK_EQ(rasx__event_init(&w->event), 0);
    ready[i] = 1;
    w->order = order;
    w->period = period;
    w->rounds = rounds;
    w->next = NULL;
    w->outside = NULL;
    w->answered = 0;
    rasx__store(&w->told, 0);
    (void)rasx__event_wait(&w->event, 0);
}

static void start(uint32_t i)
{
    int code;
    the_clock->expect(the_clock);
    code = rasx__thread_start(run_worker, &workers[i]);
    CHECK_EQ(code, 0);
    if (code != 0) the_clock->unexpect(the_clock);
}

static int begin_virtual(void)
{
    the_clock = rasx__clock_machine();
    log_count = 0;
    return rasx__clock_set_virtual(the_clock, 1);
}

/* Workers that have nothing left leave before advance(0) can return. */
static void end_virtual(void)
{
    CHECK_EQ(rasx__clock_advance(the_clock, 0), 0);
    CHECK_EQ(rasx__clock_owned(the_clock), 0);
    CHECK_EQ(rasx__clock_set_virtual(the_clock, 0), 0);
}

/* "The real clock moves by itself, waits end by event or deadline, and ownership means nothing to it." */
TEST(test_clock_real)
{
    rasx_clock *c = rasx__clock_real();
    rasx__event event;
    const uint64_t start_ns = c->now(c);
    REQUIRE(rasx__event_init(&event) == 0);
    CHECK_EQ(c->size, sizeof(rasx_clock));
    c->expect(c);
    c->enter(c, 7);
    CHECK_EQ(c->wait(c, &event, start_ns, 0), 0);
    CHECK_EQ(c->wait(c, &event, 0, 1), 0);
    rasx__event_set(&event);
    CHECK_EQ(c->wait(c, &event, RASX_NEVER, 0), 1);
    CHECK_EQ(rasx__event_is_set(&event), 0);
    rasx__event_set(&event);
    CHECK_EQ(c->wait(c, &event, 0, 0), 1); /* the event wins over a deadline that has passed */
    {
        const uint64_t deadline = c->now(c) + 3 * MS;
        while (c->wait(c, &event, deadline, 0) == -1) {}
        CHECK(c->now(c) >= deadline);
    }
    c->leave(c);
    c->unexpect(c);
    CHECK_EQ(rasx__clock_owned(c), 0);
    CHECK_EQ(rasx__clock_set_virtual(c, 1), -1);
    CHECK_EQ(rasx__clock_is_virtual(c), 0);
    CHECK_EQ(rasx__clock_advance(c, 1), -1);
    CHECK(c->now(c) > start_ns);
    rasx__event_destroy(&event);
}

/* "Switching is refused while owned threads exist or are expected, also on a real clock; virtual time starts at real time." */
TEST(test_clock_switch_refused_while_owned)
{
    uint64_t before, at;
    the_clock = rasx__clock_machine();
    CHECK_EQ(rasx__clock_is_virtual(the_clock), 0);
    CHECK_EQ(rasx__clock_advance(the_clock, 0), -1);
    the_clock->expect(the_clock);
    CHECK_EQ(rasx__clock_owned(the_clock), 1);
    CHECK_EQ(rasx__clock_set_virtual(the_clock, 1), -1);
    the_clock->enter(the_clock, 1);
    CHECK_EQ(rasx__clock_owned(the_clock), 1);
    CHECK_EQ(rasx__clock_set_virtual(the_clock, 1), -1);
    the_clock->enter(the_clock, 2); /* nested: the thread counts once */
    CHECK_EQ(rasx__clock_owned(the_clock), 1);
    the_clock->leave(the_clock);
    CHECK_EQ(rasx__clock_owned(the_clock), 1);
    the_clock->leave(the_clock);
    CHECK_EQ(rasx__clock_owned(the_clock), 0);
    before = rasx__now_ns();
    CHECK_EQ(rasx__clock_set_virtual(the_clock, 1), 0);
    at = now();
    CHECK(at >= before && at <= rasx__now_ns());
    CHECK_EQ(rasx__clock_is_virtual(the_clock), 1);
    the_clock->expect(the_clock);
    CHECK_EQ(rasx__clock_set_virtual(the_clock, 0), -1);
    the_clock->unexpect(the_clock);
    CHECK_EQ(rasx__clock_set_virtual(the_clock, 1), 0);
    CHECK_EQ(now(), at); /* it stands still, and switching on twice changes nothing */
    end_virtual();
}

/* "advance moves time by exactly what was asked, and fires timers in the order (time, order), whoever started first." */
TEST(test_clock_fires_in_order)
{
    static const uint64_t orders[] = { 0x301, 0x102, 0x203, 0x101, 0x201 };
    static const uint64_t expected[] = { 0x101, 0x102, 0x201, 0x203, 0x301 };
    uint64_t start_ns;
    uint32_t i, round;
    REQUIRE(begin_virtual() == 0);
    start_ns = now();
    for (i = 0; i < 5; i++) {
        prepare(i, orders[i], 10 * MS, 3);
        start(i);
    }
    CHECK_EQ(rasx__clock_advance(the_clock, 10 * MS - 1), 0);
    CHECK_EQ(now() - start_ns, 10 * MS - 1);
    CHECK_EQ(log_count, 0);
    CHECK_EQ(rasx__clock_owned(the_clock), 5);
    CHECK_EQ(rasx__clock_advance(the_clock, 1), 0);
    CHECK_EQ(log_count, 5);
    CHECK_EQ(rasx__clock_advance(the_clock, UINT64_C(3600000) * MS), 0);
    CHECK_EQ(now() - start_ns, UINT64_C(3600000) * MS + 10 * MS);
    CHECK_EQ(log_count, 15);
    for (round = 0; round < 3; round++)
        for (i = 0; i < 5; i++) {
            CHECK_EQ(log_lines[round * 5 + i].who, expected[i]);
            CHECK_EQ(log_lines[round * 5 + i].time - start_ns, (round + 1) * 10 * MS);
        }
    end_virtual();
}

/* "advance(0) waits until every owned thread is parked, moves no time, and a thread with an event set is not parked." */
TEST(test_clock_settles)
{
    uint64_t start_ns;
    uint32_t i;
    REQUIRE(begin_virtual() == 0);
    start_ns = now();
    prepare(0, 1, 10 * MS, 1);
    start(0);
    for (i = 1; i <= 500; i++) {
        (void)rasx__add(&workers[0].told, 1);
        rasx__event_set(&workers[0].event);
        CHECK_EQ(rasx__clock_advance(the_clock, 0), 0);
        CHECK_EQ(log_count, i); /* it has answered */
    }
    CHECK_EQ(now(), start_ns);
    CHECK_EQ(rasx__clock_advance(the_clock, 10 * MS), 0);
    end_virtual();
}

/* "The same scenario gives the same log, line by line, every time: threads that tick and tell each other." */
TEST(test_clock_is_deterministic)
{
    static uint64_t first_time[MOST_LOG], first_who[MOST_LOG];
    uint32_t first_count = 0, repetition, i;
    const uint32_t count = 6;
    for (repetition = 0; repetition < 200 && test_failures == 0; repetition++) {
        uint64_t start_ns;
        rasx__event done;
        REQUIRE(begin_virtual() == 0);
        REQUIRE(rasx__event_init(&done) == 0);
        start_ns = now();
        for (i = 0; i < count; i++) {
            prepare(i, (uint64_t)(i % 3 + 1) << 8 | i, (2 + i % 4) * MS, 12);
            workers[i].next = &workers[(i + 1) % count];
        }
        workers[3].outside = &done; /* the slowest: 12 rounds of 5 ms */
        for (i = 0; i < count; i++) start((i + repetition) % count);
        CHECK_EQ(rasx__clock_advance(the_clock, 0), 0); /* all have read the time */
        if (repetition % 2 == 0) {
            CHECK_EQ(rasx__clock_advance(the_clock, 100 * MS), 0);
        } else { /* by driving, in two kinds of steps */
            uint64_t until = start_ns;
            while (until < start_ns + 20 * MS) {
                until += 3 * MS;
                while (now() < until) (void)the_clock->wait(the_clock, &done, until, 0);
            }
            while (the_clock->wait(the_clock, &done, RASX_NEVER, 0) != 1) {}
            CHECK_EQ(now() - start_ns, 60 * MS);
            CHECK_EQ(rasx__clock_advance(the_clock, 40 * MS), 0);
        }
        end_virtual();
        (void)rasx__event_wait(&done, 0);
        rasx__event_destroy(&done);
        if (repetition == 0) {
            first_count = log_count;
            for (i = 0; i < log_count; i++) {
                first_time[i] = log_lines[i].time - start_ns;
                first_who[i] = log_lines[i].who;
            }
            CHECK(first_count >= count * 12);
        }
        CHECK_EQ(log_count, first_count);
        for (i = 0; i < log_count && i < first_count; i++) {
            CHECK_EQ(log_lines[i].time - start_ns, first_time[i]);
            CHECK_EQ(log_lines[i].who, first_who[i]);
        }
    }
}

/* "A driving wait fires what is due up to its deadline and not beyond, ends exactly there, and ends early by its event." */
TEST(test_clock_drives)
{
    rasx__event event;
    uint64_t start_ns;
    REQUIRE(begin_virtual() == 0);
    REQUIRE(rasx__event_init(&event) == 0);
    start_ns = now();
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 5 * MS, 0), 0); /* nobody is there: time just passes */
    CHECK_EQ(now() - start_ns, 5 * MS);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns, 0), 0); /* a deadline in the past does not move it back */
    CHECK_EQ(now() - start_ns, 5 * MS);
    CHECK_EQ(the_clock->wait(the_clock, &event, RASX_NEVER, 0), -1); /* nothing will ever happen: look for signals */
    CHECK_EQ(now() - start_ns, 5 * MS);

    prepare(0, 1, 10 * MS, 4); /* ticks at 15, 25, 35, 45 */
    workers[0].outside = &event;
    start(0);
    while (the_clock->wait(the_clock, &event, start_ns + 24 * MS, 0) == -1) {}
    CHECK_EQ(now() - start_ns, 24 * MS);
    CHECK_EQ(log_count, 1);
    while (the_clock->wait(the_clock, &event, start_ns + 25 * MS, 0) == -1) {} /* due at the deadline: fired */
    CHECK_EQ(now() - start_ns, 25 * MS);
    CHECK_EQ(log_count, 2);
    while (the_clock->wait(the_clock, &event, start_ns + 1000 * MS, 0) == -1) {}
    CHECK_EQ(now() - start_ns, 45 * MS); /* stopped by the event */
    CHECK_EQ(log_count, 4);
    rasx__event_set(&event);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns, 0), 1); /* the event wins over a deadline that has passed */
    end_virtual();
    rasx__event_destroy(&event);
}

/* "While an owned thread runs or is expected, a driving wait lets no time pass and says so after a slice." */
TEST(test_clock_waits_for_running_threads)
{
    rasx__event event;
    uint64_t start_ns;
    REQUIRE(begin_virtual() == 0);
    REQUIRE(rasx__event_init(&event) == 0);
    start_ns = now();
    the_clock->expect(the_clock);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 5 * MS, 0), -1);
    CHECK_EQ(the_clock->wait(the_clock, &event, RASX_NEVER, 0), -1);
    CHECK_EQ(now(), start_ns);
    rasx__event_set(&event);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 5 * MS, 0), 1);
    the_clock->unexpect(the_clock);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 5 * MS, 0), 0);
    CHECK_EQ(now(), start_ns + 5 * MS);
    end_virtual();
    rasx__event_destroy(&event);
}

/* "A passive wait never moves time: it sees its event, a deadline that others have reached, or nothing." */
TEST(test_clock_passive_wait)
{
    rasx__event event;
    uint64_t start_ns;
    REQUIRE(begin_virtual() == 0);
    REQUIRE(rasx__event_init(&event) == 0);
    start_ns = now();
    prepare(0, 1, 10 * MS, 1);
    start(0);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 20 * MS, 1), -1);
    CHECK_EQ(the_clock->wait(the_clock, &event, RASX_NEVER, 1), -1);
    CHECK_EQ(now(), start_ns);
    CHECK_EQ(log_count, 0);
    rasx__event_set(&event);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 20 * MS, 1), 1);
    CHECK_EQ(rasx__clock_advance(the_clock, 20 * MS), 0);
    CHECK_EQ(the_clock->wait(the_clock, &event, start_ns + 20 * MS, 1), 0);
    end_virtual();
    rasx__event_destroy(&event);
}

/* "An owned wait tells event from deadline, and does not park when either is there already." */
TEST(test_clock_owned_wait)
{
    rasx__event event;
    REQUIRE(begin_virtual() == 0);
    REQUIRE(rasx__event_init(&event) == 0);
    the_clock->expect(the_clock);
    the_clock->enter(the_clock, 1);
    CHECK_EQ(the_clock->wait(the_clock, &event, now(), 0), 0);
    CHECK_EQ(the_clock->wait(the_clock, &event, 0, 0), 0);
    rasx__event_set(&event);
    CHECK_EQ(the_clock->wait(the_clock, &event, RASX_NEVER, 0), 1);
    CHECK_EQ(rasx__event_is_set(&event), 0);
    rasx__event_set(&event);
    CHECK_EQ(the_clock->wait(the_clock, &event, 0, 0), 1);
    the_clock->leave(the_clock);
    end_virtual();
    rasx__event_destroy(&event);
}

typedef struct driver {
    uint64_t    deadline;
    rasx__event event;
    rasx__a32   ended;
    uint64_t    seen;
} driver;

static void run_driver(void *argument)
{
    driver *d = argument;
    while (now() < d->deadline) (void)the_clock->wait(the_clock, &d->event, d->deadline, 0);
    d->seen = now();
    rasx__store(&d->ended, 1);
}

/* "Several threads may drive at once: no tick is lost or doubled, each driver ends at its deadline or after." */
TEST(test_clock_several_drivers)
{
    static driver drivers[2];
    uint64_t start_ns;
    uint32_t i;
    REQUIRE(begin_virtual() == 0);
    start_ns = now();
    prepare(0, 1, 1 * MS, 300);
    prepare(1, 2, 1 * MS, 300);
    start(0);
    start(1);
    CHECK_EQ(rasx__clock_advance(the_clock, 0), 0);
    for (i = 0; i < 2; i++) {
        CHECK_EQ(rasx__event_init(&drivers[i].event), 0);
        drivers[i].deadline = start_ns + (i + 1) * 100 * MS;
        rasx__store(&drivers[i].ended, 0);
        REQUIRE(rasx__thread_start(run_driver, &drivers[i]) == 0);
    }
    CHECK_EQ(rasx__clock_advance(the_clock, 300 * MS), 0);
    for (i = 0; i < 2; i++) {
        while (!rasx__load(&drivers[i].ended)) rasx__yield();
        CHECK(drivers[i].seen >= drivers[i].deadline);
        rasx__event_destroy(&drivers[i].event);
    }
    CHECK_EQ(log_count, 600);
    for (i = 0; i < 600; i++) {
        CHECK_EQ(log_lines[i].who, 1 + i % 2);
        CHECK_EQ(log_lines[i].time - start_ns, (1 + i / 2) * MS);
    }
    end_virtual();
}

/* --- Stress: time must stand still whenever an owned thread runs ------------------------------------------------------------ */

static struct {
    rasx__event events[4];
    rasx__a32   wakes, moved, stop, poker_ended;
} stress;

/* Parks again and again with short timers, passes events on to a neighbour, and looks at the time twice while it runs. */
static void run_stress_worker(void *argument)
{
    const uint32_t id = (uint32_t)(uintptr_t)argument;
    uint64_t seed = id;
    the_clock->enter(the_clock, id);
    while (!rasx__load(&stress.stop)) {
        const uint64_t r = test_random(&seed), from = now();
        const uint64_t deadline = (r & 3) == 0 ? RASX_NEVER : from + r % 1000;
        const int result = the_clock->wait(the_clock, &stress.events[id], deadline, 0);
        const uint64_t first = now();
        if (result == 0 && first < deadline) (void)rasx__add(&stress.moved, 1);
        (void)rasx__add(&stress.wakes, 1);
        if ((r & 0x30) != 0x30) rasx__event_set(&stress.events[(id + 1) % 4]);
        if ((r & 0xC0) == 0) rasx__yield();
        if (now() != first) (void)rasx__add(&stress.moved, 1);
    }
    the_clock->leave(the_clock);
}

/* Sets events from outside, where no lock of the clock protects it. */
static void run_poker(void *argument)
{
    uint64_t seed = 99;
    (void)argument;
    while (!rasx__load(&stress.stop)) {
        rasx__event_set(&stress.events[test_random(&seed) % 4]);
        rasx__yield();
    }
    rasx__store(&stress.poker_ended, 1);
}

/* "Under a storm of events from owned and foreign threads, time never moves while an owned thread runs." */
TEST(test_clock_stress)
{
    const uint32_t rounds = test_load(20000);
    rasx__event event;
    uint64_t last;
    uint32_t i;
    REQUIRE(begin_virtual() == 0);
    REQUIRE(rasx__event_init(&event) == 0);
    rasx__store(&stress.wakes, 0);
    rasx__store(&stress.moved, 0);
    rasx__store(&stress.stop, 0);
    rasx__store(&stress.poker_ended, 0);
    for (i = 0; i < 4; i++) {
        REQUIRE(rasx__event_init(&stress.events[i]) == 0);
        the_clock->expect(the_clock);
        REQUIRE(rasx__thread_start(run_stress_worker, (void *)(uintptr_t)i) == 0);
    }
    REQUIRE(rasx__thread_start(run_poker, NULL) == 0);
    last = now();
    while (rasx__load(&stress.wakes) < rounds) {
        const uint64_t until = now() + 300;
        const int result = the_clock->wait(the_clock, &event, until, 0);
        CHECK(result != 1);
        CHECK(now() >= last);
        if (result == 0) CHECK(now() >= until);
        last = now();
    }
    rasx__store(&stress.stop, 1);
    while (!rasx__load(&stress.poker_ended)) rasx__yield();
    for (i = 0; i < 4; i++) rasx__event_set(&stress.events[i]);
    while (rasx__clock_owned(the_clock) > 0) { /* a worker may have taken our wake-up before it saw `stop` */
        for (i = 0; i < 4; i++) rasx__event_set(&stress.events[i]);
        rasx__yield();
    }
    CHECK_EQ(rasx__load(&stress.moved), 0);
    end_virtual();
    for (i = 0; i < 4; i++) rasx__event_destroy(&stress.events[i]);
    rasx__event_destroy(&event);
}

#define TESTS(X)                                                                                       \
    X(test_clock_real) X(test_clock_switch_refused_while_owned) X(test_clock_fires_in_order)           \
    X(test_clock_settles) X(test_clock_is_deterministic) X(test_clock_drives)                          \
    X(test_clock_waits_for_running_threads) X(test_clock_passive_wait) X(test_clock_owned_wait)        \
    X(test_clock_several_drivers) X(test_clock_stress)
TEST_MAIN(TESTS)
