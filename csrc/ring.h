/* ring.h: a bounded ring for many producers and one consumer, without locks.
 *
 * SPDX-License-Identifier: MIT
 *
 * Each cell carries a turn number, so a producer that stalls in mid-push delays what comes behind it but corrupts nothing.
 * Who may call is in the name: _mp from any number of threads, _sc from one thread at a time.
 */
#ifndef RASX_RING_H
#define RASX_RING_H

#include "os.h"
#include "ras_ext.h"

typedef struct rasx__cell {
    rasx__a32  turn;  /* position: free for the push of that position; position + 1: holds it */
    uint32_t   unused;
    rasx_event event;
    uint64_t   pad;   /* to 64 bytes, one cache line */
} rasx__cell;

typedef struct rasx__ring {
    rasx__cell *cells;
    uint32_t    mask;      /* capacity - 1 */
    uint8_t     pad0[64 - sizeof(void *) - 4];
    rasx__a32   tail;      /* next position to claim; producers */
    uint8_t     pad1[60];
    rasx__a32   head;      /* next position to pop; the consumer stores, producers read to see how much is free */
    uint8_t     pad2[60];
} rasx__ring;

/* capacity: a power of two, 2 to 2^16. cells: `capacity` of them, owned by the caller, 64-byte aligned where speed matters. */
void rasx__ring_init(rasx__ring *ring, rasx__cell *cells, uint32_t capacity);

/* Copies *event in. 0 when fewer than keep + 1 places are free, else 1. keep = 0 uses the last place. Never blocks; retries
 * only when another producer claimed the same position. */
int rasx__ring_push_mp(rasx__ring *ring, const rasx_event *event, uint32_t keep);

/* Moves at most `most` events out, in the order of their positions, up to the first that is still being written. */
uint32_t rasx__ring_pop_sc(rasx__ring *ring, rasx_event *events, uint32_t most);

#endif
