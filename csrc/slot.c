/* slot.c: the table of dials in flight, and what a notification or a decision does to one of them.
 *
 * SPDX-License-Identifier: MIT
 *
 * Slots are recycled and never returned to the allocator, so a callback that comes at any time later finds valid memory and
 * a foreign generation. A thread that is not the owner pins a slot: it raises `inside`, then compares the generation. The
 * owner changes the generation first and lets the slot be reused only while `inside` is 0. Both sides are sequentially
 * consistent, so at least one of them sees the other.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 64u

rasx__mutex rasx__core_lock = RASX_MUTEX_INIT;

static rasx__aptr  chunks[RASX_SLOT_LIMIT / CHUNK]; /* rasx__slot[CHUNK] each */
static rasx__a32   slot_count;
static rasx__slot *free_first, *free_last; /* oldest first, so that a stale id meets a foreign generation for long */
static uint32_t    live_count;

rasx__slot *rasx__slot_at(uint32_t index)
{
    rasx__slot *chunk = index < RASX_SLOT_LIMIT ? rasx__load_ptr(&chunks[index / CHUNK]) : NULL;
    return chunk ? &chunk[index % CHUNK] : NULL;
}

uint32_t rasx__slot_count(void) { return rasx__load(&slot_count); }

static uint64_t dial_of(uint32_t index, uint32_t generation) { return (uint64_t)generation << 32 | index; }

rasx_dial rasx__slot_dial(const rasx__slot *slot) { return dial_of(slot->index, rasx__load(&slot->generation)); }

/* Where a pointer has 32 bits the id keeps 16 bits of the generation; the rest is told apart by `inside` and recycling order. */
static uintptr_t callback_id_of(uint32_t index, uint32_t generation)
{
#if UINTPTR_MAX > 0xFFFFFFFFu
    return (uintptr_t)dial_of(index, generation);
#else
    return (uintptr_t)(generation << 16 | index);
#endif
}

uintptr_t rasx__slot_callback_id(const rasx__slot *slot)
{
    return callback_id_of(slot->index, rasx__load(&slot->generation));
}

/* --- Life of a slot --- */

static void append_free(rasx__slot *slot)
{
    slot->next_free = NULL;
    if (free_last) free_last->next_free = slot;
    else free_first = slot;
    free_last = slot;
}

/* Adds CHUNK slots with their default rings in one allocation each. */
static int grow(void)
{
    uint32_t first = rasx__load(&slot_count);
    if (first >= RASX_SLOT_LIMIT) return -1;
    rasx__slot *chunk = calloc(CHUNK, sizeof *chunk);
    rasx__cell *cells = calloc(CHUNK * RASX_RING_DEFAULT, sizeof *cells);
    uint32_t made = 0;
    while (chunk && cells && made < CHUNK && rasx__event_init(&chunk[made].wake) == 0) made++;
    if (made < CHUNK) {
        while (made > 0) rasx__event_destroy(&chunk[--made].wake);
        free(cells);
        free(chunk);
        return -1;
    }
    for (uint32_t i = 0; i < CHUNK; i++) {
        chunk[i].index = first + i;
        chunk[i].cells = cells + (size_t)i * RASX_RING_DEFAULT;
        chunk[i].capacity = RASX_RING_DEFAULT;
        append_free(&chunk[i]);
    }
    rasx__store_ptr(&chunks[first / CHUNK], chunk); /* release: rasx__slot_at acquires */
    rasx__store(&slot_count, first + CHUNK);
    return 0;
}

/* Takes the oldest free slot that no handler is inside. One that a handler never leaves stays in the list, unused. */
static rasx__slot *take_free(void)
{
    rasx__slot *before = NULL;
    for (rasx__slot *slot = free_first; slot; before = slot, slot = slot->next_free) {
        if (rasx__load_seq(&slot->inside) != 0) continue; /* pairs with the rasx__add in pin */
        if (before) before->next_free = slot->next_free;
        else free_first = slot->next_free;
        if (free_last == slot) free_last = before;
        return slot;
    }
    return NULL;
}

/* A ring as large as asked for. A larger array than the default's is kept with the slot for its next dial. */
static int give_ring(rasx__slot *slot, uint32_t capacity)
{
    if (capacity > slot->capacity) {
        rasx__cell *cells = calloc(capacity, sizeof *cells);
        if (!cells) return -1;
        if (slot->capacity > RASX_RING_DEFAULT) free(slot->cells); /* the default ones belong to the chunk */
        slot->cells = cells;
        slot->capacity = capacity;
    }
    rasx__ring_init(&slot->ring, slot->cells, capacity);
    return 0;
}

rasx__slot *rasx__slot_acquire(rasx_queue *queue, uint32_t capacity, uint64_t deadline_ns)
{
    uint32_t rounded = 4;
    while (rounded < capacity && rounded < 65536u) rounded *= 2;
    rasx__lock(&rasx__core_lock);
    rasx__slot *slot = take_free();
    if (!slot && grow() == 0) slot = take_free();
    if (slot && give_ring(slot, rounded) != 0) {
        append_free(slot);
        slot = NULL;
    }
    if (slot) {
        rasx__store_relaxed(&slot->pending, 0);
        rasx__store_relaxed(&slot->decided, RASX_OUTCOME_NONE);
        rasx__store_relaxed(&slot->settled, 0);
        rasx__store_relaxed(&slot->lost, 0);
        rasx__store_relaxed(&slot->links, 0);
        rasx__store_relaxed(&slot->progress, 0);
        rasx__store_relaxed(&slot->hung_up, 0);
        rasx__store64(&slot->links_seen, 0);
        rasx__store64(&slot->links_failed, 0);
        rasx__store_relaxed(&slot->first_error, 0);
        rasx__store_relaxed(&slot->paused, 0);
        rasx__params_free(rasx__exchange_ptr(&slot->answer, NULL)); /* one that came after the end of the former dial */
        rasx__store64(&slot->handle, 0);
        (void)rasx__event_is_set(&slot->wake); /* a stale wake-up is harmless: every wait re-checks */
        slot->queue = queue;
        slot->client = queue->client;
        slot->clock = queue->clock;
        slot->ras = queue->client->ras;
        slot->params = NULL;
        slot->deadline_ns = deadline_ns;
        slot->sequence = 0;
        slot->hangup = RASX_HANGUP_NONE;
        slot->hangup_error = 0;
        queue->users++;
        live_count++;
        rasx__store_seq(&slot->generation, rasx__load(&slot->generation) + 1); /* publishes all of the above to pin */
    }
    rasx__unlock(&rasx__core_lock);
    return slot;
}

void rasx__slot_release(rasx__slot *slot)
{
    (void)rasx__exchange(&slot->pending, 1); /* a late handler must not put it into a list any more */
    rasx__lock(&rasx__core_lock);
    rasx__store_seq(&slot->generation, rasx__load(&slot->generation) + 1);
    rasx__queue_unbind_locked(slot->queue);
    live_count--;
    append_free(slot);
    rasx__unlock(&rasx__core_lock);
}

void rasx__slot_census(uint32_t *live, uint32_t *abandoned)
{
    *abandoned = 0;
    rasx__lock(&rasx__core_lock);
    *live = live_count;
    for (rasx__slot *slot = free_first; slot; slot = slot->next_free) {
        if (rasx__load_seq(&slot->inside) != 0) (*abandoned)++;
    }
    rasx__unlock(&rasx__core_lock);
}

/* --- Pinning --- */

rasx__slot *rasx__pin(rasx_dial dial)
{
    uint32_t generation = (uint32_t)(dial >> 32);
    rasx__slot *slot = rasx__slot_at((uint32_t)dial);
    if (!slot || !(generation & 1u)) return NULL;
    (void)rasx__add(&slot->inside, 1);
    if (rasx__load_seq(&slot->generation) == generation) return slot;
    rasx__unpin(slot);
    return NULL;
}

rasx__slot *rasx__pin_callback(uintptr_t callback_id)
{
#if UINTPTR_MAX > 0xFFFFFFFFu
    return rasx__pin((rasx_dial)callback_id);
#else
    rasx__slot *slot = rasx__slot_at((uint32_t)(callback_id & 0xFFFFu));
    if (!slot) return NULL;
    (void)rasx__add(&slot->inside, 1);
    uint32_t generation = rasx__load_seq(&slot->generation);
    if ((generation & 1u) && callback_id_of(slot->index, generation) == callback_id) return slot;
    rasx__unpin(slot);
    return NULL;
#endif
}

void rasx__unpin(rasx__slot *slot) { (void)rasx__sub(&slot->inside, 1); }

/* --- Events --- */

static void fill(const rasx__slot *slot, rasx_event *event)
{
    memset(event, 0, sizeof *event);
    event->dial = rasx__slot_dial(slot);
    event->time_ns = slot->clock->now(slot->clock);
}

static void push(rasx__slot *slot, const rasx_event *event, uint32_t keep)
{
    if (!rasx__ring_push_mp(&slot->ring, event, keep)) (void)rasx__add(&slot->lost, 1);
    rasx__make_ready(slot);
}

/* An embedder's C function, inside the handler (S1.5). `calling` lets rasx_queue_close wait until none runs any more. */
static void tell_embedder(rasx_queue *queue, const rasx_event *event)
{
    if (!rasx__load_ptr(&queue->on_event)) return;
    (void)rasx__add(&queue->calling, 1);
    if (rasx__load_ptr_seq(&queue->on_event)) queue->function(queue->context, event);
    (void)rasx__sub(&queue->calling, 1);
}

static void set_bit(rasx__a64 *bits, uint64_t bit)
{
    uint64_t was = rasx__load64(bits);
    while (!(was & bit) && !rasx__cas64(bits, &was, was | bit)) {}
}

/* Whether the news of one subentry is not that of the whole: there are several, known beforehand or seen. */
static int is_bundle(const rasx__slot *slot)
{
    uint64_t seen = rasx__load64(&slot->links_seen);
    return rasx__load_relaxed(&slot->links) > 1 || (seen & (seen - 1)) != 0;
}

/* S2.3d: notes what became of one link, and keeps the first error. 1 when every link of a known number has failed; where their
 * number is not known, or the notifier does not tell whose news it is, the status of the whole decides. */
static int all_links_failed(rasx__slot *slot, uint32_t subentry, uint32_t error, int failed)
{
    uint32_t none = 0, links = rasx__load_relaxed(&slot->links);
    if (failed && error != 0) (void)rasx__cas(&slot->first_error, &none, error);
    if (subentry == 0 || subentry > 64) return 0;
    uint64_t bit = UINT64_C(1) << (subentry - 1), seen = rasx__load64(&slot->links_failed);
    while (!rasx__cas64(&slot->links_failed, &seen, failed ? seen | bit : seen & ~bit)) {}
    if (!failed || links < 2 || links > 64) return 0;
    uint64_t all = links == 64 ? UINT64_MAX : (UINT64_C(1) << links) - 1;
    return ((seen | bit) & all) == all;
}

/* What a notification means for the dial as a whole (S1.4, S2.1, S2.5). Nothing is guessed from the order of states. */
static enum rasx_outcome judge(rasx__slot *slot, uint32_t subentry, uint32_t state, uint32_t error, int *paused)
{
    *paused = (state & RASCS_PAUSED) && !(state & RASCS_DONE);
    if (*paused && slot->paused_states) return RASX_OUTCOME_NONE; /* S1.7: even with an error, a pause is not the end */
    if (!(state & RASCS_DONE) && is_bundle(slot)) { /* one link may fail while another connects */
        int failed = error != 0 || state == RASCS_SubEntryDisconnected;
        if (!failed && state != RASCS_SubEntryConnected) return RASX_OUTCOME_NONE;
        return all_links_failed(slot, subentry, error, failed) ? RASX_OUTCOME_FAILED : RASX_OUTCOME_NONE;
    }
    if (error != 0) return RASX_OUTCOME_FAILED;
    if (state == RASCS_Connected) return RASX_OUTCOME_CONNECTED; /* for whatever subentry (S2.3d) */
    return state & RASCS_DONE ? RASX_OUTCOME_FAILED : RASX_OUTCOME_NONE;
}

void rasx__notified(rasx__slot *slot, uint64_t handle, uint32_t subentry, uint32_t state, uint32_t error, uint32_t extended_error)
{
    int paused;
    uint32_t none = RASX_OUTCOME_NONE;
    rasx_event event;
    rasx_queue *queue = slot->queue;
    fill(slot, &event);
    if (handle && rasx__load64(&slot->handle) != handle) { /* a look first: the exchange is needed once per dial */
        uint64_t unknown = 0;
        (void)rasx__cas64(&slot->handle, &unknown, handle);
    }
    if (subentry > 0 && subentry <= 64) set_bit(&slot->links_seen, UINT64_C(1) << (subentry - 1));
    event.handle = handle ? handle : rasx__load64(&slot->handle);
    if (!(state & RASCS_DONE)) rasx__store_relaxed(&slot->progress, 1);
    event.state = state;
    event.error = error;
    event.subentry = subentry;
    if (error == 639 || error == 640 || error == 645 || error == 650) event.extended_error = extended_error;
    enum rasx_outcome outcome = judge(slot, subentry, state, error, &paused);
    uint32_t first = outcome == RASX_OUTCOME_FAILED ? rasx__load_relaxed(&slot->first_error) : 0;
    if (first != 0 && error != 0 && first != error) { /* this is the last link's news; the first error is the dial's */
        push(slot, &event, RASX_RING_KEEP);
        tell_embedder(queue, &event);
        (void)rasx__decide(slot, outcome, first, RASX_FROM_NOTIFIER);
        return;
    }
    if (outcome != RASX_OUTCOME_NONE && rasx__cas(&slot->decided, &none, outcome)) {
        event.outcome = (uint16_t)outcome;
        if (outcome == RASX_OUTCOME_FAILED && error == 0) event.error = first != 0 ? first : 668; /* it does not say why */
        push(slot, &event, 0);
        rasx__event_set(&slot->wake);
    } else {
        if (paused && slot->paused_states) { /* before the push: whoever sees the event may answer at once */
            uint32_t running = 0; /* not again when a pause that has been answered is announced twice (S8.18) */
            (void)rasx__cas(&slot->paused, &running, 1);
            rasx__event_set(&slot->wake);
        }
        push(slot, &event, paused ? RASX_RING_KEEP - 1 : RASX_RING_KEEP);
    }
    tell_embedder(queue, &event);
}

int rasx__decide(rasx__slot *slot, enum rasx_outcome outcome, uint32_t error, enum rasx_origin origin)
{
    uint32_t none = RASX_OUTCOME_NONE;
    rasx_event event;
    rasx_queue *queue = slot->queue;
    if (!rasx__cas(&slot->decided, &none, outcome)) return 0;
    fill(slot, &event);
    event.handle = rasx__load64(&slot->handle);
    event.state = outcome == RASX_OUTCOME_CONNECTED ? RASCS_Connected : RASCS_Disconnected;
    event.error = error;
    event.origin = (uint16_t)origin;
    event.outcome = (uint16_t)outcome;
    push(slot, &event, 0);
    rasx__event_set(&slot->wake);
    tell_embedder(queue, &event);
    return 1;
}

int rasx__take_settled(rasx__slot *slot)
{
    uint32_t waiting = 1;
    return rasx__cas(&slot->settled, &waiting, 2);
}

/* Pinned meanwhile, because a quick consumer may release the slot as soon as the record is visible. The queue's closing and
 * this settling each look for the other after their own store, and take_settled lets only one of them release. */
void rasx__settle(rasx__slot *slot, uint32_t hangup, uint32_t hangup_error)
{
    (void)rasx__add(&slot->inside, 1);
    slot->hangup = hangup;
    slot->hangup_error = hangup_error;
    rasx_queue *queue = slot->queue;
    rasx__store_seq(&slot->settled, 1);
    if (rasx__load_seq(&queue->closed)) {
        if (rasx__take_settled(slot)) rasx__slot_release(slot);
    } else {
        rasx__make_ready(slot);
    }
    rasx__unpin(slot);
}
