/* ring.c: a bounded ring for many producers and one consumer, without locks.
 *
 * SPDX-License-Identifier: MIT
 *
 * Positions are 32-bit counters that run freely and wrap; a cell is found by the low bits, and all comparisons are
 * differences, so the wrap is no special case. `tail` says which positions are claimed, `head` which ones are free again,
 * a cell's `turn` whether its position is published.
 */
#include "ring.h"

#include <assert.h>

static_assert(sizeof(rasx_event) == 48, "the event layout is part of the ABI");
static_assert(sizeof(rasx__cell) == 64, "one cell per cache line");
static_assert(offsetof(rasx__ring, tail) == 64, "producers and consumer on lines of their own");
static_assert(offsetof(rasx__ring, head) == 128, "producers and consumer on lines of their own");

void rasx__ring_init(rasx__ring *ring, rasx__cell *cells, uint32_t capacity)
{
    uint32_t i;
    ring->cells = cells;
    ring->mask = capacity - 1;
    for (i = 0; i < capacity; i++) rasx__store_relaxed(&cells[i].turn, i);
    rasx__store(&ring->tail, 0);
    rasx__store(&ring->head, 0); /* publishing the ring itself to other threads is the caller's business */
}

/* One locked operation. `head` alone decides whether a place is free: that is what makes the `keep` reservation exact, and
 * the cell's own turn then needs no check. The claim can be relaxed because a claimed place means nothing to anyone until its
 * turn is stored. A producer would have to stall here while 2^32 others push for the comparison to be fooled: it happens
 * inside a handler call that RAS waits for, so assumed impossible. `cells` and `mask` are read before the locked operation,
 * because loads behind it wait for it, and the place comes from what we expected, not from what it returned, for the same reason.
 * (Not so the event: gcc puts a local copy on the stack, twice the cost.) */
int rasx__ring_push_mp(rasx__ring *ring, const rasx_event *event, uint32_t keep)
{
    rasx__cell *const cells = ring->cells;
    const uint32_t mask = ring->mask;
    uint32_t position = rasx__load_relaxed(&ring->tail);
    rasx__cell *cell;
    for (;;) {
        /* Acquire; the release is the head store in rasx__ring_pop_sc: the consumer has finished reading every cell below
         * head before we overwrite one. */
        const uint32_t used = position - rasx__load(&ring->head);
        uint32_t found = position;
        if (used > mask + 1) { /* others pushed, and the consumer popped, past the position we read: it is stale */
            position = rasx__load_relaxed(&ring->tail);
            continue;
        }
        /* A stale position makes the ring look emptier than it is, never fuller: a refusal is true, and a claim on a wrong
         * belief fails below. */
        if (mask + 1 - used <= keep) return 0;
        if (rasx__cas_relaxed(&ring->tail, &found, position + 1)) break;
        position = found;
    }
    cell = &cells[position & mask];
    cell->event = *event;
    rasx__store(&cell->turn, position + 1); /* release; its acquire is the turn load in rasx__ring_pop_sc */
    return 1;
}

/* One head store for the whole batch: producers on other cores lose that cache line once and not per event. */
uint32_t rasx__ring_pop_sc(rasx__ring *ring, rasx_event *events, uint32_t most)
{
    rasx__cell *const cells = ring->cells;
    const uint32_t mask = ring->mask;
    const uint32_t head = rasx__load_relaxed(&ring->head); /* only the consumer writes it */
    uint32_t count = 0;
    while (count < most) {
        rasx__cell *cell = &cells[(head + count) & mask];
        /* Acquire; the release is the turn store in rasx__ring_push_mp: we see the whole event. */
        if (rasx__load(&cell->turn) != head + count + 1) break;
        events[count] = cell->event;
        /* Relaxed: no producer looks at it before it has acquired the head store below. */
        rasx__store_relaxed(&cell->turn, head + count + mask + 1);
        count++;
    }
    if (count > 0) rasx__store(&ring->head, head + count); /* release; its acquire is the head load in rasx__ring_push_mp */
    return count;
}
