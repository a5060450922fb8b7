/* hangup.c: the references that this process owns, RasHangUp, and the bounded wait after it (S3).
 *
 * SPDX-License-Identifier: MIT
 *
 * Connections are reference counted (S1.8): RasHangUp gives up one reference, and while others exist the status keeps
 * answering Connected, so an unbounded wait would never end. This process counts its own references and knows at once when
 * one of them is left; references of other programs show only in a status that stays Connected.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define STEP_NS (50u * 1000000ull)
#define SHARED_AFTER_NS (1000u * 1000000ull) /* still Connected after that: somebody else keeps it up (assumed) */
#define ODD_LIMIT 5u                         /* other codes of the status call in a row before it is given up */
#define ALL_LIMIT 1000u                      /* references closed on request; a bound, not a guess */

/* --- References: an open-addressed table of (implementation, handle) -> count --- */

typedef struct reference { const rasapi *ras; uint64_t handle; uint32_t count; } reference;

static rasx__mutex table_lock = RASX_MUTEX_INIT;
static reference  *table;
static size_t      table_size, table_used; /* used: cells that are not virgin */
static uint32_t    table_total;

static reference *find(const rasapi *ras, uint64_t handle)
{
    if (!table_size) return NULL;
    size_t at = (size_t)((handle ^ (handle >> 17)) * 0x9E3779B97F4A7C15ull >> 20) & (table_size - 1);
    while (table[at].ras && !(table[at].ras == ras && table[at].handle == handle)) at = (at + 1) & (table_size - 1);
    return &table[at];
}

/* Keeps the table at most half full; cells with count 0 are dropped on the way. */
static int make_room(void)
{
    if (table_size && table_used * 2 < table_size) return 0;
    size_t live = 0, old_size = table_size;
    for (size_t i = 0; i < old_size; i++) live += table[i].count > 0;
    size_t size = 64;
    while (size < live * 4) size *= 2;
    reference *old = table, *fresh = calloc(size, sizeof *fresh);
    if (!fresh) return -1;
    table = fresh;
    table_size = size;
    table_used = live;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i].count > 0) *find(old[i].ras, old[i].handle) = old[i];
    }
    free(old);
    return 0;
}

/* Handle values are reused (S8.13): a dial that went through states of its own has made a new connection, and what is still
 * counted under its handle belongs to one that is gone. Without memory the count stays short; then a hang-up takes a second
 * longer to say "shared". */
void rasx__reference_add(rasx__slot *slot, uint64_t handle)
{
    const rasapi *ras = slot->ras;
    rasx__lock(&table_lock);
    if (!rasx__load(&slot->hung_up) && make_room() == 0) {
        reference *r = find(ras, handle);
        if (!r->ras) {
            table_used++;
            r->ras = ras;
            r->handle = handle;
        }
        if (rasx__load_relaxed(&slot->progress)) {
            table_total -= r->count;
            r->count = 0;
        }
        r->count++;
        table_total++;
    }
    rasx__unlock(&table_lock);
}

void rasx__reference_forget(const rasapi *ras, uint64_t handle)
{
    rasx__lock(&table_lock);
    reference *r = find(ras, handle);
    if (r && r->ras) {
        table_total -= r->count;
        r->count = 0;
    }
    rasx__unlock(&table_lock);
}

/* The event Connected reaches the user before the dial's thread gets here to count the reference. Who hangs up in between
 * leaves a note for that thread. Under the table's lock, as is the look at the note. */
static void leave_note(const rasapi *ras, uint64_t handle)
{
    uint32_t count = rasx__slot_count();
    for (uint32_t i = 0; i < count; i++) {
        rasx__slot *slot = rasx__pin(rasx__slot_dial(rasx__slot_at(i)));
        if (!slot) continue;
        if (slot->ras == ras && rasx__load64(&slot->handle) == handle && !rasx__load_seq(&slot->settled) &&
            rasx__load_seq(&slot->decided) == RASX_OUTCOME_CONNECTED) {
            rasx__store_seq(&slot->hung_up, 1);
        }
        rasx__unpin(slot);
    }
}

/* Takes `most` references at most; returns what is left. */
static uint32_t reference_take(const rasapi *ras, uint64_t handle, uint32_t most)
{
    rasx__lock(&table_lock);
    reference *r = find(ras, handle);
    uint32_t left = 0;
    if (r && r->ras) {
        uint32_t taken = r->count < most ? r->count : most;
        r->count -= taken;
        table_total -= taken;
        left = r->count;
        most -= taken;
    }
    if (most > 0) leave_note(ras, handle); /* there were fewer than asked for: perhaps one is about to be counted */
    rasx__unlock(&table_lock);
    return left;
}

uint32_t rasx__reference_count(const rasapi *ras, uint64_t handle) { return reference_take(ras, handle, 0); }

uint32_t rasx__reference_total(void)
{
    rasx__lock(&table_lock);
    uint32_t total = table_total;
    rasx__unlock(&table_lock);
    return total;
}

/* --- Hang-up --- */

static uint32_t status_of(const rasapi *ras, uint64_t handle, int *connected)
{
    RASCONNSTATUSW status;
    memset(&status, 0, sizeof status);
    status.dwSize = (uint32_t)sizeof status;
    uint32_t code = ras->RasGetConnectStatusW((HRASCONN)(uintptr_t)handle, &status);
    *connected = code == 0 && status.rasconnstate == RASCS_Connected && status.dwError == 0;
    return code;
}

static int is_gone(uint32_t code) { return code == 6 || code == 668; }

/* Gives up references. *wait is 1 when the end has to be waited for. */
static uint32_t give_up(const rasapi *ras, uint64_t handle, int owned, int all, uint32_t *result, int *wait)
{
    int connected = 1;
    uint32_t code = ras->RasHangUpW((HRASCONN)(uintptr_t)handle);
    *wait = 0;
    *result = RASX_HANGUP_GONE;
    if (is_gone(code)) {
        (void)reference_take(ras, handle, UINT32_MAX);
        return 0;
    }
    if (code != 0) { /* 753: the router's; nothing was given up */
        *result = RASX_HANGUP_CLOSING;
        return code;
    }
    uint32_t left = all ? reference_take(ras, handle, UINT32_MAX) : reference_take(ras, handle, owned ? 1 : 0);
    /* Until the link is gone, or is seen to go down. A call that fails in another way says neither: once more, within a bound. */
    for (uint32_t i = 0, odd = 0; all && i < ALL_LIMIT && odd < ODD_LIMIT; i++) {
        uint32_t status = status_of(ras, handle, &connected);
        if (is_gone(status) || (status == 0 && !connected)) break;
        uint32_t again = ras->RasHangUpW((HRASCONN)(uintptr_t)handle);
        if (is_gone(again)) break;
        odd = again != 0 ? odd + 1 : 0;
    }
    if (!all && left > 0) {
        *result = RASX_HANGUP_SHARED;
        return 0;
    }
    *result = RASX_HANGUP_CLOSING;
    *wait = 1;
    return 0;
}

uint32_t rasx__hang_up(const rasapi *ras, rasx_clock *clock, uint64_t handle, int owned, int all, uint32_t resume_ms,
                       uint32_t timeout_ms, int patient, uint32_t *result)
{
    int wait = 1, connected = 0;
    uint32_t odd = 0, refused = 0;
    *result = RASX_HANGUP_CLOSING;
    if (resume_ms == 0) refused = give_up(ras, handle, owned, all, result, &wait);
    if (!wait && refused == 0) return 0;
    rasx__event never_set;
    if (rasx__event_init(&never_set) != 0) return refused;
    /* Nobody else can hang up for a dial that failed. What is not a plain refusal (the router's connection) is tried again. */
    for (uint32_t tries = 1; refused != 0 && refused != 753 && patient && tries < ODD_LIMIT; tries++) {
        uint64_t until_ns = clock->now(clock) + STEP_NS;
        while (clock->now(clock) < until_ns) (void)clock->wait(clock, &never_set, until_ns, 0);
        refused = give_up(ras, handle, owned, all, result, &wait);
    }
    if (refused != 0 || !wait) {
        rasx__event_destroy(&never_set);
        return refused;
    }
    uint64_t now_ns = clock->now(clock);
    uint64_t start_ns = now_ns - (uint64_t)resume_ms * 1000000u;
    uint64_t deadline_ns = timeout_ms == RASX_FOREVER ? RASX_NEVER : now_ns + (uint64_t)timeout_ms * 1000000u;
    for (;;) {
        uint32_t code = status_of(ras, handle, &connected);
        now_ns = clock->now(clock);
        odd = code != 0 ? odd + 1 : 0;
        if (is_gone(code)) *result = RASX_HANGUP_GONE;
        else if (connected && !all && now_ns - start_ns >= SHARED_AFTER_NS) *result = RASX_HANGUP_SHARED;
        if (*result != RASX_HANGUP_CLOSING || odd >= ODD_LIMIT || now_ns >= deadline_ns) break;
        uint64_t until_ns = now_ns + STEP_NS < deadline_ns ? now_ns + STEP_NS : deadline_ns;
        int woken = 1;
        while (woken != 0 && clock->now(clock) < until_ns) {
            woken = clock->wait(clock, &never_set, until_ns, 0);
            if (woken < 0 && !patient) break;
        }
        if (woken < 0 && !patient) break;
    }
    rasx__event_destroy(&never_set);
    return 0;
}

uint32_t rasx_link_handle(rasx_client *client, uint64_t handle, uint32_t subentry, uint64_t *link)
{
    HRASCONN found = NULL;
    if (!client || !link || subentry == 0) return RASX_E_INVALID;
    *link = 0;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load(&client->closed)) return RASX_E_CLOSED;
    if (!client->ras->RasGetSubEntryHandleW) return RASX_E_NOT_AVAILABLE;
    uint32_t code = client->ras->RasGetSubEntryHandleW((HRASCONN)(uintptr_t)handle, subentry, &found);
    if (code == 0) *link = (uint64_t)(uintptr_t)found;
    return code;
}

uint32_t rasx_link_hang_up(rasx_client *client, uint64_t link)
{
    if (!client) return RASX_E_INVALID;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load(&client->closed)) return RASX_E_CLOSED;
    return link == 0 ? 6 : client->ras->RasHangUpW((HRASCONN)(uintptr_t)link);
}

uint32_t rasx_hang_up(rasx_client *client, uint64_t handle, uint32_t all, uint32_t resume_ms, uint32_t timeout_ms,
                      uint32_t *result)
{
    if (!client || !result) return RASX_E_INVALID;
    *result = RASX_HANGUP_NONE;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load(&client->closed)) return RASX_E_CLOSED;
    if (handle == 0) return 6;
    return rasx__hang_up(client->ras, client->clock, handle, 1, all != 0, resume_ms, timeout_ms, 0, result);
}

/* --- Hang-up on a thread of its own --- */

typedef struct hang_up_job { rasx__slot *slot; uint64_t handle; uint32_t all, resume_ms, timeout_ms; } hang_up_job;

/* In steps, because whoever waited may have closed: then what is left to do, which is to look, serves nobody. */
static void hang_up_main(void *argument)
{
    hang_up_job job = *(hang_up_job *)argument;
    rasx__slot *slot = job.slot;
    rasx_client *client = slot->client;
    rasx_clock *clock = slot->clock;
    rasx_queue *queue = slot->queue;
    uint32_t result = RASX_HANGUP_NONE;
    free(argument);
    clock->enter(clock, slot->order);
    uint64_t now_ns = clock->now(clock), start_ns = now_ns - (uint64_t)job.resume_ms * 1000000u;
    uint64_t deadline_ns = job.timeout_ms == RASX_FOREVER ? RASX_NEVER : now_ns + (uint64_t)job.timeout_ms * 1000000u;
    uint32_t resume_ms = job.resume_ms, code;
    for (;;) {
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        uint32_t slice_ms = (uint32_t)((left_ns < 4 * STEP_NS ? left_ns : 4 * STEP_NS) / 1000000u);
        code = rasx__hang_up(client->ras, clock, job.handle, 1, job.all != 0, resume_ms, slice_ms, 0, &result);
        now_ns = clock->now(clock);
        if (code != 0 || result != RASX_HANGUP_CLOSING || now_ns >= deadline_ns) break;
        if (rasx__load_seq(&queue->closed) || rasx__load_seq(&client->closed)) break;
        if (slice_ms == 0) now_ns = deadline_ns; /* less than a millisecond was left */
        resume_ms = (uint32_t)((now_ns - start_ns) / 1000000u);
        if (resume_ms == 0) resume_ms = 1;
    }
    rasx__settle(slot, result, code);
    rasx__slot_thread_end(client, clock);
}

uint32_t rasx_hang_up_start(rasx_queue *queue, uint64_t handle, uint32_t all, uint32_t resume_ms, uint32_t timeout_ms,
                            rasx_dial *call)
{
    if (!queue || !call) return RASX_E_INVALID;
    *call = 0;
    if (rasx__forked()) return RASX_E_FORKED;
    if (rasx__load(&queue->closed) || rasx__load(&queue->client->closed)) return RASX_E_CLOSED;
    if (handle == 0) return 6;
    hang_up_job *job = malloc(sizeof *job);
    rasx__slot *slot = job ? rasx__slot_acquire(queue, RASX_RING_DEFAULT, RASX_NEVER) : NULL;
    if (!slot) {
        free(job);
        return 8;
    }
    rasx__store_seq(&slot->decided, RASX_OUTCOME_SETTLED); /* no dial: nothing decides it, nothing cancels it */
    slot->order = rasx__slot_order(queue->client);
    *job = (hang_up_job){ slot, handle, all, resume_ms, timeout_ms };
    *call = rasx__slot_dial(slot);
    if (rasx__slot_thread_start(slot, hang_up_main, job) == 0) return 0;
    free(job);
    rasx__slot_release(slot);
    *call = 0;
    return 8;
}
