/* queue.c: dials that have something to say, handed to one consumer; the armed wake-up.
 *
 * SPDX-License-Identifier: MIT
 *
 * The ready list is intrusive and holds each slot at most once (its `pending` flag), so it cannot be full. Waking a sleeper
 * is a system call that costs far more than the push, so a producer signals only when the consumer said that it is about to
 * sleep. Queues are recycled, never freed: a handler may still hold a pointer to one.
 */
#include "core.h"

#include <stdlib.h>

static rasx_queue *free_queues; /* core lock */
static rasx__a32   open_queues;

/* --- Producers --- */

/* Who waits on a socket, and for other things too, cannot say when it sleeps. So it gets one byte at most for each drain: the one
 * that makes `rung` 1 sends it. `ringing` lets rasx_queue_set_socket wait until nobody holds the old socket any more. */
static void ring_socket(rasx_queue *queue)
{
    if (!rasx__load_ptr(&queue->socket) || rasx__exchange(&queue->rung, 1) != 0) return;
    (void)rasx__add(&queue->ringing, 1);
    uintptr_t socket = (uintptr_t)rasx__load_ptr_seq(&queue->socket);
    if (socket) rasx__socket_ring(socket - 1);
    (void)rasx__sub(&queue->ringing, 1);
}

static void wake_if_armed(rasx_queue *queue)
{
    if (rasx__exchange(&queue->armed, 0) == 1) rasx__event_set(&queue->wake);
    ring_socket(queue);
}

/* The exchange of `pending` comes after the push into the ring and before the consumer's exchange to 0 or after it: before,
 * the consumer reads the push (it acquires what this releases); after, this one sees 0 and puts the slot into the list. */
void rasx__make_ready(rasx__slot *slot)
{
    rasx_queue *queue = slot->queue;
    if (rasx__exchange(&slot->pending, 1) != 0) return;
    void *head = rasx__load_ptr(&queue->ready);
    do {
        rasx__store_ptr(&slot->next, head);
    } while (!rasx__cas_ptr(&queue->ready, &head, slot));
    wake_if_armed(queue);
}

void rasx_queue_wake(rasx_queue *queue)
{
    if (!queue || rasx__forked()) return;
    rasx__store_seq(&queue->kicked, 1);
    rasx__event_set(&queue->wake);
    ring_socket(queue);
}

void rasx__queue_deadline(rasx_queue *queue, uint64_t deadline_ns)
{
    uint64_t known = rasx__load64(&queue->deadline_ns);
    while (deadline_ns < known) {
        if (!rasx__cas64(&queue->deadline_ns, &known, deadline_ns)) continue;
        wake_if_armed(queue); /* a sleeping consumer must not sleep past it */
        return;
    }
}

/* --- The consumer --- */

static uint32_t become_consumer(rasx_queue *queue)
{
    uint32_t nobody = 0;
    if (!queue) return RASX_E_INVALID;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load_seq(&queue->closed)) return RASX_E_CLOSED;
    if (!rasx__cas(&queue->consumer, &nobody, 1)) return RASX_E_BUSY;
    if (!rasx__load_seq(&queue->closed)) return 0;
    rasx__store_seq(&queue->consumer, 0);
    return RASX_E_CLOSED;
}

static void stop_consuming(rasx_queue *queue) { rasx__store_seq(&queue->consumer, 0); }

/* Moves what producers have made ready behind the consumer's own list, oldest first. 1 when that list holds something. */
static int collect(rasx_queue *queue)
{
    rasx__slot *oldest = NULL;
    if (rasx__load_ptr_seq(&queue->ready)) {
        rasx__slot *slot = rasx__exchange_ptr(&queue->ready, NULL);
        rasx__slot *newest = slot;
        while (slot) { /* reverse */
            rasx__slot *next = rasx__load_ptr(&slot->next);
            rasx__store_ptr(&slot->next, oldest);
            oldest = slot;
            slot = next;
        }
        if (oldest) {
            if (queue->last) rasx__store_ptr(&queue->last->next, oldest);
            else queue->first = oldest;
            queue->last = newest;
        }
    }
    return queue->first != NULL;
}

/* Dials of this queue whose own time-out has passed are decided here, because their threads may be blocked inside RasDial. */
static void expire(rasx_queue *queue, uint64_t now_ns)
{
    uint64_t next_ns = RASX_NEVER;
    rasx__store64(&queue->deadline_ns, RASX_NEVER); /* first, so that a dial that starts meanwhile lowers it again */
    uint32_t count = rasx__slot_count();
    for (uint32_t i = 0; i < count; i++) { /* pinned, not locked: deciding calls an embedder's function, which may call us (S8.34) */
        rasx__slot *slot = rasx__pin(rasx__slot_dial(rasx__slot_at(i)));
        if (!slot) continue;
        if (slot->queue == queue && slot->deadline_ns != RASX_NEVER && rasx__load(&slot->decided) == RASX_OUTCOME_NONE) {
            if (slot->deadline_ns <= now_ns) (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 638, RASX_FROM_TIMEOUT);
            else if (slot->deadline_ns < next_ns) next_ns = slot->deadline_ns;
        }
        rasx__unpin(slot);
    }
    if (next_ns != RASX_NEVER) rasx__queue_deadline(queue, next_ns);
}

/* Arm, look again, then sleep: a producer that published before the second look is seen by it, one that published after it
 * finds the queue armed. Both sides are sequentially consistent. */
static int sleep_on(rasx_queue *queue, uint64_t until_ns, int passive)
{
    int woken = 1;
    (void)rasx__exchange(&queue->armed, 1);
    if (!rasx__load_ptr_seq(&queue->ready) && !rasx__load_seq(&queue->kicked) && !rasx__load_seq(&queue->closed) &&
        rasx__load64(&queue->deadline_ns) >= until_ns) {
        woken = queue->clock->wait(queue->clock, &queue->wake, until_ns, passive);
    }
    (void)rasx__exchange(&queue->armed, 0);
    return woken;
}

uint32_t rasx_queue_wait(rasx_queue *queue, uint32_t timeout_ms, uint32_t passive, uint32_t *ready)
{
    if (!ready) return RASX_E_INVALID;
    *ready = 0;
    uint32_t code = become_consumer(queue);
    if (code != 0) return code;
    uint64_t now_ns = queue->clock->now(queue->clock);
    uint64_t deadline_ns = timeout_ms == RASX_FOREVER ? RASX_NEVER : now_ns + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        if (collect(queue)) {
            *ready = 1;
            break;
        }
        if (rasx__exchange(&queue->kicked, 0)) break;
        if (rasx__load_seq(&queue->closed)) {
            code = RASX_E_CLOSED;
            break;
        }
        now_ns = queue->clock->now(queue->clock);
        uint64_t expires_ns = rasx__load64(&queue->deadline_ns);
        if (now_ns >= expires_ns) {
            expire(queue, now_ns);
            continue;
        }
        if (now_ns >= deadline_ns) break;
        if (sleep_on(queue, expires_ns < deadline_ns ? expires_ns : deadline_ns, passive != 0) < 0) {
            *ready = (uint32_t)collect(queue);
            break;
        }
    }
    stop_consuming(queue);
    return code;
}

/* Takes one ready slot's events. The flag goes down before the ring is read, so that what comes later queues it again. */
static uint32_t drain_slot(rasx_queue *queue, rasx_event *events, uint32_t most)
{
    rasx__slot *slot = queue->first;
    queue->first = rasx__load_ptr(&slot->next);
    if (!queue->first) queue->last = NULL;
    rasx__store_ptr(&slot->next, NULL);
    (void)rasx__exchange(&slot->pending, 0);
    int settled = rasx__load_seq(&slot->settled) == 1; /* before the pop: everything that was pushed earlier is popped then */
    uint32_t count = rasx__ring_pop_sc(&slot->ring, events, most);
    for (uint32_t i = 0; i < count; i++) events[i].sequence = slot->sequence++;
    if (count == most) { /* perhaps more: look at it again first thing, unless a producer has queued it already */
        if (rasx__exchange(&slot->pending, 1) == 0) {
            rasx__store_ptr(&slot->next, queue->first);
            queue->first = slot;
            if (!queue->last) queue->last = slot;
        }
    } else if (settled && rasx__exchange(&slot->pending, 1) == 0 && rasx__take_settled(slot)) {
        /* With the flag up nobody can queue the slot again. Had a late handler raised it first, the slot would be in the
         * ready list, and its turn would come again. */
        rasx_event *event = &events[count++];
        *event = (rasx_event){ .dial = rasx__slot_dial(slot), .time_ns = slot->clock->now(slot->clock),
                               .handle = rasx__load64(&slot->handle), .state = slot->hangup, .error = slot->hangup_error,
                               .extended_error = rasx__load(&slot->lost), .sequence = slot->sequence,
                               .origin = RASX_FROM_CORE, .outcome = RASX_OUTCOME_SETTLED };
        rasx__slot_release(slot);
    }
    return count;
}

uint32_t rasx_queue_drain(rasx_queue *queue, rasx_event *events, uint32_t most, uint32_t *count)
{
    if (!count || (!events && most > 0)) return RASX_E_INVALID;
    *count = 0;
    uint32_t code = become_consumer(queue);
    if (code != 0) return code;
    if (rasx__load_ptr(&queue->socket)) (void)rasx__exchange(&queue->rung, 0); /* before the look: what comes later rings again */
    while (*count < most && collect(queue)) *count += drain_slot(queue, events + *count, most - *count);
    stop_consuming(queue);
    return 0;
}

/* --- Waiting elsewhere --- */

uint32_t rasx_queue_set_socket(rasx_queue *queue, uint64_t socket)
{
    if (!queue || (socket != RASX_NO_SOCKET && socket >= UINTPTR_MAX)) return RASX_E_INVALID;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load_seq(&queue->closed)) return RASX_E_CLOSED;
    (void)rasx__exchange_ptr(&queue->socket, NULL);
    while (rasx__load_seq(&queue->ringing)) rasx__yield(); /* a send that never blocks */
    if (socket == RASX_NO_SOCKET) return 0;
    (void)rasx__exchange(&queue->rung, 0);
    (void)rasx__exchange_ptr(&queue->socket, (void *)((uintptr_t)socket + 1));
    ring_socket(queue); /* there may be something already */
    return 0;
}

uint32_t rasx_queue_timeout(rasx_queue *queue, uint32_t *timeout_ms)
{
    if (!queue || !timeout_ms) return RASX_E_INVALID;
    *timeout_ms = RASX_FOREVER;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load_seq(&queue->closed)) return RASX_E_CLOSED;
    uint64_t now_ns = queue->clock->now(queue->clock), deadline_ns = rasx__load64(&queue->deadline_ns);
    if (deadline_ns == RASX_NEVER) return 0;
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns + 999999u) / 1000000u : 0;
    *timeout_ms = left_ms < RASX_FOREVER ? (uint32_t)left_ms : RASX_FOREVER - 1;
    return 0;
}

/* --- Open and close --- */

/* A recycled queue must have no handler left that could still put a slot of its former life into its list. */
static int untouched(const rasx_queue *queue)
{
    uint32_t count = rasx__slot_count();
    for (uint32_t i = 0; i < count; i++) {
        rasx__slot *slot = rasx__slot_at(i);
        if (slot->queue == queue && rasx__load_seq(&slot->inside) != 0) return 0;
    }
    return 1;
}

static rasx_queue *take_queue(void)
{
    rasx__lock(&rasx__core_lock);
    rasx_queue **link = &free_queues;
    while (*link && !untouched(*link)) link = &(*link)->next_free;
    rasx_queue *queue = *link;
    if (queue) *link = queue->next_free;
    rasx__unlock(&rasx__core_lock);
    if (queue) return queue;
    queue = calloc(1, sizeof *queue);
    if (queue && rasx__event_init(&queue->wake) != 0) {
        free(queue);
        queue = NULL;
    }
    return queue;
}

uint32_t rasx_queue_open(rasx_client *client, rasx_event_func on_event, void *context, rasx_queue **queue)
{
    if (!client || !queue) return RASX_E_INVALID;
    *queue = NULL;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load(&client->closed)) return RASX_E_CLOSED;
    rasx_queue *opened = take_queue();
    if (!opened) return 8;
    rasx__client_hold(client);
    opened->client = client;
    opened->clock = client->clock;
    opened->function = on_event;
    opened->context = context;
    opened->first = opened->last = NULL;
    opened->users = 1;
    opened->next_free = NULL;
    rasx__store_ptr(&opened->ready, NULL);
    rasx__store_ptr(&opened->on_event, on_event ? (void *)opened : NULL); /* a flag: C keeps code and data pointers apart */
    rasx__store64(&opened->deadline_ns, RASX_NEVER);
    rasx__store_ptr(&opened->socket, NULL);
    rasx__store_seq(&opened->armed, 0);
    rasx__store_seq(&opened->kicked, 0);
    rasx__store_seq(&opened->consumer, 0);
    rasx__store_seq(&opened->closed, 0);
    (void)rasx__add(&open_queues, 1);
    *queue = opened;
    return 0;
}

void rasx__queue_unbind_locked(rasx_queue *queue)
{
    if (--queue->users > 0) return;
    queue->next_free = free_queues;
    free_queues = queue;
}

void rasx_queue_close(rasx_queue *queue)
{
    uint32_t open = 0;
    if (!queue || rasx__forked() || !rasx__cas(&queue->closed, &open, 1)) return;
    rasx_client *client = queue->client;
    rasx__event_set(&queue->wake);
    while (rasx__load_seq(&queue->consumer)) rasx__sleep_ms(1); /* it sees `closed` as soon as it wakes */
    rasx__store_ptr(&queue->on_event, NULL);
    (void)rasx__exchange_ptr(&queue->on_event, NULL); /* against the rasx__add of `calling`, then the second look there */
    while (rasx__load_seq(&queue->calling)) rasx__sleep_ms(1);
    (void)rasx__exchange_ptr(&queue->socket, NULL);
    while (rasx__load_seq(&queue->ringing)) rasx__yield();
    rasx__cancel_where(NULL, queue);
    uint32_t count = rasx__slot_count();
    for (uint32_t i = 0; i < count; i++) { /* those that settled before `closed` was seen */
        rasx__slot *slot = rasx__slot_at(i);
        rasx__lock(&rasx__core_lock);
        int mine = (rasx__load(&slot->generation) & 1u) && slot->queue == queue && rasx__take_settled(slot);
        rasx__unlock(&rasx__core_lock);
        if (mine) rasx__slot_release(slot);
    }
    (void)rasx__sub(&open_queues, 1);
    rasx__lock(&rasx__core_lock);
    rasx__queue_unbind_locked(queue);
    rasx__unlock(&rasx__core_lock);
    rasx__client_drop(client);
}

uint32_t rasx__queue_total(void) { return rasx__load(&open_queues); }
