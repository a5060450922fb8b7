/* engine_tables.c: handles, entries, what falls due, links and ports of the simulated machine.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every function here needs the engine's lock.
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"

/* --- Tables ------------------------------------------------------------------------------------------------------------ */

static uint32_t lower(uint32_t c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static int same_name(const char *a, const char *b)
{
    for (; *a != '\0' && lower((unsigned char)*a) == lower((unsigned char)*b); a++, b++) {}
    return *a == '\0' && *b == '\0';
}

static uint32_t entry_bucket(const char *book, const char *entry)
{
    uint64_t h = UINT64_C(0xCBF29CE484222325);

    for (; *book != '\0'; book++)
        h = (h ^ (unsigned char)*book) * UINT64_C(0x100000001B3);
    h = (h ^ '\n') * UINT64_C(0x100000001B3);
    for (; *entry != '\0'; entry++)
        h = (h ^ lower((unsigned char)*entry)) * UINT64_C(0x100000001B3);
    return (uint32_t)(h ^ h >> 32) & (sim_machine.buckets - 1);
}

static uint32_t handle_bucket(uintptr_t handle)
{
    return (uint32_t)(((uint64_t)handle * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (sim_machine.buckets - 1);
}

conn *sim_find_handle(uintptr_t handle)
{
    conn *c = sim_machine.buckets == 0 ? NULL : sim_machine.by_handle[handle_bucket(handle)];

    while (c != NULL && c->handle != handle)
        c = c->next_handle;
    return c;
}

conn *sim_find_entry(const char *book, const char *entry)
{
    conn *c = sim_machine.buckets == 0 ? NULL : sim_machine.by_entry[entry_bucket(book, entry)];

    while (c != NULL && !(strcmp(c->book, book) == 0 && same_name(c->entry, entry)))
        c = c->next_entry;
    return c;
}

void sim_to_tables(conn *c)
{
    conn **at = &sim_machine.by_handle[handle_bucket(c->handle)];

    c->next_handle = *at;
    *at = c;
    if (c->in_entries) {
        at = &sim_machine.by_entry[entry_bucket(c->book, c->entry)];
        c->next_entry = *at;
        *at = c;
    }
}

/* Makes sure that one more conn fits into tables and heap, so that nothing can fail later. 0 or 8. */
uint32_t sim_make_room(void)
{
    if (sim_machine.listed == sim_machine.heap_room) {
        uint32_t room = sim_machine.heap_room == 0 ? 64 : 2 * sim_machine.heap_room;
        conn **heap = realloc(sim_machine.heap, room * sizeof *heap);

        if (heap == NULL)
            return 8;
        sim_machine.heap = heap;
        sim_machine.heap_room = room;
    }
    if (sim_machine.listed >= sim_machine.buckets) {
        uint32_t buckets = sim_machine.buckets == 0 ? 64 : 2 * sim_machine.buckets;
        conn **by_handle = calloc(buckets, sizeof *by_handle);
        conn **by_entry = calloc(buckets, sizeof *by_entry);

        if (by_handle == NULL || by_entry == NULL) {
            free(by_handle);
            free(by_entry);
            return 8;
        }
        free(sim_machine.by_handle);
        free(sim_machine.by_entry);
        sim_machine.by_handle = by_handle;
        sim_machine.by_entry = by_entry;
        sim_machine.buckets = buckets;
        for (conn *c = sim_machine.first; c != NULL; c = c->next)
            sim_to_tables(c);
    }
    return 0;
}

static void heap_set(uint32_t place, conn *c)
{
    sim_machine.heap[place - 1] = c;
    c->heap_place = place;
}

static int sooner(const conn *a, const conn *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void heap_sift(uint32_t place, conn *c)
{
    while (place > 1 && sooner(c, sim_machine.heap[place / 2 - 1])) {
        heap_set(place, sim_machine.heap[place / 2 - 1]);
        place /= 2;
    }
    for (;;) {
        uint32_t child = 2 * place;

        if (child > sim_machine.heap_count)
            break;
        if (child < sim_machine.heap_count && sooner(sim_machine.heap[child], sim_machine.heap[child - 1]))
            child++;
        if (!sooner(sim_machine.heap[child - 1], c))
            break;
        heap_set(place, sim_machine.heap[child - 1]);
        place = child;
    }
    heap_set(place, c);
}

static void heap_remove(conn *c)
{
    uint32_t place = c->heap_place;
    conn *last;

    if (place == 0)
        return;
    if (sim_machine.keeper)
        rasx__event_set(&sim_machine.keeper_wake);
    c->heap_place = 0;
    last = sim_machine.heap[--sim_machine.heap_count];
    if (last != c)
        heap_sift(place, last);
}

void sim_keep_time(void);

void sim_set_due(conn *c, uint64_t due_ns)
{
    heap_remove(c);
    c->due_ns = due_ns;
    if (due_ns != RASX_NEVER && c->listed) {
        heap_sift(++sim_machine.heap_count, c);
        sim_keep_time();
    }
}

/* The link is down, for good: whoever asked for it hears of it (S4.13: the last link of a bundle). */
static void tell_down(conn *c)
{
    if (!c->told_up)
        return;
    c->told_up = 0;
    sim_notify(RASCN_Disconnection, c->handle);
}

void sim_release_conn(conn *c)
{
    if (--c->holders > 0)
        return;
    while (c->lane != NULL && c->lane->first != NULL) {
        lane_note *first = c->lane->first;

        c->lane->first = first->next;
        free(first);
    }
    free(c->lane);
    free(c);
}

static void free_ports(conn *c)
{
    for (uint32_t i = 0; i < c->device_count; i++) {
        if (c->devices[i].port != NO_PORT)
            sim_machine.ports[c->devices[i].port].used--;
        c->devices[i].port = NO_PORT;
    }
}

static void leave_entries(conn *c)
{
    conn **at;

    if (!c->in_entries)
        return;
    c->in_entries = 0;
    for (at = &sim_machine.by_entry[entry_bucket(c->book, c->entry)]; *at != c; at = &(*at)->next_entry) {}
    *at = c->next_entry;
}

/* The handle stops being valid. The memory stays for as long as a thread uses it. */
void sim_unlist(conn *c)
{
    conn **at;
    int64_t code;

    heap_remove(c);
    free_ports(c);
    leave_entries(c);
    c->phase = GONE;
    c->references = 0;
    if (!c->listed)
        return;
    tell_down(c);
    c->listed = 0;
    sim_machine.listed--;
    for (at = &sim_machine.by_handle[handle_bucket(c->handle)]; *at != c; at = &(*at)->next_handle) {}
    *at = c->next_handle;
    if (c->prev != NULL) c->prev->next = c->next; else sim_machine.first = c->next;
    if (c->next != NULL) c->next->prev = c->prev; else sim_machine.last = c->prev;
    code = sim_knob(c->entry, SIM_KNOB_gone_code);
    if (code != sim_knob(NULL, SIM_KNOB_gone_code)) {
        sim_machine.gone[sim_machine.gone_count % REMEMBERED].handle = c->handle;
        sim_machine.gone[sim_machine.gone_count++ % REMEMBERED].code = (uint32_t)code;
    }
    if (sim_machine.reusable_count == REUSABLE)
        memmove(sim_machine.reusable, sim_machine.reusable + 1, --sim_machine.reusable_count * sizeof *sim_machine.reusable);
    sim_machine.reusable[sim_machine.reusable_count++] = c->handle;
    sim_release_conn(c);
}

/* Takes care of what has fallen due: broken links and ended hang-ups. Every function that looks at a conn calls it first. */
uint64_t sim_catch_up(void)
{
    uint64_t now = sim_clock()->now(sim_clock());

    while (sim_machine.heap_count > 0 && sim_machine.heap[0]->due_ns <= now) {
        conn *c = sim_machine.heap[0];

        if (c->phase == CLOSING && c->never_gone) {
            heap_remove(c);
            free_ports(c);
            leave_entries(c);
            c->phase = ZOMBIE;
            tell_down(c);
        } else {
            sim_unlist(c);
        }
    }
    return now;
}

/* Handle values are opaque, far from any pointer, and above 2^32 where a handle has the room. They count on across resets, so a
 * stale one stays stale. */
static uintptr_t handle_base(void)
{
    return sizeof(uintptr_t) > 4 ? (uintptr_t)UINT64_C(0x7A5500010000) : (uintptr_t)0x00010000;
}

uintptr_t sim_new_handle(const char *entry)
{
    uintptr_t handle;

    if (sim_machine.reusable_count > 0 && sim_knob(entry, SIM_KNOB_reuse_handles) != 0)
        return sim_machine.reusable[--sim_machine.reusable_count];
    do
        handle = handle_base() + (uintptr_t)(HANDLE_STEP * ++sim_machine.handles);
    while (handle == 0 || sim_find_handle(handle) != NULL);
    return handle;
}

/* What is said of a handle that no connection has (S8.44): 6 for one that never was. */
uint32_t sim_gone_code(uintptr_t handle)
{
    if (handle <= handle_base() || (uint64_t)(handle - handle_base()) > HANDLE_STEP * sim_machine.handles + HANDLE_STEP - 1)
        return 6;
    for (uint32_t i = 0; i < REMEMBERED && i < sim_machine.gone_count; i++)
        if (sim_machine.gone[i].handle == handle)
            return sim_machine.gone[i].code;
    return (uint32_t)sim_knob(NULL, SIM_KNOB_gone_code);
}

/* --- Links of a connection (S4.10) --------------------------------------------------------------------------------------- */

uint64_t sim_link_bit(uint32_t subentry)
{
    return UINT64_C(1) << ((subentry == 0 ? 0 : subentry - 1) % 64);
}

/* The connection of a handle of one link; *subentry is its number. NULL for any other handle. */
conn *sim_find_link(uintptr_t handle, uint32_t *subentry)
{
    *subentry = handle > handle_base() ? (uint32_t)((handle - handle_base()) % HANDLE_STEP) : 0;
    return *subentry == 0 ? NULL : sim_find_handle(handle - *subentry);
}

/* The links that stand when the whole is connected: all that were dialled and did not fail (S2.3d). */
void sim_links_connected(conn *c, uint32_t dialled, uint64_t down)
{
    uint64_t all = dialled >= 64 ? UINT64_MAX : (UINT64_C(1) << dialled) - 1;

    if (c->links < dialled)
        c->links = dialled;
    c->links_up = c->only != 0 ? sim_link_bit(c->only) : all & ~down;
}

/* --- Ports ------------------------------------------------------------------------------------------------------------- */

static uint8_t port_type_of(const char *type)
{
    uint32_t i;

    for (i = 0; i < sim_machine.port_types && strcmp(sim_machine.ports[i].type, type) != 0; i++) {}
    if (i == sim_machine.port_types) {
        if (i == MAX_PORT_TYPES || strlen(type) >= sizeof sim_machine.ports[i].type)
            return NO_PORT; /* a type that nobody can limit */
        memset(&sim_machine.ports[i], 0, sizeof sim_machine.ports[i]);
        memcpy(sim_machine.ports[i].type, type, strlen(type));
        sim_machine.ports[i].limit = UINT32_MAX;
        sim_machine.port_types++;
    }
    return (uint8_t)i;
}

/* One port for each link, of the type of its last device. All or none (assumed). 0 or 633. */
uint32_t sim_take_ports(conn *c)
{
    for (uint32_t i = 0; i < c->device_count; i++) {
        uint8_t port;

        if (i + 1 < c->device_count && c->devices[i + 1].subentry == c->devices[i].subentry)
            continue;
        port = port_type_of(c->devices[i].type);
        if (port == NO_PORT)
            continue;
        if (sim_machine.ports[port].used >= sim_machine.ports[port].limit) {
            free_ports(c);
            return 633;
        }
        sim_machine.ports[port].used++;
        c->devices[i].port = port;
    }
    return 0;
}

uint32_t sim_engine_ports(const char *device_type, uint32_t count)
{
    uint32_t code = 0;

    if (device_type == NULL || device_type[0] == '\0')
        return 87;
    rasx__lock(&sim_engine_lock);
    {
        uint8_t port = port_type_of(device_type);

        if (port == NO_PORT)
            code = 87;
        else
            sim_machine.ports[port].limit = count;
    }
    rasx__unlock(&sim_engine_lock);
    return code;
}
