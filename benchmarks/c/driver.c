/* driver.c: a native thread that plays RAS: it calls notification handlers and measures how long they keep it.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE
#include "bench.h"
#include "core.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define BARE_CELLS 64u
#define SETTLE_US 20u /* between two looks whether the consumer sleeps */

static struct {
    uint32_t      kind, count, pause_us, cpu_plus_1;
    bench_handler handler;
    uint64_t      first;
    uint64_t     *samples;
} job;
static pthread_t   thread;
static rasx__a64   taken;
static rasx__a64   signalled;
static rasx__a32   bare_sleeps;  /* 1: the consumer is about to sleep in bench_bare_wait */
static rasx__ring  bare_ring;
static rasx__cell  bare_cells[BARE_CELLS];
static rasx__event bare_event, burst_there, burst_taken;
static rasx__a32   burst_size;
static int         bare_fd = -1;

static void pause_for(uint32_t us)
{
    struct timespec t = { 0, (long)us * 1000 };
    if (us > 0) (void)nanosleep(&t, NULL);
}

/* The queue of the dials that fake.c has started. */
static rasx_queue *queue_of_dials(void) { return rasx__slot_at((uint32_t)bench_dial_id(0))->queue; }

/* On Linux the futex word says 2 while the waiter is in the kernel, or as good as there. */
static int consumer_sleeps(void)
{
    if (job.kind == BENCH_WAKE) return rasx__load(&queue_of_dials()->wake.word) == 2;
    if (job.kind == BENCH_FUTEX) return rasx__load(&bare_event.word) == 2;
    return rasx__load(&bare_sleeps) != 0;
}

static uint32_t tell(bench_handler handler, uint32_t dial, uint64_t number)
{
    return handler(bench_dial_id(dial), 1, (void *)(uintptr_t)number, 0xCCCD, RASCS_ConnectDevice, 0, 0);
}

static uint64_t timed_call(bench_handler handler, uint32_t dial, uint64_t number)
{
    const uint64_t start = rasx__now_ns();
    (void)tell(handler, dial, number);
    return rasx__now_ns() - start;
}

static uint64_t timed_bare(uint64_t number)
{
    const uint64_t one = 1, start = rasx__now_ns();
    rasx_event event;
    memset(&event, 0, sizeof event);
    event.handle = number;
    event.time_ns = start;
    (void)rasx__ring_push_mp(&bare_ring, &event, 0);
    if (job.kind == BENCH_FUTEX) rasx__event_set(&bare_event);
    else if (write(bare_fd, &one, sizeof one) != sizeof one) return 0;
    return rasx__now_ns() - start;
}

static void run_bursts(void)
{
    const bench_handler ours = bench_notifier();
    const uint32_t dials = bench_dial_count();
    for (uint32_t done = 0; done < job.count;) {
        const uint32_t size = job.count - done < dials ? job.count - done : dials;
        pause_for(job.pause_us);
        for (uint32_t i = 0; i < size; i++, done++) job.samples[done] = timed_call(ours, i, job.first + done);
        rasx__store(&burst_size, size);
        rasx__event_set(&burst_there);
        while (rasx__event_wait(&burst_taken, RASX_NEVER) != 1) {}
    }
    rasx__store(&burst_size, 0);
    rasx__event_set(&burst_there);
}

static void run_stream(void)
{
    const bench_handler ours = bench_notifier();
    const uint32_t dials = bench_dial_count();
    /* One ring's worth: the consumer empties dial by dial, so that one ring may hold all that is under way. */
    const uint64_t room = rasx__slot_at((uint32_t)bench_dial_id(0))->ring.mask + 1 - RASX_RING_KEEP - 1;
    for (uint64_t i = 0; i < job.count; i++) {
        while (i - rasx__load64(&taken) >= room) pause_for(SETTLE_US);
        (void)tell(ours, (uint32_t)(i % dials), job.first + i);
    }
}

static void *run(void *unused)
{
    (void)unused;
    if (job.cpu_plus_1 > 0) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)job.cpu_plus_1 - 1, &set);
        (void)pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    }
    if (job.kind == BENCH_PUSH) {
        run_bursts();
        return NULL;
    }
    if (job.kind == BENCH_STREAM) {
        run_stream();
        return NULL;
    }
    for (uint32_t i = 0; i < job.count; i++) {
        const uint64_t number = job.first + i;
        if (job.kind == BENCH_WAKE || job.kind == BENCH_EVENTFD || job.kind == BENCH_FUTEX) {
            while (!consumer_sleeps()) pause_for(SETTLE_US);
        }
        pause_for(job.pause_us); /* long enough for the consumer's processor to halt */
        rasx__store(&bare_sleeps, 0);
        rasx__store64(&signalled, rasx__now_ns());
        if (job.kind == BENCH_WAKE || job.kind == BENCH_RING) {
            job.samples[i] = timed_call(bench_notifier(), i % bench_dial_count(), number);
        } else if (job.kind == BENCH_EVENTFD || job.kind == BENCH_FUTEX) {
            job.samples[i] = timed_bare(number);
        } else if (job.kind == BENCH_NOTHING) {
            const uint64_t start = rasx__now_ns();
            job.samples[i] = rasx__now_ns() - start;
        } else {
            job.samples[i] = timed_call(job.handler, 0, number);
        }
    }
    return NULL;
}

int bench_start(uint32_t kind, bench_handler handler, uint32_t count, uint32_t pause_us, uint32_t cpu_plus_1, uint64_t first,
                uint64_t *samples)
{
    if (bare_fd < 0) {
        bare_fd = eventfd(0, EFD_CLOEXEC);
        rasx__ring_init(&bare_ring, bare_cells, BARE_CELLS);
        if (bare_fd < 0 || rasx__event_init(&bare_event) != 0 || rasx__event_init(&burst_there) != 0 ||
            rasx__event_init(&burst_taken) != 0) {
            return -1;
        }
    }
    job.kind = kind;
    job.handler = handler;
    job.count = count;
    job.pause_us = pause_us;
    job.cpu_plus_1 = cpu_plus_1;
    job.first = first;
    job.samples = samples;
    rasx__store64(&taken, 0);
    return pthread_create(&thread, NULL, run, NULL) == 0 ? 0 : -1;
}

void bench_join(void) { (void)pthread_join(thread, NULL); }

uint32_t bench_burst_wait(void)
{
    while (rasx__event_wait(&burst_there, RASX_NEVER) != 1) {}
    return rasx__load(&burst_size);
}

void bench_burst_done(void) { rasx__event_set(&burst_taken); }

void bench_taken(uint64_t total) { rasx__store64(&taken, total); }

void bench_bare_wait(uint32_t kind)
{
    uint64_t value;
    rasx__store(&bare_sleeps, 1);
    if (kind == BENCH_FUTEX) while (rasx__event_wait(&bare_event, RASX_NEVER) != 1) {}
    else while (read(bare_fd, &value, sizeof value) < 0) {}
}

uint32_t bench_bare_drain(rasx_event *events, uint32_t most) { return rasx__ring_pop_sc(&bare_ring, events, most); }

int bench_eventfd(void)
{
    rasx__store(&bare_sleeps, 1); /* the caller is about to read it */
    return bare_fd;
}

uint64_t bench_signalled_ns(void) { return rasx__load64(&signalled); }
