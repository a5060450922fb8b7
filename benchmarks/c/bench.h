/* bench.h: what the native side of the benchmarks offers to their Python side.
 *
 * SPDX-License-Identifier: MIT
 *
 * native.py compiles these files together with the core's own sources into one extension, so that what is timed is the
 * handler of the library and not a copy of it. Linux only: pinning, eventfd, and a look at the futex word.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "ras_ext.h"

/* cffi: begin */

typedef uint32_t (*bench_handler)(uintptr_t id, uint32_t subentry, void *connection, uint32_t message, uint32_t state,
                                  uint32_t error, uint32_t extended_error);

/* --- fake.c: a RAS whose RasDial keeps the caller until bench_close; one at a time --- */

/* Opens a client with `dials` dials, returns when all of them are inside RasDial. 0 or a code. */
uint32_t bench_open(uint32_t dials, uint32_t capacity, rasx_queue **queue);
uint32_t bench_close(void);
uint32_t bench_inside(void); /* threads inside RasDial now */

/* --- driver.c: a native thread that plays RAS and times the handler --- */

enum bench_kind {
    BENCH_CALL    = 0, /* the given handler, after a pause */
    BENCH_PUSH    = 1, /* ours, one event for each dial in a row, while nobody sleeps on the queue */
    BENCH_WAKE    = 2, /* ours, when the consumer sleeps in rasx_queue_wait */
    BENCH_EVENTFD = 3, /* a bare ring push and a write to an eventfd that the consumer reads */
    BENCH_FUTEX   = 4, /* a bare ring push and a futex wake-up */
    BENCH_STREAM  = 5, /* ours without pauses, as fast as the rings allow; samples stay untouched */
    BENCH_NOTHING = 6, /* the two clock reads alone */
    BENCH_RING    = 7  /* ours, when the consumer waits on the queue's socket */
};

/* Starts the thread on processor `cpu` (-1: any): `count` calls, each after `pause_us`, samples[i] = ns of call i. Event i
 * carries number first + i as its handle. 0 or -1. */
int  bench_start(uint32_t kind, bench_handler handler, uint32_t count, uint32_t pause_us, uint32_t cpu_plus_1, uint64_t first,
                 uint64_t *samples);
void bench_join(void);
/* BENCH_PUSH: waits until a burst has been pushed; its size, 0 after the last. Then drain, and let the next one come. */
uint32_t bench_burst_wait(void);
void     bench_burst_done(void);
/* BENCH_STREAM: the consumer tells how many it has taken, so that no ring overflows. */
void     bench_taken(uint64_t total);
/* BENCH_EVENTFD, BENCH_FUTEX: the consumer's sleep, and what it takes from the bare ring afterwards. */
void     bench_bare_wait(uint32_t kind);
uint32_t bench_bare_drain(rasx_event *events, uint32_t most);
int      bench_eventfd(void);
/* When the driver gave the last signal of BENCH_WAKE or BENCH_EVENTFD, on the clock of time.perf_counter_ns. */
uint64_t bench_signalled_ns(void);

/* --- gil.c: what a handler must do that enters Python itself --- */

void     bench_set_callable(void *object);
uint32_t bench_on_gil(uintptr_t id, uint32_t subentry, void *connection, uint32_t message, uint32_t state, uint32_t error,
                      uint32_t extended_error);

/* --- flat.c: our handler against its own steps, on one thread; ns for `per_round` calls --- */

enum bench_flat_kind {
    BENCH_FIRST_OURS = 0, /* each call is the first for its dial since the last drain */
    BENCH_FIRST_FLAT = 1,
    BENCH_MORE_OURS  = 2, /* the dial is waiting to be drained already */
    BENCH_MORE_FLAT  = 3,
    BENCH_PLAIN_PUSH = 4, /* the ring alone */
    BENCH_ARMED_PUSH = 5  /* the ring, and the exchange that asks whether somebody sleeps */
};
uint32_t bench_flat_per_round(void);
uint64_t bench_flat(rasx_queue *queue, uint32_t kind);

/* System calls so far that put the core's threads to sleep on a futex, and that wake one. */
void bench_futex_calls(uint64_t *waits, uint64_t *wakes);

/* cffi: end */

/* fake.c, for the other files */
uint32_t  bench_dial_count(void);
uintptr_t bench_dial_id(uint32_t index);
bench_handler bench_notifier(void); /* what RasDial was given */

#endif
