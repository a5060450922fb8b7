/* engine_parts.h: what the rooms of the engine share: a dial, its session, the tables, and the steps between the rooms.
 *
 * SPDX-License-Identifier: MIT
 *
 *   engine_tables.c    handles, entries, what falls due, links, ports
 *   engine_waiting.c   threads, and waiting for time to pass
 *   engine_handlers.c  calls of the client's handler
 *   engine_worker.c    the life of a dial inside the machine
 *   engine_dial.c      RasDial
 *   engine_hangup.c    RasHangUp
 *   engine_status.c    RasGetConnectStatus, RasGetSubEntryHandle, RasEnumConnections
 *   engine.c           what the control table asks of them all (engine.h)
 */
#ifndef RASX_ENGINE_PARTS_H
#define RASX_ENGINE_PARTS_H

#include "../text.h"
#include "engine.h"
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
/* Values stand this far apart, so that the handle of a link is that of its connection and its number (S4.10): both can be
 * told apart from the value alone, and a stale one stays stale. */
#define HANDLE_STEP 256u

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

typedef struct engine {
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
} engine;

extern engine      sim_machine;
extern rasx__mutex sim_engine_lock; /* guards everything here; see engine.c */
extern rasx__cond  sim_thread_ended;

/* --- engine_tables.c: under the lock, all of it --- */

conn     *sim_find_handle(uintptr_t handle); /* NULL for a handle that is none */
conn     *sim_find_entry(const char *book, const char *entry); /* the connection or dial of an entry, or NULL */
conn     *sim_find_link(uintptr_t handle, uint32_t *subentry); /* a connection by the handle of one of its links, or NULL */
void      sim_to_tables(conn *c);
uint32_t  sim_make_room(void); /* for one more connection, so that nothing can fail later. 0 or 8 */
uint32_t  sim_take_ports(conn *c); /* one for each link, all or none. 0 or 633 */
void      sim_set_due(conn *c, uint64_t due_ns); /* when it breaks, or is gone; RASX_NEVER */
uint64_t  sim_catch_up(void); /* takes care of what has fallen due; the time now. Whoever looks at a conn calls it first */
void      sim_unlist(conn *c); /* the handle stops being valid */
void      sim_release_conn(conn *c); /* one holder fewer; the last one frees it */
uintptr_t sim_new_handle(const char *entry);
uint32_t  sim_gone_code(uintptr_t handle); /* what is said of a handle that no connection has (S8.44) */
uint64_t  sim_link_bit(uint32_t subentry);
void      sim_links_connected(conn *c, uint32_t dialled, uint64_t down); /* which links stand from now on (S2.3d) */

/* --- engine_waiting.c: with the lock: keep_time, stop_keeper, wake_sleepers; the others take it --- */

int  sim_start_thread(void (*entry)(void *), void *argument, int owned); /* counted; owned by the clock or not. 0 or -1 */
void sim_end_thread(conn *c, int owned); /* the last thing that such a thread does */
void sim_pause_here(uint64_t ns, int held); /* lets time pass, or (held) waits for release() */
void sim_pause_unless(uint64_t ns, int held, const uint32_t *releases); /* not, if release() was called since that count */
void sim_wake_sleepers(int held_only);
void sim_keep_time(void); /* the heap has changed */
void sim_stop_keeper(int stop); /* 1: it ends, and none starts; 0: one may start again */

/* --- engine_handlers.c: with the lock: begin_closing, finish_waiter; the others without it --- */

int  sim_inside_handler(void); /* is this thread inside one? */
void sim_announce(session *s, const note *what, int silent); /* tells the client of a state, in the way that the knobs ask for */
void sim_call_handler(conn *c, const notifier *n, const note *what, int holds); /* here and now; holds: the dial stands still */
void sim_call_own_handler(conn *c, const note *what, int holds); /* with the notifier that the dial has */
void sim_wait_for_relays(session *s, uint32_t most); /* until at most so many handlers run on threads of their own */
void sim_no_more_early(session *s); /* RasDial's caller has waited long enough for early notifications */
void sim_finish_waiter(conn *c, uint32_t code); /* RasDial returns this */
void sim_begin_closing(conn *c); /* RasHangUp's work begins, unless a handler holds the dial */

/* --- engine_worker.c: without the lock --- */

void sim_worker_main(void *argument); /* the thread of a session */
void sim_free_session(session *s);
void sim_start_notice(conn *c, const notifier *notify, const note *what, uint32_t times); /* calls on a thread of their own */

/* --- engine_dial.c --- */

int sim_known_size(uint32_t size, const uint32_t *sizes, size_t count); /* is it one of these values of dwSize? */

/* --- engine_hangup.c --- */

int64_t  sim_handle_knob(uintptr_t handle, enum sim_knob knob); /* of the connection's entry, or the machine's; takes the lock */
uint32_t sim_drop_link(conn *c, uint32_t subentry, int hung); /* one link goes; hung: by RasHangUp. With the lock. 0, 6 or 618 */

#endif
