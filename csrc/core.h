/* core.h: what the files of the core share: slots, queues, clients, and the few steps between them.
 *
 * SPDX-License-Identifier: MIT
 *
 *   slot.c    the table of dials in flight; pinning; what a notification or a decision does to a dial
 *   notify.c  the native RAS handlers: RasDialFunc2, and banks of trampolines for RasDialFunc and RasDialFunc1
 *   notify_win.c  the window that receives notifications, where there are windows
 *   queue.c   ready dials, one consumer, the armed wake-up
 *   dial.c    the life of a dial, on its own native thread
 *   hangup.c  references that this process owns, RasHangUp, the bounded wait
 *   query.c   lists, status, names
 *   entry.c   the properties of a phone-book entry
 *   watch.c   hears that connections may have changed
 *   client.c  open, close
 *   process.c what is needed once in a process; fork
 *   api.c     counters, the function table
 */
#ifndef RASX_CORE_H
#define RASX_CORE_H

#include "clock.h"
#include "os.h"
#include "ras_ext.h"
#include "rasapi.h"
#include "ring.h"
#include "text.h"

#define RASX_SLOT_LIMIT   65536u /* dials in flight, one process */
#define RASX_RING_DEFAULT 32u
#define RASX_RING_KEEP    2u     /* places that progress may not take: one for a pause, one for the outcome */

struct rasx_client {
    const rasapi *ras;
    rasx_clock   *clock;
    char         *phonebook;  /* default of calls that name none; NULL: the system's */
    rasx__a32     closed;
    rasx__a32     users;      /* the owner, each queue, watch and dial thread; freed at 0 */
    rasx__a32     threads;    /* dial threads that have not ended */
    rasx__a64     dials;      /* started so far: breaks ties between timers of a virtual clock */
    rasx__a32     entry_version; /* how many steps down RASENTRY's versions this system needs (entry.c) */
    rasx__event   idle;       /* set when the last dial thread ends */
};

struct rasx_queue {
    rasx__aptr   ready;       /* slots with something, newest first: producers push, the consumer takes all */
    rasx__a32    armed;       /* 1: the consumer is about to sleep; whoever makes it 0 signals */
    rasx__a32    kicked;      /* rasx_queue_wake was called */
    rasx__a32    consumer;    /* 1 while a thread is in wait or drain */
    rasx__a32    closed;
    rasx__a32    calling;     /* threads inside on_event */
    rasx__a64    deadline_ns; /* no dial of this queue times out earlier */
    rasx__event  wake;
    rasx__aptr   socket;      /* NULL, or one more than the socket that a byte goes to */
    rasx__a32    rung;        /* 1: a byte is on its way, or in the socket, or not wanted; the consumer's drain makes it 0 */
    rasx__a32    ringing;     /* threads that are sending one */
    rasx__aptr   on_event;    /* non-NULL while `function` may be called */
    rasx_event_func function; /* an embedder's, inside the native handler */
    void        *context;
    rasx_client *client;
    rasx_clock  *clock;
    struct rasx__slot *first, *last; /* the consumer's own list, oldest first */
    uint32_t     users;       /* under the core lock: the owner and each bound slot; recycled at 0 */
    struct rasx_queue *next_free;
};

enum rasx__field { /* the texts of a dial */
    RASX__PHONEBOOK, RASX__ENTRY, RASX__PHONE_NUMBER, RASX__CALLBACK_NUMBER, RASX__USERNAME, RASX__DOMAIN, RASX__PASSWORD,
    RASX__FIELDS
};

typedef struct rasx__params { /* what RasDial is told, in one block; the password stands here masked only */
    uint32_t notifier, options, subentry, timeout_ms, hangup_timeout_ms, pause_timeout_ms;
    uint32_t given;                 /* bit n: field n was given, not NULL */
    uint16_t offset[RASX__FIELDS];  /* into text; NUL-terminated but for the password */
    uint16_t units[RASX__FIELDS];
    char16_t text[1];
} rasx__params;

typedef struct rasx__slot {
    rasx__ring    ring;
    rasx__a32     generation; /* odd while a dial owns the slot */
    rasx__a32     inside;     /* threads that may be touching the slot without owning it; seq_cst against generation */
    rasx__a32     pending;    /* 1: in its queue's ready list, or about to be */
    rasx__a32     decided;    /* enum rasx_outcome: NONE, CONNECTED or FAILED; claimed once */
    rasx__a32     settled;    /* 0; 1: the SETTLED record waits; 2: somebody took it and releases the slot */
    rasx__a32     lost;       /* notifications that found the ring full */
    rasx__a32     links;      /* links that will be dialled at once, as the phone book says; 0: not known */
    rasx__a32     progress;   /* 1: a state before the end was announced, so this dial made the connection */
    rasx__a32     hung_up;    /* connected, and hung up by its user before the dial's thread had counted the reference */
    rasx__a64     links_seen; /* bits of the subentries announced (64 at most) */
    rasx__a64     links_failed; /* bits of the subentries that have failed (64 at most) */
    rasx__a32     first_error;  /* of a subentry */
    rasx__a32     paused;     /* 0; 1: a pause waits for an answer; 2: it has been answered */
    rasx__aptr    answer;     /* rasx__params: what the answer changes */
    rasx__a64     handle;     /* the first HRASCONN that RasDial or a notification told */
    rasx__aptr    next;       /* in the ready list */
    rasx__event   wake;       /* the dial's thread waits here */
    rasx__cell   *cells;
    rasx_queue   *queue;
    rasx_client  *client;
    rasx_clock   *clock;      /* outlives the client: handlers use this one */
    const rasapi *ras;
    rasx__params *params;     /* the dial thread's */
    uint64_t      deadline_ns;
    uint64_t      order;
    uint32_t      index;
    uint32_t      capacity;   /* cells allocated */
    uint32_t      paused_states; /* RDEOPT_PausedStates was asked for */
    uint32_t      sequence;   /* the consumer's */
    uint32_t      hangup, hangup_error; /* for the SETTLED record */
    struct rasx__slot *next_free;
} rasx__slot;

/* --- slot.c --- */

extern rasx__mutex rasx__core_lock; /* free lists, binding of slots to queues. Never held across RAS calls or waits */

/* A free slot bound to the queue, undecided; NULL without memory. The queue's `users` grows. The deadline is given here, because
 * the queue's consumer may look at it as soon as the slot is bound. */
rasx__slot *rasx__slot_acquire(rasx_queue *queue, uint32_t capacity, uint64_t deadline_ns);
/* Ends the dial's ownership: the generation changes, so that late handlers find a foreign one. */
void        rasx__slot_release(rasx__slot *slot);
rasx__slot *rasx__slot_at(uint32_t index); /* NULL beyond the table */
uint32_t    rasx__slot_count(void);        /* slots that exist */
void        rasx__slot_census(uint32_t *live, uint32_t *abandoned);

rasx_dial   rasx__slot_dial(const rasx__slot *slot);     /* the public id */
uintptr_t   rasx__slot_callback_id(const rasx__slot *slot); /* dwCallbackId */

/* Pins a dial's slot so that it is not reused meanwhile: NULL when that dial is over. Lock-free. Pair with unpin. */
rasx__slot *rasx__pin(rasx_dial dial);
rasx__slot *rasx__pin_callback(uintptr_t callback_id);
void        rasx__unpin(rasx__slot *slot);

/* A notification of RAS: into the ring, decide where it decides, make ready. The slot is pinned. Lock-free. */
void rasx__notified(rasx__slot *slot, uint64_t handle, uint32_t subentry, uint32_t state, uint32_t error, uint32_t extended_error);
/* Settles the outcome unless something else did: pushes the deciding event and wakes the dial's thread. 1 when this call
 * decided. The slot is pinned or owned. Lock-free. */
int  rasx__decide(rasx__slot *slot, enum rasx_outcome outcome, uint32_t error, enum rasx_origin origin);
/* The dial's thread is through: the SETTLED record becomes ready, or, on a closed queue, the slot is released. */
void rasx__settle(rasx__slot *slot, uint32_t hangup, uint32_t hangup_error);
/* 1 for the one caller that may release a settled slot. */
int  rasx__take_settled(rasx__slot *slot);

/* --- notify.c --- */

uint32_t RASAPI_CALL rasx__on_ras_dial_func2(uintptr_t callback_id, uint32_t subentry, HRASCONN connection, uint32_t message,
                                             uint32_t state, uint32_t error, uint32_t extended_error);
/* A trampoline for notifier kind 0 or 1, bound to the dial, as RasDial's notifier argument; NULL while all 32 are in use or
 * in quarantine. now_ns is the client's clock. */
void *rasx__trampoline_take(uint32_t kind, rasx_dial dial, uint64_t now_ns);
void  rasx__trampoline_give_back(uint32_t kind, void *trampoline, uint64_t now_ns);

/* --- notify_win.c --- */

/* A message-only window for the notifications of the dial, owned by the calling thread, whose waits (`wake` is the event of most
 * of them) pump it from now on. RasDial's notifier argument; NULL without resources, and where there are no windows. */
void *rasx__window_open(rasx_dial dial, rasx__event *wake);
void  rasx__window_close(void *window, rasx__event *wake); /* on the same thread */

/* --- queue.c --- */

/* The slot has something: puts it into its queue's ready list unless it is there, and wakes the consumer if it sleeps. The
 * slot is pinned or owned. Lock-free. */
void rasx__make_ready(rasx__slot *slot);
void rasx__queue_unbind_locked(rasx_queue *queue); /* one user fewer; recycles. Core lock held */
void rasx__queue_deadline(rasx_queue *queue, uint64_t deadline_ns);
uint32_t rasx__queue_total(void);

/* --- hangup.c --- */

/* The connected dial's reference, unless its user has hung up already. */
void rasx__reference_add(rasx__slot *slot, uint64_t handle);
/* RAS says that the handle is gone: with the connection went every reference. */
void rasx__reference_forget(const rasapi *ras, uint64_t handle);
uint32_t rasx__reference_count(const rasapi *ras, uint64_t handle);
uint32_t rasx__reference_total(void);
/* RasHangUp and the bounded wait of S3; see rasx_hang_up. owned: the caller has a reference in our table to give up.
 * patient: 1 to wait on through interruptions (dial threads). */
uint32_t rasx__hang_up(const rasapi *ras, rasx_clock *clock, uint64_t handle, int owned, int all, uint32_t resume_ms,
                       uint32_t timeout_ms, int patient, uint32_t *result);

/* --- entry.c --- */

/* The properties of an entry: 0 and a record to be freed, or a code; RASX_E_NOT_AVAILABLE where RAS lacks the function. Members that
 * this system's version of the structure lacks are 0. May block in RAS. */
uint32_t rasx__entry_properties(rasx_client *client, const char16_t *phonebook, const char16_t *entry, RASENTRYW **record);

/* --- process.c --- */

int  rasx__forked(void);
uint32_t rasx__start_once(void); /* 0, or 8 when the system has no randomness */
const char16_t *rasx__pad(void); /* random per process, 257 units; NULL before start_once */

/* --- client.c --- */

/* A client on any table and clock: rasx_open's other half, and the door for tests of the core alone. */
uint32_t rasx__open_table(const rasapi *ras, rasx_clock *clock, const char *phonebook, rasx_client **client);
void rasx__client_hold(rasx_client *client);
void rasx__client_drop(rasx_client *client);
uint32_t rasx__client_total(void);

/* --- dial.c --- */

uint32_t rasx__thread_total(void);
/* Starts a native thread on a slot: a dial's or a hang-up's. 0, or -1 when the system refuses; then nothing has changed. */
int  rasx__slot_thread_start(rasx__slot *slot, void (*entry)(void *), void *argument);
/* The last step of such a thread, after rasx__settle, between which and this it may touch nothing of the slot. */
void rasx__slot_thread_end(rasx_client *client, rasx_clock *clock);
uint64_t rasx__slot_order(rasx_client *client); /* breaks ties between timers of a virtual clock */
void rasx__params_free(rasx__params *params); /* wipes the masked password; NULL is fine */
void rasx__cancel_where(const rasx_client *client, const rasx_queue *queue); /* all dials of a client, or of a queue */

#endif
