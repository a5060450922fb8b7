/* flat.c: the handler of the library against the same steps written out without functions, layers or generality.
 *
 * SPDX-License-Identifier: MIT
 *
 * One thread does all of it, so the ratio shows what the structure of the code costs and nothing of the machine's caches.
 * Also counts futex calls: native.py links with --wrap=syscall.
 */
#include "bench.h"
#include "core.h"

#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>

#define PER_ROUND 16u
#define CELLS 32u

typedef struct flat_slot {
    rasx__a32 inside, generation, pending;
    rasx__aptr next;
    uint8_t pad0[40];
    rasx__a32 tail;
    uint8_t pad1[60];
    rasx__a32 head;
    uint8_t pad2[60];
    rasx__cell cells[CELLS];
} flat_slot;

static flat_slot  flat_slots[PER_ROUND];
static rasx__aptr flat_ready;
static rasx__a32  flat_armed;
static rasx__ring plain_ring;
static rasx__cell plain_cells[CELLS];

/* Enter, compare, clock, claim, copy, publish, exchange; then, for the first event since the last drain, list and armed. */
static void flat_handler(flat_slot *slot, uint32_t generation, uint64_t number)
{
    (void)rasx__add(&slot->inside, 1);
    if (rasx__load_seq(&slot->generation) == generation) {
        uint32_t position = rasx__load_relaxed(&slot->tail);
        while (position - rasx__load(&slot->head) < CELLS - RASX_RING_KEEP &&
               !rasx__cas_relaxed(&slot->tail, &position, position + 1)) {}
        rasx__cell *cell = &slot->cells[position % CELLS];
        memset(&cell->event, 0, sizeof cell->event);
        cell->event.dial = generation;
        cell->event.time_ns = rasx__now_ns();
        cell->event.handle = number;
        cell->event.state = RASCS_ConnectDevice;
        cell->event.subentry = 1;
        rasx__store(&cell->turn, position + 1);
        if (rasx__exchange(&slot->pending, 1) == 0) {
            void *head = rasx__load_ptr(&flat_ready);
            do {
                rasx__store_ptr(&slot->next, head);
            } while (!rasx__cas_ptr(&flat_ready, &head, slot));
            (void)rasx__exchange(&flat_armed, 0);
        }
    }
    (void)rasx__sub(&slot->inside, 1);
}

static void flat_drain(void)
{
    flat_slot *slot = rasx__exchange_ptr(&flat_ready, NULL);
    while (slot) {
        (void)rasx__exchange(&slot->pending, 0);
        rasx__store(&slot->head, rasx__load(&slot->tail));
        slot = rasx__load_ptr(&slot->next);
    }
}

uint32_t bench_flat_per_round(void) { return PER_ROUND; }

/* One round: everything but the calls themselves happens outside the timed part. Needs PER_ROUND dials. */
uint64_t bench_flat(rasx_queue *queue, uint32_t kind)
{
    static uint64_t number;
    const bench_handler ours = bench_notifier();
    rasx_event events[PER_ROUND * 2];
    uint32_t count = 0;
    uint64_t start, ns;
    if (plain_ring.cells == NULL) rasx__ring_init(&plain_ring, plain_cells, CELLS);
    memset(events, 0, sizeof events);
    if (kind == BENCH_MORE_OURS) (void)ours(bench_dial_id(0), 1, (void *)(uintptr_t)1, 0, RASCS_ConnectDevice, 0, 0);
    if (kind == BENCH_MORE_FLAT) flat_handler(&flat_slots[0], 0, 1);
    start = rasx__now_ns();
    switch (kind) {
    case BENCH_FIRST_OURS:
        for (uint32_t i = 0; i < PER_ROUND; i++) {
            (void)ours(bench_dial_id(i), 1, (void *)(uintptr_t)++number, 0, RASCS_ConnectDevice, 0, 0);
        }
        break;
    case BENCH_FIRST_FLAT:
        for (uint32_t i = 0; i < PER_ROUND; i++) flat_handler(&flat_slots[i], 0, ++number);
        break;
    case BENCH_MORE_OURS:
        for (uint32_t i = 0; i < PER_ROUND; i++) {
            (void)ours(bench_dial_id(0), 1, (void *)(uintptr_t)++number, 0, RASCS_ConnectDevice, 0, 0);
        }
        break;
    case BENCH_MORE_FLAT:
        for (uint32_t i = 0; i < PER_ROUND; i++) flat_handler(&flat_slots[0], 0, ++number);
        break;
    default:
        for (uint32_t i = 0; i < PER_ROUND; i++) {
            (void)rasx__ring_push_mp(&plain_ring, &events[0], 0);
            if (kind == BENCH_ARMED_PUSH) (void)rasx__exchange(&flat_armed, 0);
        }
    }
    ns = rasx__now_ns() - start;
    (void)rasx_queue_drain(queue, events, PER_ROUND * 2, &count);
    (void)rasx__ring_pop_sc(&plain_ring, events, PER_ROUND);
    flat_drain();
    return ns;
}

/* --- Futex calls, counted at the door to the kernel --- */

#define FUTEX_OPERATION 127
static rasx__a64 futex_waits, futex_wakes;

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long); /* as the C library's own does */
    va_end(list);
    if (number == SYS_futex) {
        const long operation = a[1] & FUTEX_OPERATION;
        if (operation == 0 || operation == 9) (void)rasx__add64(&futex_waits, 1); /* WAIT, WAIT_BITSET */
        if (operation == 1) (void)rasx__add64(&futex_wakes, 1);
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

void bench_futex_calls(uint64_t *waits, uint64_t *wakes)
{
    *waits = rasx__load64(&futex_waits);
    *wakes = rasx__load64(&futex_wakes);
}
