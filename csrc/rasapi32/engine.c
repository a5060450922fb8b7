/* engine.c: the dialling half of our implementation of the RAS API: RasDial, RasHangUp, RasGetConnectStatus and
 * RasEnumConnections, with their handles, references and ports.
 *
 * SPDX-License-Identifier: MIT
 *
 * A dial in flight is a `conn` with a `session`; the session and its worker thread end with the outcome, the conn lives until
 * its handle is gone. The worker pulls the link (link.h) and calls the notifier itself, so the dial stands still while a handler
 * runs (S1.5). What merely takes time after that (a hang-up closing the port, a link that breaks later) needs no thread: it is a
 * due time in a heap, and every call first takes care of what has fallen due. Only while somebody is registered for connection
 * notification does a thread, the keeper, see to it that nothing in the heap falls due unseen.
 *
 * One lock guards everything here. It is never held while a handler runs, while anything waits, or across a call into the link
 * that may take time.
 */
#include <stdlib.h>
#include <string.h>

#include "../text.h"
#include "engine.h"
#include "enumerate.h"
#include "functions.h"

enum {
    NAME_BYTES = 3 * RAS_MaxEntryName + 4, /* an entry name as UTF-8 */
    NUMBER_BYTES = 3 * RAS_MaxPhoneNumber + 1,
    PATH_UNITS = 1024,                     /* longest phone-book path that is looked at */
    MAX_PORT_TYPES = 32,
    REUSABLE = 64,                         /* freed handle values that are remembered for reuse_handles */
    REMEMBERED = 256,                      /* gone handles of which a code other than 6 is remembered */
    SLOW_WAIT_MS = 10,                     /* slow_device: how long a handler may hold the dial nevertheless */
    RESET_WAIT_MS = 10000,
    GRACE_MS = 500
};

#define MS_NS   UINT64_C(1000000)
#define NO_PORT 0xFF
/* Notifier kinds besides the vendor's 0, 1, 2 and 0xFFFFFFFF. */
#define KIND_NONE 0xFFFFFFFEu


/* --- What there is ----------------------------------------------------------------------------------------------------- */

enum phase {
    DIALING,   /* undecided, paused included */
    CONNECTED,
    FAILED,    /* decided; the handle waits for its RasHangUp */
    CLOSING,   /* hung up; gone at due_ns, or never_gone */
    ZOMBIE,    /* gone, but the knob never_gone keeps its status alive */
    GONE
};

typedef struct notifier {
    uint32_t  kind;
    uint32_t  message;
    void     *function; /* or the window */
    uintptr_t id;
} notifier;

typedef struct note { /* one call of a handler */
    uint32_t state, error, extended_error, subentry;
} note;

typedef struct device { /* one device of one link's chain */
    const char *type;
    const char *name;
    const char *number;
    uint8_t     subentry; /* 1-based */
    uint8_t     port;     /* index into machine.ports when it holds one, else NO_PORT */
    uint8_t     used;     /* it has been connected in this walk */
} device;

typedef struct waiter { /* RasDial's own thread, while it waits for its worker */
    rasx__event event;
    int         done;
    int         sync;      /* waits for the outcome; else for the early notifications */
    int         takes;     /* runs the handlers of the early notifications itself */
    uint32_t    code;
    const note *posted;    /* a handler call that it shall make */
} waiter;

typedef struct lane_note {
    struct lane_note *next;
    note              what;
} lane_note;

typedef struct conn {
    uintptr_t    handle;
    struct conn *next_handle; /* chains of the two hash tables */
    struct conn *next_entry;
    struct conn *prev;        /* all that have a handle, oldest first */
    struct conn *next;
    struct session *session;  /* NULL when no worker runs */
    waiter      *waiter;
    uint64_t     number;      /* of the dial: the order of its timers */
    uint64_t     due_ns;      /* CONNECTED: the link breaks; CLOSING: it is gone; RASX_NEVER */
    uint64_t     closing_ns;  /* how long the closing takes */
    uint32_t     heap_place;  /* 1-based; 0: not in the heap */
    uint32_t     holders;     /* being listed counts one, each thread that uses it one; under the lock */
    uint32_t     references;  /* S1.8 */
    uint32_t     in_handler;  /* handlers that hold the dial now */
    uint32_t     state, error, extended_error, subentry;
    uint8_t      phase;
    uint8_t      told_up;     /* RASCN_Connection was signalled, RASCN_Disconnection not yet */
    uint8_t      listed;      /* in the handle table and the list */
    uint8_t      in_entries;  /* in the entry table: a second dial of the entry finds it */
    uint8_t      paused;
    uint8_t      aborted;     /* hung up before the outcome */
    uint8_t      muted;       /* a RasDialFunc2 handler returned 0 (S8.28) */
    uint8_t      never_gone;
    uint8_t      only;        /* the one subentry of a dial as needed; 0: all are dialled */
    uint32_t     links;       /* subentries of the entry, or of what the script plays */
    uint64_t     links_up;    /* bits of those that stand, from Connected on */
    uint64_t     links_hung;  /* and of those that were hung up by themselves */
    notifier     notify;
    struct lane *lane;        /* slow_device: handlers that run beside the dial */
    uint8_t      correlation[16];
    uint8_t      entry_id[16];
    const char  *entry;
    const char  *book;
    device      *devices;
    uint32_t     device_count;
    uint32_t     device;      /* the one in use */
} conn;

typedef struct lane {
    lane_note *first, *last;
    int        running;
} lane;

typedef struct session { /* what only a dial in flight needs */
    struct session *prev, *next; /* all of them, for reset */
    conn        *c;
    sim_link    *link;        /* NULL: plays OpenPort and `code` */
    uint32_t     code;        /* by_callback, dial_code_notify */
    uint32_t     played;
    rasx__event  wake;        /* stop, drop or resume */
    rasx__event  relay;       /* a handler on another thread has ended */
    rasx__a32    stop;
    uint32_t     drop_code;
    uint32_t     options;
    uint32_t     subentries;
    uint32_t     first_error; /* of a subentry */
    uint64_t     up, down;    /* bits of subentries that are connected or failed */
    uint32_t     announced;
    uint32_t     outstanding; /* handlers on threads of their own that the dial waits for */
    int          resumed;
    int          pair;        /* the worker's: the first of two handlers at once has been started */
    int          early_over;  /* the worker's: RasDial does not wait for early notifications, or no longer */
    uint64_t     chance;
    int64_t      knobs[SIM_KNOB_COUNT];
} session;

typedef struct sleeper { /* a thread that waits for time to pass or to be released */
    rasx__event     event;
    int             held;
    int             on;
    struct sleeper *prev, *next;
} sleeper;

typedef struct port_type {
    char     type[52];
    uint32_t limit;
    uint32_t used;
} port_type;

static struct {
    conn    **by_handle;
    conn    **by_entry;
    uint32_t  buckets;      /* of each; a power of two */
    uint32_t  listed;
    conn     *first, *last;
    conn    **heap;         /* by due_ns; room for every listed conn */
    uint32_t  heap_count;
    uint32_t  heap_room;
    session  *sessions;
    sleeper  *sleepers;
    uint32_t     releases;  /* how often release() was called */
    uint64_t  dials;
    uint64_t  handles;      /* handle values made so far */
    uint32_t  threads;
    int       resetting;
    int       keeper;       /* the keeper runs */
    int       keeper_stops; /* it shall end, and none shall start */
    int       keeper_ready; /* its event has been initialised */
    rasx__event keeper_wake; /* the heap has changed */
    uintptr_t reusable[REUSABLE];
    uint32_t  reusable_count;
    struct { uintptr_t handle; uint32_t code; } gone[REMEMBERED];
    uint32_t  gone_count;
    port_type ports[MAX_PORT_TYPES];
    uint32_t  port_types;
} machine;

static rasx__mutex lock = RASX_MUTEX_INIT;
static rasx__cond thread_ended = RASX_COND_INIT;
static RASX_THREAD_LOCAL int inside_handler;

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
    return (uint32_t)(h ^ h >> 32) & (machine.buckets - 1);
}

static uint32_t handle_bucket(uintptr_t handle)
{
    return (uint32_t)(((uint64_t)handle * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (machine.buckets - 1);
}

static conn *find_handle(uintptr_t handle)
{
    conn *c = machine.buckets == 0 ? NULL : machine.by_handle[handle_bucket(handle)];

    while (c != NULL && c->handle != handle)
        c = c->next_handle;
    return c;
}

static conn *find_entry(const char *book, const char *entry)
{
    conn *c = machine.buckets == 0 ? NULL : machine.by_entry[entry_bucket(book, entry)];

    while (c != NULL && !(strcmp(c->book, book) == 0 && same_name(c->entry, entry)))
        c = c->next_entry;
    return c;
}

static void to_tables(conn *c)
{
    conn **at = &machine.by_handle[handle_bucket(c->handle)];

    c->next_handle = *at;
    *at = c;
    if (c->in_entries) {
        at = &machine.by_entry[entry_bucket(c->book, c->entry)];
        c->next_entry = *at;
        *at = c;
    }
}

/* Makes sure that one more conn fits into tables and heap, so that nothing can fail later. 0 or 8. */
static uint32_t make_room(void)
{
    if (machine.listed == machine.heap_room) {
        uint32_t room = machine.heap_room == 0 ? 64 : 2 * machine.heap_room;
        conn **heap = realloc(machine.heap, room * sizeof *heap);

        if (heap == NULL)
            return 8;
        machine.heap = heap;
        machine.heap_room = room;
    }
    if (machine.listed >= machine.buckets) {
        uint32_t buckets = machine.buckets == 0 ? 64 : 2 * machine.buckets;
        conn **by_handle = calloc(buckets, sizeof *by_handle);
        conn **by_entry = calloc(buckets, sizeof *by_entry);

        if (by_handle == NULL || by_entry == NULL) {
            free(by_handle);
            free(by_entry);
            return 8;
        }
        free(machine.by_handle);
        free(machine.by_entry);
        machine.by_handle = by_handle;
        machine.by_entry = by_entry;
        machine.buckets = buckets;
        for (conn *c = machine.first; c != NULL; c = c->next)
            to_tables(c);
    }
    return 0;
}

static void heap_set(uint32_t place, conn *c)
{
    machine.heap[place - 1] = c;
    c->heap_place = place;
}

static int sooner(const conn *a, const conn *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void heap_sift(uint32_t place, conn *c)
{
    while (place > 1 && sooner(c, machine.heap[place / 2 - 1])) {
        heap_set(place, machine.heap[place / 2 - 1]);
        place /= 2;
    }
    for (;;) {
        uint32_t child = 2 * place;

        if (child > machine.heap_count)
            break;
        if (child < machine.heap_count && sooner(machine.heap[child], machine.heap[child - 1]))
            child++;
        if (!sooner(machine.heap[child - 1], c))
            break;
        heap_set(place, machine.heap[child - 1]);
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
    if (machine.keeper)
        rasx__event_set(&machine.keeper_wake);
    c->heap_place = 0;
    last = machine.heap[--machine.heap_count];
    if (last != c)
        heap_sift(place, last);
}

static void keep_time(void);

static void set_due(conn *c, uint64_t due_ns)
{
    heap_remove(c);
    c->due_ns = due_ns;
    if (due_ns != RASX_NEVER && c->listed) {
        heap_sift(++machine.heap_count, c);
        keep_time();
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

static void release_conn(conn *c)
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
            machine.ports[c->devices[i].port].used--;
        c->devices[i].port = NO_PORT;
    }
}

static void leave_entries(conn *c)
{
    conn **at;

    if (!c->in_entries)
        return;
    c->in_entries = 0;
    for (at = &machine.by_entry[entry_bucket(c->book, c->entry)]; *at != c; at = &(*at)->next_entry) {}
    *at = c->next_entry;
}

/* The handle stops being valid. The memory stays for as long as a thread uses it. */
static void unlist(conn *c)
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
    machine.listed--;
    for (at = &machine.by_handle[handle_bucket(c->handle)]; *at != c; at = &(*at)->next_handle) {}
    *at = c->next_handle;
    if (c->prev != NULL) c->prev->next = c->next; else machine.first = c->next;
    if (c->next != NULL) c->next->prev = c->prev; else machine.last = c->prev;
    code = sim_knob(c->entry, SIM_KNOB_gone_code);
    if (code != sim_knob(NULL, SIM_KNOB_gone_code)) {
        machine.gone[machine.gone_count % REMEMBERED].handle = c->handle;
        machine.gone[machine.gone_count++ % REMEMBERED].code = (uint32_t)code;
    }
    if (machine.reusable_count == REUSABLE)
        memmove(machine.reusable, machine.reusable + 1, --machine.reusable_count * sizeof *machine.reusable);
    machine.reusable[machine.reusable_count++] = c->handle;
    release_conn(c);
}

/* Takes care of what has fallen due: broken links and ended hang-ups. Every function that looks at a conn calls it first. */
static uint64_t catch_up(void)
{
    uint64_t now = sim_clock()->now(sim_clock());

    while (machine.heap_count > 0 && machine.heap[0]->due_ns <= now) {
        conn *c = machine.heap[0];

        if (c->phase == CLOSING && c->never_gone) {
            heap_remove(c);
            free_ports(c);
            leave_entries(c);
            c->phase = ZOMBIE;
            tell_down(c);
        } else {
            unlist(c);
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

/* Values stand this far apart, so that the handle of a link is that of its connection and its number (S4.10): both can be
 * told apart from the value alone, and a stale one stays stale. */
#define HANDLE_STEP 256u

static uintptr_t new_handle(const char *entry)
{
    uintptr_t handle;

    if (machine.reusable_count > 0 && sim_knob(entry, SIM_KNOB_reuse_handles) != 0)
        return machine.reusable[--machine.reusable_count];
    do
        handle = handle_base() + (uintptr_t)(HANDLE_STEP * ++machine.handles);
    while (handle == 0 || find_handle(handle) != NULL);
    return handle;
}

/* What is said of a handle that no connection has (S8.44): 6 for one that never was. */
static uint32_t gone_code(uintptr_t handle)
{
    if (handle <= handle_base() || (uint64_t)(handle - handle_base()) > HANDLE_STEP * machine.handles + HANDLE_STEP - 1)
        return 6;
    for (uint32_t i = 0; i < REMEMBERED && i < machine.gone_count; i++)
        if (machine.gone[i].handle == handle)
            return machine.gone[i].code;
    return (uint32_t)sim_knob(NULL, SIM_KNOB_gone_code);
}

/* --- Links of a connection (S4.10) --------------------------------------------------------------------------------------- */

static uint64_t link_bit(uint32_t subentry)
{
    return UINT64_C(1) << ((subentry == 0 ? 0 : subentry - 1) % 64);
}

/* The connection of a handle of one link; *subentry is its number. NULL for any other handle. */
static conn *find_link(uintptr_t handle, uint32_t *subentry)
{
    *subentry = handle > handle_base() ? (uint32_t)((handle - handle_base()) % HANDLE_STEP) : 0;
    return *subentry == 0 ? NULL : find_handle(handle - *subentry);
}

/* The links that stand when the whole is connected: all that were dialled and did not fail (S2.3d). */
static void links_connected(conn *c, uint32_t dialled, uint64_t down)
{
    uint64_t all = dialled >= 64 ? UINT64_MAX : (UINT64_C(1) << dialled) - 1;

    if (c->links < dialled)
        c->links = dialled;
    c->links_up = c->only != 0 ? link_bit(c->only) : all & ~down;
}

/* --- Ports ------------------------------------------------------------------------------------------------------------- */

static uint8_t port_type_of(const char *type)
{
    uint32_t i;

    for (i = 0; i < machine.port_types && strcmp(machine.ports[i].type, type) != 0; i++) {}
    if (i == machine.port_types) {
        if (i == MAX_PORT_TYPES || strlen(type) >= sizeof machine.ports[i].type)
            return NO_PORT; /* a type that nobody can limit */
        memset(&machine.ports[i], 0, sizeof machine.ports[i]);
        memcpy(machine.ports[i].type, type, strlen(type));
        machine.ports[i].limit = UINT32_MAX;
        machine.port_types++;
    }
    return (uint8_t)i;
}

/* One port for each link, of the type of its last device. All or none (assumed). 0 or 633. */
static uint32_t take_ports(conn *c)
{
    for (uint32_t i = 0; i < c->device_count; i++) {
        uint8_t port;

        if (i + 1 < c->device_count && c->devices[i + 1].subentry == c->devices[i].subentry)
            continue;
        port = port_type_of(c->devices[i].type);
        if (port == NO_PORT)
            continue;
        if (machine.ports[port].used >= machine.ports[port].limit) {
            free_ports(c);
            return 633;
        }
        machine.ports[port].used++;
        c->devices[i].port = port;
    }
    return 0;
}

uint32_t sim_engine_ports(const char *device_type, uint32_t count)
{
    uint32_t code = 0;

    if (device_type == NULL || device_type[0] == '\0')
        return 87;
    rasx__lock(&lock);
    {
        uint8_t port = port_type_of(device_type);

        if (port == NO_PORT)
            code = 87;
        else
            machine.ports[port].limit = count;
    }
    rasx__unlock(&lock);
    return code;
}

/* --- Threads and waiting ----------------------------------------------------------------------------------------------- */

static int start_thread(void (*entry)(void *), void *argument, int owned)
{
    rasx_clock *clock = sim_clock();

    rasx__lock(&lock);
    machine.threads++;
    rasx__unlock(&lock);
    if (owned)
        clock->expect(clock);
    if (rasx__thread_start(entry, argument) == 0)
        return 0;
    if (owned)
        clock->unexpect(clock);
    rasx__lock(&lock);
    machine.threads--;
    rasx__cond_signal_all(&thread_ended);
    rasx__unlock(&lock);
    return -1;
}

/* The last thing that a thread does. It counts itself out before it leaves the clock, so that whoever has advanced a virtual clock
 * sees the thread gone. */
static void end_thread(conn *c, int owned)
{
    rasx__lock(&lock);
    if (c != NULL)
        release_conn(c);
    machine.threads--;
    rasx__cond_signal_all(&thread_ended);
    rasx__unlock(&lock);
    if (owned)
        sim_clock()->leave(sim_clock());
}

/* The keeper: takes care of what falls due although nobody calls, for those who wait to be notified. It lives only while there is
 * something in the heap and somebody registered. On a virtual clock it fires after everything else that is due at the time. */
static void keeper_main(void *unused)
{
    rasx_clock *clock = sim_clock();

    (void)unused;
    clock->enter(clock, UINT64_MAX);
    rasx__lock(&lock);
    for (;;) {
        uint64_t due;

        catch_up();
        if (machine.heap_count == 0 || machine.keeper_stops || machine.resetting || !sim_notify_anybody())
            break;
        due = machine.heap[0]->due_ns;
        rasx__unlock(&lock);
        clock->wait(clock, &machine.keeper_wake, due, 0);
        rasx__lock(&lock);
    }
    machine.keeper = 0;
    rasx__unlock(&lock);
    end_thread(NULL, 1);
}

/* With the lock. Without a thread for it there are no notifications of what falls due: nothing promises them. */
static void keep_time(void)
{
    rasx_clock *clock = sim_clock();

    if (machine.keeper) {
        rasx__event_set(&machine.keeper_wake);
        return;
    }
    if (machine.heap_count == 0 || machine.keeper_stops || machine.resetting || !sim_notify_anybody())
        return;
    if (!machine.keeper_ready) {
        if (rasx__event_init(&machine.keeper_wake) != 0)
            return;
        rasx__event_pump(&machine.keeper_wake, 0);
        machine.keeper_ready = 1;
    }
    machine.threads++;
    clock->expect(clock);
    machine.keeper = rasx__thread_start(keeper_main, NULL) == 0;
    if (!machine.keeper) {
        clock->unexpect(clock);
        machine.threads--;
    }
}

void sim_engine_keep_time(void)
{
    rasx__lock(&lock);
    keep_time();
    rasx__unlock(&lock);
}

static void stop_keeper(int stop)
{
    machine.keeper_stops = stop;
    if (machine.keeper)
        rasx__event_set(&machine.keeper_wake);
}

/* Lets `ns` pass on the machine's clock, or (held) waits until the control table's release(). A reset ends both. releases, if not
 * NULL: their number when the call came in; a release() since then counts, though this thread was not waiting yet. */
static void pause_unless(uint64_t ns, int held, const uint32_t *releases)
{
    rasx_clock *clock = sim_clock();
    uint64_t until = held ? RASX_NEVER : clock->now(clock) + ns;
    sleeper me;
    int on;

    memset(&me, 0, sizeof me);
    if (rasx__event_init(&me.event) != 0)
        return;
    me.held = held;
    rasx__lock(&lock);
    on = me.on = !machine.resetting && (releases == NULL || *releases == machine.releases);
    me.next = machine.sleepers;
    if (me.next != NULL)
        me.next->prev = &me;
    machine.sleepers = &me;
    rasx__unlock(&lock);
    while (on && clock->now(clock) < until) {
        clock->wait(clock, &me.event, until, held);
        rasx__lock(&lock);
        on = me.on;
        rasx__unlock(&lock);
    }
    rasx__lock(&lock);
    if (me.prev != NULL) me.prev->next = me.next; else machine.sleepers = me.next;
    if (me.next != NULL) me.next->prev = me.prev;
    rasx__unlock(&lock);
    rasx__event_destroy(&me.event);
}

static void wake_sleepers(int held_only)
{
    for (sleeper *s = machine.sleepers; s != NULL; s = s->next) {
        if (held_only && !s->held)
            continue;
        s->on = 0;
        rasx__event_set(&s->event);
    }
}

static void pause_here(uint64_t ns, int held)
{
    pause_unless(ns, held, NULL);
}

void sim_engine_release(void)
{
    rasx__lock(&lock);
    machine.releases++;
    wake_sleepers(1);
    rasx__unlock(&lock);
}

/* --- Calling the client's handler -------------------------------------------------------------------------------------- */

/* RasHangUp's work begins here or, when a handler holds the dial, as soon as that returns (S1.5). */
static void begin_closing(conn *c)
{
    if (c->in_handler == 0 && c->phase == CLOSING && c->due_ns == RASX_NEVER)
        set_due(c, sim_clock()->now(sim_clock()) + c->closing_ns);
}

/* Calls the handler on this thread. holds: the dial is suspended meanwhile. A handler that returned 0 is not called again, for
 * any subentry (S8.28). */
static void call_handler(conn *c, const notifier *n, const note *what, int holds)
{
    HRASCONN handle = (HRASCONN)c->handle;
    int goes_on = 1;

    rasx__lock(&lock);
    if (c->muted) {
        rasx__unlock(&lock);
        return;
    }
    c->in_handler += (uint32_t)holds;
    rasx__unlock(&lock);
    inside_handler++;
    switch (n->kind) {
    case RASAPI_NOTIFIER_FUNC:
        ((RASDIALFUNC)(uintptr_t)n->function)(n->message, what->state, what->error);
        break;
    case RASAPI_NOTIFIER_FUNC1:
        ((RASDIALFUNC1)(uintptr_t)n->function)(handle, n->message, what->state, what->error, what->extended_error);
        break;
    case RASAPI_NOTIFIER_FUNC2:
        goes_on = ((RASDIALFUNC2)(uintptr_t)n->function)(n->id, what->subentry, handle, n->message, what->state, what->error,
                                                         what->extended_error) != 0;
        break;
    case RASAPI_NOTIFIER_WINDOW:
        /* S8.31: lParam is wider than the code on 64-bit systems; sign-extended, so that a client that forgets to cut it fails */
        (void)rasx__message_send(n->function, RASDIALEVENT, WM_RASDIALEVENT, what->state, (intptr_t)(int32_t)what->error);
        break;
    default:
        break;
    }
    inside_handler--;
    rasx__lock(&lock);
    c->in_handler -= (uint32_t)holds;
    if (!goes_on)
        c->muted = 1;
    begin_closing(c);
    rasx__unlock(&lock);
}

static void call_own_handler(conn *c, const note *what, int holds)
{
    notifier n;

    rasx__lock(&lock);
    n = c->notify; /* a resume may bring another callback id */
    rasx__unlock(&lock);
    call_handler(c, &n, what, holds);
}

/* Knob threads: a thread that makes one call and ends. */
typedef struct relay {
    conn    *c;
    session *s; /* alive for as long as it counts in s->outstanding */
    note     what;
} relay;

static void relay_main(void *argument)
{
    relay *r = argument;
    conn *c = r->c;

    sim_clock()->enter(sim_clock(), c->number << 8 | 255);
    call_own_handler(c, &r->what, 1);
    rasx__lock(&lock);
    r->s->outstanding--;
    rasx__event_set(&r->s->relay);
    rasx__unlock(&lock);
    free(r);
    end_thread(c, 1);
}

static void wait_for_relays(session *s, uint32_t most)
{
    rasx_clock *clock = sim_clock();

    if (most == 0)
        s->pair = 0;
    for (;;) {
        uint32_t outstanding;

        rasx__lock(&lock);
        outstanding = s->outstanding;
        rasx__unlock(&lock);
        if (outstanding <= most)
            return;
        clock->wait(clock, &s->relay, RASX_NEVER, 0);
    }
}

static int relay_start(session *s, const note *what)
{
    relay *r = malloc(sizeof *r);

    if (r == NULL)
        return -1;
    r->c = s->c;
    r->s = s;
    r->what = *what;
    rasx__lock(&lock);
    s->c->holders++;
    s->outstanding++;
    rasx__unlock(&lock);
    if (start_thread(relay_main, r, 1) == 0)
        return 0;
    rasx__lock(&lock);
    s->c->holders--;
    s->outstanding--;
    rasx__unlock(&lock);
    free(r);
    return -1;
}

/* Knob slow_device: one thread beside the dial makes the calls in order. It is not the clock's: the dial's time goes on while
 * such a handler blocks. */
static void lane_run(conn *c)
{
    for (;;) {
        lane_note *first;

        rasx__lock(&lock);
        first = c->lane->first;
        if (first == NULL) {
            c->lane->running = 0;
            if (c->session != NULL)
                rasx__event_set(&c->session->relay);
            rasx__unlock(&lock);
            break;
        }
        c->lane->first = first->next;
        rasx__unlock(&lock);
        call_own_handler(c, &first->what, 0);
        free(first);
    }
}

static void lane_main(void *argument)
{
    lane_run(argument);
    end_thread(argument, 0);
}

static int lane_post(session *s, const note *what)
{
    conn *c = s->c;
    lane_note *last = malloc(sizeof *last);
    int start;
    int running = 1;

    if (last == NULL)
        return -1;
    last->next = NULL;
    last->what = *what;
    rasx__lock(&lock);
    if (c->lane == NULL)
        c->lane = calloc(1, sizeof *c->lane);
    if (c->lane == NULL) {
        rasx__unlock(&lock);
        free(last);
        return -1;
    }
    if (c->lane->first == NULL) c->lane->first = last; else c->lane->last->next = last;
    c->lane->last = last;
    start = !c->lane->running;
    c->lane->running = 1;
    c->holders += (uint32_t)start;
    rasx__unlock(&lock);
    if (start && start_thread(lane_main, c, 0) != 0) {
        lane_run(c);
        rasx__lock(&lock);
        release_conn(c);
        rasx__unlock(&lock);
        return 0;
    }
    /* A handler that returns at once stays in step with the dial, which keeps runs repeatable. */
    for (uint64_t end = rasx__now_ns() + SLOW_WAIT_MS * MS_NS, now = rasx__now_ns(); running && now < end;
         now = rasx__now_ns()) {
        rasx__event_wait(&s->relay, end - now);
        rasx__lock(&lock);
        running = c->lane->running;
        rasx__unlock(&lock);
    }
    return 0;
}

/* Hands the call to the thread that is inside RasDial (knob early_on_caller) and waits for it. 0 when nobody takes it. */
static int post_to_caller(session *s, const note *what)
{
    rasx_clock *clock = sim_clock();
    conn *c = s->c;
    int waiting;

    rasx__lock(&lock);
    waiting = c->waiter != NULL && c->waiter->takes && !c->waiter->done;
    if (waiting) {
        c->waiter->posted = what;
        rasx__event_set(&c->waiter->event);
    }
    rasx__unlock(&lock);
    if (!waiting)
        return 0;
    while (waiting) {
        clock->wait(clock, &s->relay, RASX_NEVER, 0);
        rasx__lock(&lock);
        waiting = c->waiter != NULL && c->waiter->posted == what;
        rasx__unlock(&lock);
    }
    return 1;
}

/* Makes one call by whatever thread the knobs say. */
static void deliver(session *s, const note *what)
{
    int64_t threads = s->knobs[SIM_KNOB_threads];

    if (post_to_caller(s, what))
        return;
    if (threads != 0 && relay_start(s, what) == 0) {
        s->pair = threads == 2 && !s->pair; /* two at once: the dial waits for every second one only */
        wait_for_relays(s, s->pair ? 1 : 0);
        return;
    }
    if (threads == 0 && s->knobs[SIM_KNOB_slow_device] != 0 && lane_post(s, what) == 0)
        return;
    call_own_handler(s->c, what, 1);
}

static int by_chance(session *s, enum sim_knob percent)
{
    return s->knobs[percent] > 0 && (int64_t)(sim_chance(&s->chance) % 100) < s->knobs[percent];
}

static void finish_waiter(conn *c, uint32_t code)
{
    if (c->waiter == NULL || c->waiter->done)
        return;
    c->waiter->done = 1;
    c->waiter->code = code;
    rasx__event_set(&c->waiter->event);
}

/* RasDial's caller has waited for early notifications, and no more will come for now. */
static void no_more_early(session *s)
{
    conn *c = s->c;

    if (s->early_over)
        return;
    s->early_over = 1;
    rasx__lock(&lock);
    if (c->waiter != NULL && !c->waiter->sync)
        finish_waiter(c, 0);
    rasx__unlock(&lock);
}

static void announce(session *s, const note *what, int silent)
{
    conn *c = s->c;
    int intermediate = (what->state & (RASCS_PAUSED | RASCS_DONE)) == 0 && what->error == 0
                       && what->state != RASCS_SubEntryConnected && what->state != RASCS_SubEntryDisconnected;

    if (silent || c->notify.kind == KIND_NONE || (intermediate && by_chance(s, SIM_KNOB_skip_percent)))
        return;
    s->announced++;
    if (s->knobs[SIM_KNOB_silent] <= 0 || s->announced < s->knobs[SIM_KNOB_silent]) {
        int times = by_chance(s, SIM_KNOB_repeat_percent) ? 2 : 1;

        while (times-- > 0)
            deliver(s, what);
    }
    if (s->announced >= s->knobs[SIM_KNOB_early])
        no_more_early(s);
}

/* --- The worker -------------------------------------------------------------------------------------------------------- */

static uint32_t pause_failure(uint32_t state)
{
    switch (state) {
    case RASCS_RetryAuthentication: return 691;
    case RASCS_PasswordExpired: return 648;
    case RASCS_CallbackSetByCaller: return 704;
    default: return 703; /* Interactive, InvokeEapUI; assumed for unknown ones */
    }
}

/* The next unused device of the subentry's chain is in use now (S2.2, state 2). */
static void use_device(conn *c, uint32_t state, uint32_t subentry)
{
    if (state == RASCS_OpenPort)
        for (uint32_t i = 0; i < c->device_count; i++)
            if (c->devices[i].subentry == subentry)
                c->devices[i].used = 0;
    if (state != RASCS_OpenPort && state != RASCS_ConnectDevice)
        return;
    for (uint32_t i = 0; i < c->device_count; i++) {
        if (c->devices[i].subentry != subentry)
            continue;
        c->device = i;
        if (!c->devices[i].used) {
            c->devices[i].used = state == RASCS_ConnectDevice;
            return;
        }
    }
}

/* A bundle lives as long as one of its subentries does (S2.3d). 1 when this was the last. */
static int subentry_failed(session *s, uint32_t subentry)
{
    uint64_t bit = link_bit(subentry);
    uint64_t all = s->subentries >= 64 ? UINT64_MAX : (UINT64_C(1) << s->subentries) - 1;

    s->down |= bit;
    s->up &= ~bit;
    return (s->down & all) == all;
}

/* Enters a state, or fails in it, and tells the client: the whole of S1.4. 1 when the dial goes on, 0 when it is decided. */
static int enter_state(session *s, const sim_link_report *report)
{
    rasx_clock *clock = sim_clock();
    conn *c = s->c;
    note what = { report->state, report->error, report->extended_error, report->subentry };
    int pausing = 0;
    int ended = 0;
    int failed = 0;

    rasx__lock(&lock);
    if (c->phase != DIALING || rasx__load(&s->stop) != 0) {
        rasx__unlock(&lock);
        return 1; /* the link is asked once more, and says that it was stopped */
    }
    if ((what.state & (RASCS_PAUSED | RASCS_DONE)) == RASCS_PAUSED) {
        pausing = (s->options & RDEOPT_PausedStates) != 0 && c->notify.kind != KIND_NONE;
        if (!pausing) { /* S1.7: what would need input is an error in the state that it happened in */
            what.error = pause_failure(what.state);
            what.extended_error = 0;
            what.state = c->state;
        }
    }
    if (pausing) {
        c->paused = 1;
        s->resumed = 0;
    } else if ((what.state & RASCS_DONE) != 0) {
        ended = 1;
        failed = what.state != RASCS_Connected || what.error != 0;
    } else if (what.state == RASCS_SubEntryConnected && what.error == 0) {
        s->up |= link_bit(what.subentry);
        s->down &= ~link_bit(what.subentry);
    } else if (what.error != 0 || what.state == RASCS_SubEntryDisconnected) {
        ended = failed = s->subentries < 2 || subentry_failed(s, what.subentry);
        if (s->first_error == 0)
            s->first_error = what.error;
    }
    if (s->subentries < 2 || ended || what.error == 0) {
        c->state = what.state;
        c->error = what.error != 0 || !failed ? what.error : s->first_error; /* SubEntryDisconnected of the last need not tell */
        c->extended_error = what.extended_error;
        c->subentry = what.subentry;
        use_device(c, what.state, what.subentry);
    }
    if (ended && failed) {
        c->phase = FAILED;
        if (what.error == 0 && (what.state & RASCS_DONE) == 0)
            c->state = RASCS_Disconnected; /* the last link reported itself down without a code: only this tells the end (S2.5, assumed) */
    } else if (ended) {
        c->phase = CONNECTED; /* listed before the handler hears of it (S4.2) */
        links_connected(c, s->subentries, s->down);
        if (report->lasts_ns != RASX_NEVER)
            set_due(c, clock->now(clock) + report->lasts_ns);
        c->told_up = 1;
        sim_notify(RASCN_Connection, c->handle);
    } else if (s->up != 0 && what.state == RASCS_SubEntryDisconnected) { /* assumed: also before the whole is connected */
        sim_notify(RASCN_BandwidthRemoved, c->handle);
    } else if ((s->up & (s->up - 1)) != 0 && what.state == RASCS_SubEntryConnected) { /* not the first */
        sim_notify(RASCN_BandwidthAdded, c->handle);
    }
    if (s->knobs[SIM_KNOB_watch_spurious] != 0)
        sim_notify(SIM_NOTIFY_NOTHING, 0);
    rasx__unlock(&lock);

    announce(s, &what, report->silent);
    if (failed && s->knobs[SIM_KNOB_error_then] != 0 && what.state != RASCS_Disconnected) {
        note last = { RASCS_Disconnected, s->knobs[SIM_KNOB_error_then] == 2 ? what.error : 0, 0, what.subentry };

        rasx__lock(&lock);
        if (c->phase == FAILED)
            c->state = RASCS_Disconnected; /* with the error that it failed for (S2.5) */
        rasx__unlock(&lock);
        announce(s, &last, 0);
    }
    if (pausing) {
        wait_for_relays(s, 0);
        no_more_early(s);
        for (;;) {
            int go;

            rasx__lock(&lock);
            go = s->resumed || rasx__load(&s->stop) != 0;
            if (go)
                c->paused = 0;
            rasx__unlock(&lock);
            if (go)
                break;
            clock->wait(clock, &s->wake, RASX_NEVER, 0);
        }
    }
    return !ended;
}

/* The two states of a failure that has no link: OpenPort, and the code in it. */
static enum sim_link_news next_failure(session *s, int hurry, sim_link_report *report)
{
    rasx_clock *clock = sim_clock();
    uint64_t until = clock->now(clock) + MS_NS;

    while (rasx__load(&s->stop) == 0 && !hurry && clock->now(clock) < until)
        clock->wait(clock, &s->wake, until, 0);
    if (rasx__load(&s->stop) != 0)
        return SIM_LINK_STOPPED;
    memset(report, 0, sizeof *report);
    report->error = s->played++ == 0 ? 0 : s->code;
    report->subentry = 1;
    return SIM_LINK_STATE;
}

/* Plays the link until the dial is decided or hung up. */
static void run_dial(session *s)
{
    rasx_clock *clock = sim_clock();
    conn *c = s->c;
    sim_link_report report;

    memset(&report, 0, sizeof report);
    for (;;) {
        int hurry = s->pair || !s->early_over;
        enum sim_link_news news = s->link == NULL ? next_failure(s, hurry, &report)
                                                  : sim_link_scripted.next(s->link, hurry, &report);

        if (news == SIM_LINK_QUIET) {
            wait_for_relays(s, 0);
            no_more_early(s);
            while (rasx__load(&s->stop) == 0)
                clock->wait(clock, &s->wake, RASX_NEVER, 0);
            news = SIM_LINK_STOPPED;
        }
        if (news == SIM_LINK_STOPPED) {
            rasx__lock(&lock);
            if (c->phase != DIALING) {
                rasx__unlock(&lock);
                return;
            }
            report.error = s->drop_code; /* not hung up, so it was dropped */
            rasx__store(&s->stop, 0);
            rasx__unlock(&lock);
            news = SIM_LINK_LOST;
        }
        if (news == SIM_LINK_LOST) {
            rasx__lock(&lock);
            /* Not a paused state once more: that would be another pause (S1.7), with nobody left to resume it (assumed). */
            report.state = (c->state & RASCS_PAUSED) != 0 ? RASCS_Disconnected : c->state;
            report.error = report.error == 0 ? 629 : report.error; /* the port was disconnected by the other side */
            report.extended_error = 0;
            report.subentry = c->subentry;
            report.silent = 0;
            s->subentries = 1;
            rasx__unlock(&lock);
        }
        if (!enter_state(s, &report))
            return;
    }
}

static void free_session(session *s)
{
    if (s->link != NULL)
        sim_link_scripted.close(s->link);
    rasx__event_destroy(&s->wake);
    rasx__event_destroy(&s->relay);
    free(s);
}

static void worker_main(void *argument)
{
    session *s = argument;
    conn *c = s->c;
    note last = { RASCS_Disconnected, 0, 0, 0 };
    int64_t final;

    sim_clock()->enter(sim_clock(), c->number << 8 | 1);
    run_dial(s);
    rasx__lock(&lock);
    final = c->aborted ? sim_knob(c->entry, SIM_KNOB_final_on_hangup) : 0;
    last.error = final == 2 ? 631 : 0;
    last.subentry = c->subentry;
    rasx__unlock(&lock);
    if (final != 0)
        announce(s, &last, 0);
    wait_for_relays(s, 0);
    rasx__lock(&lock);
    finish_waiter(c, c->phase == CONNECTED ? 0 : c->phase == FAILED && c->error != 0 ? c->error : 631);
    c->session = NULL;
    if (s->prev != NULL) s->prev->next = s->next; else machine.sessions = s->next;
    if (s->next != NULL) s->next->prev = s->prev;
    rasx__unlock(&lock);
    free_session(s);
    end_thread(c, 1);
}

/* A call of a handler that comes from no dial in flight: the Connected of an entry that was connected already, and what still
 * arrives after RasHangUp (knob late). */
typedef struct notice {
    conn    *c;
    notifier notify;
    note     what;
    uint32_t times;
} notice;

static void notice_main(void *argument)
{
    notice *n = argument;
    conn *c = n->c;
    int busy = 1;
    int resetting = 0;

    sim_clock()->enter(sim_clock(), c->number << 8 | 254);
    pause_here(MS_NS, 0);
    while (busy) { /* handlers of one dial do not overlap */
        rasx__lock(&lock);
        resetting = machine.resetting;
        busy = c->in_handler != 0 && !resetting;
        rasx__unlock(&lock);
        if (busy)
            pause_here(MS_NS, 0);
    }
    for (; n->times > 0 && !resetting; n->times--) {
        call_handler(c, &n->notify, &n->what, 1);
        if (n->times > 1)
            pause_here(MS_NS, 0);
    }
    free(n);
    end_thread(c, 1);
}

/* The caller holds the conn. */
static void start_notice(conn *c, const notifier *notify, const note *what, uint32_t times)
{
    notice *n = malloc(sizeof *n);

    if (n == NULL)
        return; /* a notification that is lost: nothing promises it */
    n->c = c;
    n->notify = *notify;
    n->what = *what;
    n->times = times;
    rasx__lock(&lock);
    c->holders++;
    rasx__unlock(&lock);
    if (start_thread(notice_main, n, 1) == 0)
        return;
    free(n);
    rasx__lock(&lock);
    release_conn(c);
    rasx__unlock(&lock);
}

/* --- RasDial ----------------------------------------------------------------------------------------------------------- */

static const uint32_t params_sizes[] = { RASDIALPARAMSW_SIZES };
static const uint32_t extensions_sizes[] = { RASDIALEXTENSIONS_SIZES };
static const uint32_t status_sizes[] = { RASCONNSTATUSW_SIZES };
static const uint32_t connection_sizes[] = { RASCONNW_SIZES };

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

static int known_size(uint32_t size, const uint32_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (sizes[i] == size)
            return 1;
    return 0;
}

/* One RasDial on its caller's stack. */
typedef struct dial_call {
    const RASDIALPARAMSW *params;
    HRASCONN        *connection;
    notifier         notify;
    uint32_t         options;
    uint32_t         releases;   /* of the machine, when the call came in */
    uint32_t         subentry;   /* as given; 0 without */
    int              by_number;  /* no entry: `entry` is "." and the number */
    int              resume;
    uintptr_t        handle;     /* what *connection shall become */
    pbk_book        *book;
    const pbk_entry *record;
    int64_t          knobs[SIM_KNOB_COUNT];
    char             entry[NAME_BYTES];
    char             number[NUMBER_BYTES];
} dial_call;

static uint32_t check_arguments(dial_call *d, const RASDIALEXTENSIONS *extensions, uint32_t notifier_type, void *function)
{
    const RASDIALPARAMSW *params = d->params;

    if (params == NULL || d->connection == NULL)
        return 87;
    if (!known_size(params->dwSize, params_sizes, COUNT_OF(params_sizes)))
        return 632;
    if (extensions != NULL) {
        if (!known_size(extensions->dwSize, extensions_sizes, COUNT_OF(extensions_sizes)))
            return 632;
        d->options = extensions->dwfOptions;
    }
    d->notify.kind = KIND_NONE; /* the type says nothing without a notifier (S8.32) */
    if (function != NULL) {
        if (notifier_type > RASAPI_NOTIFIER_FUNC2 && (notifier_type != RASAPI_NOTIFIER_WINDOW || !rasx__has_windows()))
            return 87;
        d->notify.kind = notifier_type;
        d->notify.function = function;
    }
    if (params->dwSize != params_sizes[0]) {
        d->subentry = params->dwSubEntry;
        d->notify.id = params->dwCallbackId;
    }
    rasx__to_utf8(params->szEntryName, COUNT_OF(params->szEntryName), d->entry, sizeof d->entry);
    rasx__to_utf8(params->szPhoneNumber, COUNT_OF(params->szPhoneNumber), d->number, sizeof d->number);
    if (d->entry[0] == '\0' && d->number[0] != '\0') { /* the name under which it will be listed (S1.2) */
        d->by_number = 1;
        d->entry[0] = '.';
        memcpy(d->entry + 1, d->number, strlen(d->number) + 1);
    }
    return 0;
}

static void make_request(const dial_call *d, const conn *c, session *s, sim_link_request *request)
{
    memset(request, 0, sizeof *request);
    request->entry = c->entry;
    request->record = d->record;
    request->params = d->params;
    request->options = d->options;
    request->clock = sim_clock();
    request->wake = &s->wake;
    request->stop = &s->stop;
}

/* The second RasDial of a paused dial (S1.7): 6 for an unknown handle, 87 for one that is not paused or for another notifier. The
 * handler that told of the pause may still be running; the dial goes on after it. */
static uint32_t resume_dial(dial_call *d)
{
    uint32_t code = 0;
    conn *c;

    d->resume = 1;
    d->handle = (uintptr_t)*d->connection;
    rasx__lock(&lock);
    catch_up();
    c = find_handle(d->handle);
    if (c == NULL || c->phase >= CLOSING) {
        code = 6;
    } else if (!c->paused || c->session == NULL || c->session->resumed || c->notify.kind != d->notify.kind
               || c->notify.function != d->notify.function) {
        code = 87;
    } else {
        sim_link_request request;

        make_request(d, c, c->session, &request);
        request.options = c->session->options;
        if (c->session->link != NULL)
            sim_link_scripted.resume(c->session->link, &request);
        c->notify.id = d->notify.id;
        c->session->resumed = 1;
        rasx__event_set(&c->session->wake);
    }
    rasx__unlock(&lock);
    return code;
}

/* Finds the entry: 621, 622, 623, 755, 608. */
static uint32_t find_record(dial_call *d, const char16_t *phonebook)
{
    char path[3 * PATH_UNITS + 1];
    const char *custom;
    uint32_t code;

    if (d->by_number)
        return 0;
    if (d->entry[0] == '\0')
        return 623; /* neither entry nor number (S10.2 UNSURE) */
    path[0] = '\0';
    if (phonebook != NULL) {
        if (rasx__utf16_length(phonebook, PATH_UNITS) == PATH_UNITS)
            return 621;
        rasx__to_utf8(phonebook, PATH_UNITS, path, sizeof path);
    }
    code = pbk_open(path[0] == '\0' ? NULL : path, &d->book);
    if (code != 0)
        return code;
    d->record = pbk_find(d->book, d->entry);
    if (d->record == NULL)
        return 623;
    if (d->record->link_count == 0)
        return 608; /* assumed: an entry without a device */
    custom = pbk_value(d->record, "CustomRasDialDll");
    if (custom != NULL && custom[0] != '\0' && (d->options & RDEOPT_CustomDial) == 0)
        return 755;
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Guid=: 32 digits, the bytes as stored (S7.3). */
static void read_guid(const pbk_entry *record, uint8_t bytes[16])
{
    const char *text = record == NULL ? NULL : pbk_value(record, "Guid");

    if (text == NULL || strlen(text) != 32)
        return;
    for (int i = 0; i < 16; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);

        bytes[i] = (uint8_t)(high < 0 || low < 0 ? 0 : high << 4 | low);
    }
}

static const char *copy_text(char **at, const char *text)
{
    char *copy = *at;
    size_t bytes = strlen(text) + 1;

    memcpy(copy, text, bytes);
    *at += bytes;
    return copy;
}

/* One block with everything that outlives the phone book: names, and each device of each link that will be dialled. */
static conn *new_conn(const dial_call *d, uint32_t subentry)
{
    const pbk_entry *record = d->record;
    const char *book = d->book == NULL ? "" : pbk_path(d->book);
    size_t bytes = strlen(book) + strlen(d->entry) + strlen(d->number) + 3;
    uint32_t devices = 0;
    uint32_t first = subentry == 0 ? 0 : subentry - 1;
    uint32_t end = record == NULL ? 0 : subentry == 0 ? record->link_count : subentry;
    conn *c;
    char *at;

    if (record != NULL)
        bytes += strlen(record->name) + 1;
    for (uint32_t i = first; i < end; i++) {
        const pbk_link *link = &record->links[i];

        for (uint32_t j = 0; j < link->device_count; j++, devices++)
            bytes += strlen(link->devices[j].type) + strlen(link->device_name)
                     + strlen(d->number[0] != '\0' ? d->number : link->devices[j].phone_number) + 3;
    }
    if (devices == 0)
        bytes += 64 + strlen(d->number);
    c = calloc(1, sizeof *c + (devices == 0 ? 1 : devices) * sizeof(device) + bytes);
    if (c == NULL)
        return NULL;
    c->devices = (device *)(void *)(c + 1);
    at = (char *)(c->devices + (devices == 0 ? 1 : devices));
    c->book = copy_text(&at, book);
    c->entry = copy_text(&at, record != NULL ? record->name : d->entry);
    for (uint32_t i = first; i < end; i++) {
        const pbk_link *link = &record->links[i];

        for (uint32_t j = 0; j < link->device_count; j++) {
            device *to = &c->devices[c->device_count++];

            to->type = copy_text(&at, link->devices[j].type);
            to->name = copy_text(&at, link->device_name);
            to->number = copy_text(&at, d->number[0] != '\0' ? d->number : link->devices[j].phone_number);
            to->subentry = (uint8_t)(i + 1);
            to->port = NO_PORT;
        }
    }
    if (c->device_count == 0) {
        device *to = &c->devices[c->device_count++];

        to->type = copy_text(&at, RASDT_Modem);
        to->name = copy_text(&at, "Standard Modem");
        to->number = copy_text(&at, d->number);
        to->subentry = 1;
        to->port = NO_PORT;
    }
    read_guid(record, c->entry_id);
    c->due_ns = RASX_NEVER;
    c->notify = d->notify;
    c->only = (uint8_t)subentry;
    c->links = record == NULL ? 1 : record->link_count;
    c->holders = 1; /* RasDial itself */
    c->phase = DIALING;
    return c;
}

/* Looks for another dial of the entry, takes ports, and lists the new one. *known: the connection that got a reference. */
static uint32_t enlist(dial_call *d, conn *c, conn **known, int orphan)
{
    uint64_t chance;
    uint32_t code;
    conn *other;

    other = orphan ? NULL : find_entry(c->book, c->entry);
    if (other != NULL && other->phase == CONNECTED) {
        other->references++;
        other->holders++;
        d->handle = other->handle;
        *known = other;
        return 0;
    }
    if (other != NULL)
        return 756; /* being dialled, failed and not yet hung up, or closing (S8.4, S8.45) */
    code = make_room();
    if (code == 0 && !orphan)
        code = take_ports(c);
    if (code != 0)
        return code;
    c->handle = new_handle(c->entry);
    c->number = ++machine.dials;
    chance = sim_random_64();
    for (int i = 0; i < 16; i++)
        c->correlation[i] = (uint8_t)(sim_chance(&chance) >> 24);
    c->references = 1;
    c->in_entries = (uint8_t)!orphan;
    c->listed = 1;
    c->holders++;
    c->prev = machine.last;
    if (machine.last != NULL) machine.last->next = c; else machine.first = c;
    machine.last = c;
    machine.listed++;
    to_tables(c);
    return 0;
}

/* Opens the link and starts the worker. failure: no link, but a dial that fails with this code by notification. */
static uint32_t start_worker(dial_call *d, conn *c, uint32_t subentry, uint32_t failure)
{
    session *s = calloc(1, sizeof *s);
    uint32_t code = 0;

    if (s == NULL)
        return 8;
    if (rasx__event_init(&s->wake) != 0) {
        free(s);
        return 8;
    }
    if (rasx__event_init(&s->relay) != 0) {
        rasx__event_destroy(&s->wake);
        free(s);
        return 8;
    }
    s->c = c;
    s->code = failure;
    s->options = d->options;
    s->subentries = 1;
    s->chance = sim_dial_chance(c->entry);
    memcpy(s->knobs, d->knobs, sizeof s->knobs);
    s->early_over = d->notify.kind == KIND_NONE || d->knobs[SIM_KNOB_early] <= 0;
    if (failure == 0) {
        sim_link_request request;

        make_request(d, c, s, &request);
        request.subentry = subentry;
        request.seed = sim_chance(&s->chance);
        code = sim_link_scripted.open(&request, &s->link, &s->subentries);
    }
    if (code == 0) {
        rasx__lock(&lock);
        if (c->phase != DIALING || machine.resetting) { /* hung up or reset meanwhile */
            code = 631;
        } else {
            c->session = s;
            c->holders++;
            s->next = machine.sessions;
            if (s->next != NULL)
                s->next->prev = s;
            machine.sessions = s;
        }
        rasx__unlock(&lock);
    }
    if (code == 0 && start_thread(worker_main, s, 1) != 0) {
        code = 8;
        rasx__lock(&lock);
        c->session = NULL;
        c->holders--;
        if (s->prev != NULL) s->prev->next = s->next; else machine.sessions = s->next;
        if (s->next != NULL) s->next->prev = s->prev;
        rasx__unlock(&lock);
    }
    if (code != 0)
        free_session(s);
    return code;
}

/* Waits for the outcome (a synchronous dial) or for the early notifications, running those itself when told to. */
static uint32_t wait_for_worker(conn *c, waiter *w)
{
    rasx_clock *clock = sim_clock();
    uint32_t code;

    rasx__lock(&lock);
    while (!w->done || w->posted != NULL) {
        const note *posted = w->posted;

        rasx__unlock(&lock);
        if (posted != NULL)
            call_own_handler(c, posted, 1);
        else
            clock->wait(clock, &w->event, RASX_NEVER, 0);
        rasx__lock(&lock);
        if (posted != NULL) {
            w->posted = NULL;
            if (c->session != NULL)
                rasx__event_set(&c->session->relay);
        }
    }
    code = w->sync ? w->code : 0; /* the outcome of an asynchronous dial is never returned */
    c->waiter = NULL;
    rasx__unlock(&lock);
    return code;
}

/* Makes the new conn, or finds the connected one, and dials. *d->connection is set here for a synchronous dial only: an
 * asynchronous client does not know the handle before RasDial returns (S8.5). */
static uint32_t new_dial(dial_call *d, const char16_t *phonebook)
{
    int64_t *knobs = d->knobs;
    int sync = d->notify.kind == KIND_NONE;
    uint32_t subentry = 0;
    uint32_t forced; /* knob dial_code */
    uint32_t failure;
    uint32_t code;
    int start; /* a worker is needed */
    int waits = 0;
    conn *known = NULL;
    conn *c;
    waiter w;

    sim_engine_knobs(d->entry, knobs);
    forced = (uint32_t)knobs[SIM_KNOB_dial_code];
    d->notify.message = (uint32_t)knobs[SIM_KNOB_message];
    if (forced != 0 && knobs[SIM_KNOB_dial_code_handle] == 0 && (knobs[SIM_KNOB_dial_code_notify] == 0 || sync))
        return forced;
    code = find_record(d, phonebook);
    if (code != 0 && (code == 8 || knobs[SIM_KNOB_by_callback] == 0 || sync || forced != 0))
        return code;
    if (code == 0 && d->record != NULL && d->record->link_count > 1) {
        const char *mode = pbk_value(d->record, "DialMode");

        if (mode != NULL && strcmp(mode, "2") == 0) /* dial as needed: one link at first (S1.2) */
            subentry = d->subentry >= 1 && d->subentry <= d->record->link_count ? d->subentry : 1;
    }
    failure = code;
    c = new_conn(d, subentry);
    if (c == NULL)
        return 8;

    rasx__lock(&lock);
    catch_up();
    if (forced != 0 && knobs[SIM_KNOB_dial_code_handle] == 0) {
        c->handle = new_handle(c->entry); /* told to the handler, but nobody's */
        c->number = ++machine.dials;
    } else {
        code = enlist(d, c, &known, failure != 0 || (forced != 0 && find_entry(c->book, c->entry) != NULL));
        if (code != 0 && code != 8 && knobs[SIM_KNOB_by_callback] != 0 && !sync && forced == 0) {
            failure = code;
            code = enlist(d, c, &known, 1);
        }
    }
    if (code != 0 || known != NULL) {
        release_conn(c);
        rasx__unlock(&lock);
        if (known != NULL) {
            note connected = { RASCS_Connected, 0, 0, 1 };

            if (!sync && sim_knob(known->entry, SIM_KNOB_known_notify) != 0)
                start_notice(known, &d->notify, &connected, 1);
            *d->connection = (HRASCONN)d->handle;
            rasx__lock(&lock);
            release_conn(known);
            rasx__unlock(&lock);
        }
        return code;
    }
    if (forced == 0 || knobs[SIM_KNOB_dial_code_handle] != 0)
        d->handle = c->handle;
    start = forced == 0 || knobs[SIM_KNOB_dial_code_notify] != 0;
    if (!start) {
        c->phase = FAILED;
        c->error = forced;
    }
    memset(&w, 0, sizeof w);
    if (start && (sync || knobs[SIM_KNOB_early] > 0)) {
        w.sync = sync;
        w.takes = !sync && knobs[SIM_KNOB_early_on_caller] != 0;
        waits = rasx__event_init(&w.event) == 0;
        if (waits)
            c->waiter = &w;
        else
            code = 8;
    }
    rasx__unlock(&lock);

    if (sync)
        *d->connection = (HRASCONN)d->handle;
    if (code == 0 && start)
        code = start_worker(d, c, subentry, forced != 0 ? forced : failure);
    if (code != 0) {
        int hung_up; /* by somebody who found the handle in a list: closing as usual */

        rasx__lock(&lock);
        c->waiter = NULL;
        hung_up = c->phase == CLOSING;
        if (!hung_up)
            unlist(c);
        rasx__unlock(&lock);
        d->handle = hung_up ? c->handle : 0;
        *d->connection = (HRASCONN)d->handle;
        if (hung_up && !sync)
            code = 0;
    } else {
        if (knobs[SIM_KNOB_block_dial] != 0)
            pause_unless(0, 1, &d->releases);
        if (knobs[SIM_KNOB_dial_delay_ms] > 0)
            pause_here((uint64_t)knobs[SIM_KNOB_dial_delay_ms] * MS_NS, 0);
        if (waits)
            code = wait_for_worker(c, &w);
        if (d->handle != 0)
            *d->connection = (HRASCONN)d->handle;
        if (forced != 0)
            code = forced;
    }
    if (waits)
        rasx__event_destroy(&w.event);
    rasx__lock(&lock);
    release_conn(c);
    rasx__unlock(&lock);
    return code;
}

static const char *kind_name(uint32_t kind)
{
    return kind == KIND_NONE ? "sync" : kind == RASAPI_NOTIFIER_WINDOW ? "window" : kind == 0 ? "0" : kind == 1 ? "1" : "2";
}

/* The order of the checks is that of S10.2. A RasDial from inside a handler is refused with 87 (assumed; S1.5 forbids it): a client
 * that does so shall notice. */
uint32_t RASAPI_CALL sim_RasDialW(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                  uint32_t notifier_type, void *notifier_function, HRASCONN *connection)
{
    dial_call d;
    uint32_t code;

    memset(&d, 0, sizeof d);
    rasx__lock(&lock);
    d.releases = machine.releases; /* before the call is counted: whoever sees the count may release it */
    rasx__unlock(&lock);
    if (sim_enter(SIM_RasDialW, &code))
        return code;
    d.notify.kind = KIND_NONE;
    d.params = params;
    d.connection = connection;
    code = check_arguments(&d, extensions, notifier_type, notifier_function);
    if (code == 0 && inside_handler > 0)
        code = 87;
    if (code == 0)
        code = *connection != NULL ? resume_dial(&d) : new_dial(&d, phonebook);
    if (d.book != NULL)
        pbk_release(d.book);
    return sim_leave(SIM_RasDialW, code, "entry=\"%s\" kind=%s%s h=0x%llx", d.entry, kind_name(d.notify.kind),
                     d.resume ? " resume" : "", (unsigned long long)d.handle);
}

/* --- RasHangUp --------------------------------------------------------------------------------------------------------- */

/* The knobs of the connection behind a handle; those of the machine when there is none. */
static int64_t handle_knob(uintptr_t handle, enum sim_knob knob)
{
    int64_t value;
    conn *c;

    rasx__lock(&lock);
    c = find_handle(handle);
    value = sim_knob(c == NULL ? NULL : c->entry, knob);
    rasx__unlock(&lock);
    return value;
}

/* One link of a connection goes, the rest of the bundle stays; with the last one the connection ends (S2.3d). Its port is free at
 * once (assumed). 0, or what is said of a link that does not stand: 6 before Connected and after its own hang-up, else 618 (assumed).
 * Under the lock. */
static uint32_t drop_link(conn *c, uint32_t subentry, int hung)
{
    if (c->phase != CONNECTED || (c->links_hung & link_bit(subentry)) != 0)
        return 6;
    if ((c->links_up & link_bit(subentry)) == 0 || subentry > c->links)
        return 618;
    c->links_up &= ~link_bit(subentry);
    if (hung)
        c->links_hung |= link_bit(subentry);
    for (uint32_t i = 0; i < c->device_count; i++) {
        if (c->devices[i].subentry != subentry || c->devices[i].port == NO_PORT)
            continue;
        machine.ports[c->devices[i].port].used--;
        c->devices[i].port = NO_PORT;
    }
    if (c->links_up == 0)
        unlist(c);
    else
        sim_notify(RASCN_BandwidthRemoved, c->handle);
    return 0;
}

/* Removes one reference; the last one closes the connection, which takes hangup_delay_ms of the machine's clock (S3). In a handler
 * that holds the dial the closing waits for its return (S8.10). */
uint32_t RASAPI_CALL sim_RasHangUpW(HRASCONN connection)
{
    uintptr_t handle = (uintptr_t)connection;
    uint32_t late = 0;
    uint32_t code;
    notifier notify;
    note what;
    conn *c;

    if (sim_enter(SIM_RasHangUpW, &code))
        return code;
    if (handle != 0 && handle_knob(handle, SIM_KNOB_block_hangup) != 0)
        pause_here(0, 1);
    code = handle == 0 ? 6 : (uint32_t)handle_knob(handle, SIM_KNOB_hangup_code);
    rasx__lock(&lock);
    catch_up();
    c = code == 0 ? find_link(handle, &what.subentry) : NULL;
    if (c != NULL) {
        code = drop_link(c, what.subentry, 1);
        rasx__unlock(&lock);
        return sim_leave(SIM_RasHangUpW, code, "h=0x%llx", (unsigned long long)handle);
    }
    c = find_handle(handle);
    if (code != 0) {
        c = NULL;
    } else if (c == NULL || c->phase >= CLOSING) {
        code = gone_code(handle);
        c = NULL;
    } else if (c->references > 1) {
        c->references--;
        c = NULL;
    } else {
        c->references = 0;
        c->aborted = c->phase == DIALING;
        c->phase = CLOSING;
        c->never_gone = sim_knob(c->entry, SIM_KNOB_never_gone) != 0;
        c->closing_ns = (uint64_t)sim_knob(c->entry, SIM_KNOB_hangup_delay_ms) * MS_NS;
        set_due(c, RASX_NEVER);
        begin_closing(c);
        if (c->aborted && c->session != NULL) {
            rasx__store(&c->session->stop, 1);
            rasx__event_set(&c->session->wake);
        }
        late = c->notify.kind == KIND_NONE ? 0 : (uint32_t)sim_knob(c->entry, SIM_KNOB_late);
        notify = c->notify;
        what.state = c->state;
        what.error = c->error;
        what.extended_error = c->extended_error;
        what.subentry = c->subentry;
        c->holders++;
    }
    rasx__unlock(&lock);
    (void)sim_leave(SIM_RasHangUpW, code, "h=0x%llx", (unsigned long long)handle);
    if (c != NULL) {
        if (late > 0)
            start_notice(c, &notify, &what, late); /* the last act, so that they come after the return (S8.11) */
        rasx__lock(&lock);
        release_conn(c);
        rasx__unlock(&lock);
    }
    return code;
}

/* --- RasGetConnectStatus, RasEnumConnections --------------------------------------------------------------------------- */

/* Endpoints of a connected tunnel, made up from the addresses set aside for documentation; unknown for SSTP (S4.1). */
static void fill_endpoints(const conn *c, RASCONNSTATUSW *status)
{
    const device *used = &c->devices[c->device];

    if (c->phase != CONNECTED || strcmp(used->type, RASDT_Vpn) != 0 || strstr(used->name, "SSTP") != NULL)
        return;
    status->localEndPoint.dwType = RASTUNNELENDPOINT_IPv4;
    status->localEndPoint.address.ipv4.a = 192;
    status->localEndPoint.address.ipv4.c = 2;
    status->localEndPoint.address.ipv4.d = (uint8_t)(1 + c->number % 254);
    status->remoteEndPoint.dwType = RASTUNNELENDPOINT_IPv4;
    status->remoteEndPoint.address.ipv4.a = 198;
    status->remoteEndPoint.address.ipv4.b = 51;
    status->remoteEndPoint.address.ipv4.c = 100;
    status->remoteEndPoint.address.ipv4.d = 1;
}

/* Whether the status knows this link no more: one that never stood, or that was hung up where that is told (knob link_gone). */
static int link_is_gone(const conn *c, uint32_t subentry)
{
    if (subentry > c->links || c->phase != CONNECTED)
        return 1;
    if (c->links_hung & link_bit(subentry))
        return sim_knob(c->entry, SIM_KNOB_link_gone) == 2;
    return (c->links_up & link_bit(subentry)) == 0;
}

/* The last state with its error, until the handle is gone (S2.5). Only the fields of the caller's version are written. */
uint32_t RASAPI_CALL sim_RasGetConnectStatusW(HRASCONN connection, RASCONNSTATUSW *status)
{
    uintptr_t handle = (uintptr_t)connection;
    RASCONNSTATUSW full;
    uint32_t subentry = 0;
    uint32_t code;
    conn *c;

    if (sim_enter(SIM_RasGetConnectStatusW, &code))
        return code;
    memset(&full, 0, sizeof full);
    if (sim_knob(NULL, SIM_KNOB_status_stub) != 0 || handle_knob(handle, SIM_KNOB_status_stub) != 0)
        goto leave;
    if (status == NULL)
        code = 87;
    else if (!known_size(status->dwSize, status_sizes, COUNT_OF(status_sizes)))
        code = 632;
    if (code != 0)
        goto leave;
    if (handle_knob(handle, SIM_KNOB_block_status) != 0)
        pause_here(0, 1);
    rasx__lock(&lock);
    catch_up();
    c = find_handle(handle);
    if (c == NULL)
        c = find_link(handle, &subentry);
    if (c == NULL) {
        code = gone_code(handle);
    } else if (subentry != 0 && link_is_gone(c, subentry)) {
        code = c->links_hung & link_bit(subentry) ? 6 : 618;
    } else {
        const device *used = &c->devices[c->device];
        uint32_t closing = (uint32_t)sim_knob(c->entry, SIM_KNOB_closing_state);

        full.rasconnstate = c->phase >= CLOSING && closing != 0 ? closing : c->state;
        full.dwError = c->error;
        if (subentry != 0 && (c->links_up & link_bit(subentry)) == 0 && sim_knob(c->entry, SIM_KNOB_link_gone) != 0)
            full.rasconnstate = RASCS_Disconnected;
        for (uint32_t i = 0; subentry != 0 && i < c->device_count; i++)
            if (c->devices[i].subentry == subentry)
                used = &c->devices[i];
        sim_copy_utf16(full.szDeviceType, COUNT_OF(full.szDeviceType), used->type);
        sim_copy_utf16(full.szDeviceName, COUNT_OF(full.szDeviceName), used->name);
        sim_copy_utf16(full.szPhoneNumber, COUNT_OF(full.szPhoneNumber), used->number);
        fill_endpoints(c, &full);
    }
    rasx__unlock(&lock);
    if (code == 0) {
        full.dwSize = status->dwSize;
        memcpy(status, &full, full.dwSize);
    }
leave:
    return sim_leave(SIM_RasGetConnectStatusW, code, "h=0x%llx state=%u error=%u", (unsigned long long)handle,
                     full.rasconnstate, full.dwError);
}

/* The handle of one link of a connection that stands (S4.10): 6 for a handle that is none, 259 beyond the links, 618 for one that
 * is down. A handle of a link will do for the connection (assumed). */
uint32_t RASAPI_CALL sim_RasGetSubEntryHandleW(HRASCONN connection, uint32_t subentry, HRASCONN *link)
{
    uintptr_t handle = (uintptr_t)connection;
    uint32_t own = 0;
    uint32_t code;
    conn *c;

    if (sim_enter(SIM_RasGetSubEntryHandleW, &code))
        return code;
    rasx__lock(&lock);
    catch_up();
    c = find_handle(handle);
    if (c == NULL)
        c = find_link(handle, &own);
    if (link == NULL || subentry == 0)
        code = 87;
    else if (c == NULL || c->phase != CONNECTED)
        code = 6;
    else if (subentry > c->links || subentry >= HANDLE_STEP)
        code = 259;
    else if ((c->links_up & link_bit(subentry)) == 0)
        code = 618;
    if (code == 0)
        *link = (HRASCONN)(c->handle + subentry);
    rasx__unlock(&lock);
    return sim_leave(SIM_RasGetSubEntryHandleW, code, "h=0x%llx subentry=%u", (unsigned long long)handle, subentry);
}

static int is_listed(const conn *c, int dialing)
{
    return c->phase == CONNECTED || (dialing && (c->phase == DIALING || c->phase == FAILED));
}

typedef struct listing {
    conn *next;
    int   dialing;
} listing;

static void write_connection(void *context, uint32_t index, uint32_t version_size, void *element)
{
    listing *list = context;
    RASCONNW *to = element;
    const conn *c = list->next;
    const device *used;

    (void)index;
    (void)version_size;
    while (!is_listed(c, list->dialing))
        c = c->next;
    list->next = c->next;
    used = &c->devices[c->device];
    to->hrasconn = (HRASCONN)c->handle;
    sim_copy_utf16(to->szEntryName, COUNT_OF(to->szEntryName), c->entry);
    sim_copy_utf16(to->szDeviceType, COUNT_OF(to->szDeviceType), used->type);
    sim_copy_utf16(to->szDeviceName, COUNT_OF(to->szDeviceName), used->name);
    sim_copy_utf16(to->szPhonebook, COUNT_OF(to->szPhonebook), c->book);
    to->dwSubEntry = 0; /* the connection as a whole (S4.2 UNSURE) */
    memcpy(&to->guidEntry, c->entry_id, sizeof to->guidEntry);
    to->dwFlags = RASCF_OwnerKnown | RASCF_OwnerMatch; /* assumed */
    to->luid.LowPart = 0x3E7;
    memcpy(&to->guidCorrelationId, c->correlation, sizeof to->guidCorrelationId);
}

uint32_t RASAPI_CALL sim_RasEnumConnectionsW(RASCONNW *list, uint32_t *bytes, uint32_t *count)
{
    listing context;
    uint32_t available = 0;
    uint32_t code;

    if (sim_enter(SIM_RasEnumConnectionsW, &code))
        return code;
    context.dialing = sim_knob(NULL, SIM_KNOB_list_dialing) != 0;
    rasx__lock(&lock);
    catch_up();
    context.next = machine.first;
    for (const conn *c = machine.first; c != NULL; c = c->next)
        available += (uint32_t)is_listed(c, context.dialing);
    code = sim_enumerate(SIM_RasEnumConnectionsW, list, bytes, count, connection_sizes, COUNT_OF(connection_sizes), available,
                         write_connection, &context);
    rasx__unlock(&lock);
    return sim_leave(SIM_RasEnumConnectionsW, code, "available=%u", available);
}

/* --- For the control table --------------------------------------------------------------------------------------------- */

/* The other side ends the link: a connection vanishes and the reason is lost (S2.5); a dial fails in its state. */
uint32_t sim_engine_drop(uint64_t handle, uint32_t reason)
{
    uint32_t code = 0;
    uint32_t subentry = 0;
    conn *c;

    rasx__lock(&lock);
    catch_up();
    c = (uint64_t)(uintptr_t)handle == handle ? find_handle((uintptr_t)handle) : NULL;
    if (c == NULL && (uint64_t)(uintptr_t)handle == handle)
        c = find_link((uintptr_t)handle, &subentry);
    if (c != NULL && subentry != 0) {
        code = drop_link(c, subentry, 0);
    } else if (c == NULL || c->phase >= CLOSING) {
        code = 6;
    } else if (c->phase == CONNECTED) {
        unlist(c);
    } else if (c->phase == DIALING && c->session != NULL) {
        c->session->drop_code = reason;
        rasx__store(&c->session->stop, 1);
        rasx__event_set(&c->session->wake);
    }
    rasx__unlock(&lock);
    return code;
}

int sim_engine_has(uintptr_t handle)
{
    int has;

    rasx__lock(&lock);
    catch_up();
    has = find_handle(handle) != NULL;
    rasx__unlock(&lock);
    return has;
}

void sim_engine_counters(rasx_sim_counters *counters)
{
    memset(counters, 0, sizeof *counters);
    rasx__lock(&lock);
    catch_up();
    for (const conn *c = machine.first; c != NULL; c = c->next) {
        counters->handles += c->phase != ZOMBIE;
        counters->references += c->references;
    }
    counters->threads = machine.threads;
    for (uint32_t i = 0; i < machine.port_types; i++)
        counters->ports += machine.ports[i].used;
    rasx__unlock(&lock);
}

/* Dials that are not decided, and threads of ours; a thread that is just ending gets a moment. */
uint32_t sim_engine_in_flight(void)
{
    uint64_t end = rasx__now_ns() + GRACE_MS * MS_NS;
    uint32_t dials = 0;
    uint32_t threads;

    rasx__lock(&lock);
    for (const conn *c = machine.first; c != NULL; c = c->next)
        dials += c->phase == DIALING;
    stop_keeper(1); /* it does not count; sim_engine_keep_time lets it come back */
    while (dials == 0 && machine.threads > 0 && rasx__now_ns() < end)
        rasx__cond_wait(&thread_ended, &lock, 20);
    threads = machine.threads;
    stop_keeper(0);
    rasx__unlock(&lock);
    while (dials + threads == 0 && rasx__clock_owned(sim_clock()) > 0 && rasx__now_ns() < end)
        rasx__yield();
    return dials + threads;
}

void sim_engine_clock_moved(uint64_t from_ns, uint64_t to_ns)
{
    rasx__lock(&lock);
    for (uint32_t i = 0; i < machine.heap_count; i++) { /* all by the same amount: the order stays */
        conn *c = machine.heap[i];

        c->due_ns = to_ns + (c->due_ns > from_ns ? c->due_ns - from_ns : 0);
    }
    rasx__unlock(&lock);
}

/* Back to nothing. Without force only when nothing is open; with force every handle goes, every worker is stopped and no handler is
 * called any more, and threads get a bounded real time to end. */
uint32_t sim_engine_reset(uint32_t force)
{
    uint64_t end = rasx__now_ns() + (force ? RESET_WAIT_MS : GRACE_MS) * MS_NS;
    uint32_t left = 0;
    conn *next;

    rasx__lock(&lock);
    catch_up();
    for (const conn *c = machine.first; c != NULL; c = c->next)
        left += c->phase != ZOMBIE;
    if (left > 0 && !force) {
        rasx__unlock(&lock);
        return RASX_E_STILL_OPEN;
    }
    if (force) {
        machine.resetting = 1;
        for (conn *c = machine.first; c != NULL; c = next) {
            next = c->next;
            c->muted = 1;
            if (c->session == NULL)
                finish_waiter(c, 631);
            unlist(c);
        }
        wake_sleepers(0);
    }
    stop_keeper(1);
    for (;;) {
        for (session *s = machine.sessions; force && s != NULL; s = s->next) {
            s->c->muted = 1;
            s->c->phase = GONE;
            rasx__store(&s->stop, 1);
            rasx__event_set(&s->wake);
        }
        left = machine.threads + (machine.sleepers != NULL);
        if (left == 0 || rasx__now_ns() >= end)
            break;
        rasx__cond_wait(&thread_ended, &lock, 20);
    }
    machine.resetting = 0;
    stop_keeper(0);
    if (left == 0) {
        for (conn *c = machine.first; c != NULL; c = next) { /* zombies */
            next = c->next;
            unlist(c);
        }
        machine.gone_count = 0;
        machine.reusable_count = 0;
        machine.dials = 0;
        machine.port_types = 0; /* none is in use */
    }
    rasx__unlock(&lock);
    while (left == 0 && rasx__clock_owned(sim_clock()) > 0 && rasx__now_ns() < end)
        rasx__yield();
    return left == 0 ? 0 : RASX_E_STILL_OPEN;
}
