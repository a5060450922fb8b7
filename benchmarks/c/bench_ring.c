/* bench_ring.c: what the ring costs, beside the floor under it: the copies, one locked operation, one cache line's trip.
 *
 * SPDX-License-Identifier: MIT
 *
 * Prints JSON lines: {"name", "ns", "least_ns", "rounds"} per measurement (ns is the median over the rounds, all measurements
 * taken in turn within each round, so that a change of clock speed or load hits them alike), then {"ratio", "value"} lines,
 * where a ratio is the median of the ratios within each round. Argument: rounds (default 31).
 */
#ifdef __linux__
#define _GNU_SOURCE 1 /* sched_setaffinity */
#include <sched.h>
#endif
#include "../../csrc/ring.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define CAPACITY 1024u
#define STEPS 100000u /* operations per measurement */
#define TRIPS 20000u  /* round trips between two threads */
#define MOST_ROUNDS 1000u

enum { COPY, XADD, BOTH, CLOCK, PUSH_POP, PUSH, POP, POP_BATCH, LINE_TRIP, RING_TRIP, MEASUREMENTS };

static const char *const names[MEASUREMENTS] = {
    "floor: copy 48 bytes in and out", "floor: one locked add", "floor: the copies and the locked add in one loop",
    "floor: clock read", "push + pop", "push", "pop, one at a time",
    "pop, 64 at a time", "floor: bare cache line, one way", "ring, one way"
};

static double times[MEASUREMENTS][MOST_ROUNDS];

static rasx__cell cell_room[3 * CAPACITY + 1];
static rasx__ring ring, there, back;
static struct { char a[128]; rasx__a32 word; char b[124]; rasx__a32 answer; char c[124]; rasx__a32 go, mode, ready; } line;
static rasx_event out[64];

/* A benchmark thread per processor, where the system lets us say so. A new thread inherits its creator's set, so the threads
 * start before anyone pins itself. */
static void pin(int nth)
{
#ifdef __linux__
    cpu_set_t all, one;
    size_t cpu;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) != 0) return;
    for (cpu = 0; cpu < (size_t)CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &all) && nth-- == 0) {
            CPU_SET(cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one);
            return;
        }
#else
    (void)nth;
#endif
}

static double copy(const rasx_event *event)
{
    const uint64_t start = rasx__now_ns();
    uint32_t i;
    for (i = 0; i < STEPS; i++) {
        rasx__cell *cell = &ring.cells[i & ring.mask];
        cell->event = *event;
        atomic_signal_fence(memory_order_seq_cst); /* the compiler may not merge the two copies */
        out[0] = cell->event;
        atomic_signal_fence(memory_order_seq_cst);
    }
    return (double)(rasx__now_ns() - start) / STEPS;
}

static double locked_add(void)
{
    const uint64_t start = rasx__now_ns();
    uint32_t i;
    for (i = 0; i < STEPS; i++) (void)rasx__add(&line.word, 1);
    return (double)(rasx__now_ns() - start) / STEPS;
}

/* Together they cost more than apart: a locked operation waits for the stores before it. Any ring pays at least this. */
static double copy_and_add(const rasx_event *event)
{
    const uint64_t start = rasx__now_ns();
    uint32_t i;
    for (i = 0; i < STEPS; i++) {
        rasx__cell *cell = &ring.cells[rasx__add(&line.word, 1) & ring.mask];
        cell->event = *event;
        atomic_signal_fence(memory_order_seq_cst);
        out[0] = cell->event;
        atomic_signal_fence(memory_order_seq_cst);
    }
    return (double)(rasx__now_ns() - start) / STEPS;
}

static double clock_read(void)
{
    const uint64_t start = rasx__now_ns();
    uint64_t last = start;
    uint32_t i;
    for (i = 0; i < STEPS; i++) last = rasx__now_ns();
    return (double)(last - start) / STEPS;
}

static double push_pop(const rasx_event *event)
{
    const uint64_t start = rasx__now_ns();
    uint32_t i;
    for (i = 0; i < STEPS; i++) {
        (void)rasx__ring_push_mp(&ring, event, 0);
        (void)rasx__ring_pop_sc(&ring, out, 1);
    }
    return (double)(rasx__now_ns() - start) / STEPS;
}

/* Fills and empties the ring; the pops are by `batch`. */
static double push_apart(const rasx_event *event, uint32_t batch, double *pop_ns)
{
    uint64_t pushing = 0, popping = 0;
    uint32_t done = 0, i;
    for (; done < STEPS; done += CAPACITY) {
        const uint64_t start = rasx__now_ns();
        uint64_t middle;
        for (i = 0; i < CAPACITY; i++) (void)rasx__ring_push_mp(&ring, event, 0);
        middle = rasx__now_ns();
        for (i = 0; i < CAPACITY; i += rasx__ring_pop_sc(&ring, out, batch)) {}
        popping += rasx__now_ns() - middle;
        pushing += middle - start;
    }
    *pop_ns = (double)popping / done;
    return (double)pushing / done;
}

/* Spins, but lets the other thread run where there is only one processor. */
static void spin(uint32_t *spins)
{
    if (++*spins % 4096 == 0) rasx__yield();
}

static void pop_one(rasx__ring *from, rasx_event *event)
{
    uint32_t spins = 0;
    while (rasx__ring_pop_sc(from, event, 1) == 0) spin(&spins);
}

/* The other side. mode 1: bare line, 2: ring, 3: end; `go` counts the sessions. */
static void echo(void *argument)
{
    uint32_t session = 0, spins = 0, i;
    (void)argument;
    pin(1);
    rasx__store(&line.ready, 1);
    for (;;) {
        session++;
        while (rasx__load(&line.go) != session) spin(&spins);
        if (rasx__load(&line.mode) == 3) break;
        for (i = 1; i <= TRIPS; i++) {
            if (rasx__load(&line.mode) == 1) {
                while (rasx__load(&line.word) != i) spin(&spins);
                rasx__store(&line.answer, i);
            } else {
                static rasx_event event;
                pop_one(&there, &event);
                (void)rasx__ring_push_mp(&back, &event, 0);
            }
        }
    }
    rasx__store(&line.mode, 0);
}

static double trips(uint32_t mode, const rasx_event *event)
{
    uint64_t start;
    uint32_t spins = 0, i;
    rasx__store(&line.word, 0);
    rasx__store(&line.answer, 0);
    rasx__store(&line.mode, mode);
    (void)rasx__add(&line.go, 1);
    start = rasx__now_ns();
    for (i = 1; i <= TRIPS; i++) {
        if (mode == 1) {
            rasx__store(&line.word, i);
            while (rasx__load(&line.answer) != i) spin(&spins);
        } else {
            (void)rasx__ring_push_mp(&there, event, 0);
            pop_one(&back, &out[0]);
        }
    }
    return (double)(rasx__now_ns() - start) / (2.0 * TRIPS);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(const double *values, uint32_t count)
{
    static double sorted[MOST_ROUNDS];
    uint32_t i;
    for (i = 0; i < count; i++) sorted[i] = values[i];
    qsort(sorted, count, sizeof *sorted, compare);
    return count % 2 == 1 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* a / (b + c), round by round; c may be -1. */
static void ratio(const char *what, int a, int b, int c, uint32_t rounds)
{
    static double values[MOST_ROUNDS];
    uint32_t i;
    for (i = 0; i < rounds; i++) values[i] = times[a][i] / (times[b][i] + (c >= 0 ? times[c][i] : 0));
    printf("{\"ratio\": \"%s\", \"value\": %.3f}\n", what, median(values, rounds));
}

int main(int argc, char **argv)
{
    const uintptr_t at = ((uintptr_t)cell_room + 63) & ~(uintptr_t)63;
    rasx__cell *cells = (rasx__cell *)at;
    rasx_event event = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 };
    uint32_t rounds = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 31, round;
    double batched_push;
    int m;
    if (rounds == 0 || rounds > MOST_ROUNDS) rounds = 31;
    rasx__ring_init(&ring, cells, CAPACITY);
    rasx__ring_init(&there, cells + CAPACITY, CAPACITY);
    rasx__ring_init(&back, cells + (size_t)2 * CAPACITY, CAPACITY);
    if (rasx__thread_start(echo, NULL) != 0) return 1;
    while (rasx__load(&line.ready) == 0) rasx__yield();
    pin(0);
    for (round = 0; round <= rounds; round++) { /* the first warms up and is overwritten */
        const uint32_t r = round == 0 ? 0 : round - 1;
        times[COPY][r] = copy(&event);
        times[XADD][r] = locked_add();
        times[BOTH][r] = copy_and_add(&event);
        times[PUSH_POP][r] = push_pop(&event);
        times[CLOCK][r] = clock_read();
        times[PUSH][r] = push_apart(&event, 1, &times[POP][r]);
        batched_push = push_apart(&event, 64, &times[POP_BATCH][r]);
        (void)batched_push;
        times[LINE_TRIP][r] = trips(1, &event);
        times[RING_TRIP][r] = trips(2, &event);
    }
    rasx__store(&line.mode, 3);
    (void)rasx__add(&line.go, 1);
    while (rasx__load(&line.mode) != 0) rasx__yield();
    for (m = 0; m < MEASUREMENTS; m++) {
        double least = times[m][0];
        for (round = 1; round < rounds; round++)
            if (times[m][round] < least) least = times[m][round];
        printf("{\"name\": \"%s\", \"ns\": %.2f, \"least_ns\": %.2f, \"rounds\": %u}\n", names[m], median(times[m], rounds), least,
               (unsigned)rounds);
    }
    ratio("push + pop / (copy + locked add)", PUSH_POP, COPY, XADD, rounds);
    ratio("push + pop / the copies and the locked add in one loop", PUSH_POP, BOTH, -1, rounds);
    ratio("push / locked add", PUSH, XADD, -1, rounds);
    ratio("ring one way / bare cache line one way", RING_TRIP, LINE_TRIP, -1, rounds);
    return 0;
}
