/* ras_ext.h: the public C interface of ras_ext, which dials and manages Windows Remote Access (RAS) connections.
 *
 * SPDX-License-Identifier: MIT
 *
 * One rasx_client stands for one implementation of the RAS API (Microsoft's rasapi32.dll, or our own "sim").
 * A rasx_queue carries the events of any number of dials to one consumer. rasx_dial_start() returns at once; a native
 * thread calls RasDial, and RasDialFunc2 pushes each notification into the dial's ring without taking a lock.
 *
 *     rasx_open -> rasx_queue_open -> rasx_dial_start -> { rasx_queue_wait, rasx_queue_drain }* -> rasx_hang_up
 *
 * Conventions. Every function that can fail returns a 32-bit code, 0 for success: a RAS or Win32 code (docs/ras-semantics.md,
 * section 6), or one of the RASX_E_ codes below. All text is UTF-8. Times are milliseconds (_ms) or nanoseconds (_ns) of
 * the client's clock. Structures that the caller passes in start with their size. "Source" names the section of
 * docs/ras-semantics.md that a behaviour comes from.
 */
#ifndef RAS_EXT_H
#define RAS_EXT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef RASX_API
#define RASX_API
#endif

/* The cffi builder reads what stands between the next two markers, and nothing else. */
/* cffi: begin */

#define RASX_ABI 1

/* Codes of our own; bit 29 ("customer") keeps them apart from every code that Windows can produce. */
#define RASX_E_BUSY          0xE0520001 /* another thread is this queue's consumer */
#define RASX_E_CLOSED        0xE0520002 /* the client or queue has been closed */
#define RASX_E_FORKED        0xE0520003 /* this process was forked after the library was used; call exec first */
#define RASX_E_NOT_AVAILABLE 0xE0520004 /* this system lacks the feature (no RAS here, or a missing export) */
#define RASX_E_INVALID       0xE0520005 /* an argument that no RAS call ever saw is wrong (NULL, too long, bad UTF-8) */
#define RASX_E_UNKNOWN_DIAL  0xE0520006 /* the dial id is stale: that dial has been released */
#define RASX_E_STILL_OPEN    0xE0520007 /* refused while handles or dials are open (simulated machine) */

#define RASX_E_NOT_PAUSED    0xE0520008 /* the dial is not in a pause, or its pause has been answered already */

#define RASX_FOREVER 0xFFFFFFFF /* a time-out that never runs out */
#define RASX_NO_SOCKET 0xFFFFFFFFFFFFFFFF /* for rasx_queue_set_socket */

typedef struct rasx_client rasx_client; /* one implementation of the RAS API, opened */
typedef struct rasx_queue  rasx_queue;  /* ready dials, one wake-up, one consumer at a time */
typedef uint64_t           rasx_dial;   /* slot and generation: never a pointer, so a stale one is recognised */

enum rasx_notifier { /* how RAS reaches us; the vendor's values (S1.4) */
    RASX_NOTIFIER_FUNC   = 0, /* RasDialFunc: no handle, no extended error, no subentry */
    RASX_NOTIFIER_FUNC1  = 1, /* RasDialFunc1: no subentry */
    RASX_NOTIFIER_FUNC2  = 2, /* RasDialFunc2: the default */
    RASX_NOTIFIER_WINDOW = 3  /* WM_RASDIALEVENT to a message-only window; Windows only */
};

enum rasx_origin { /* where an event comes from */
    RASX_FROM_NOTIFIER = 0, /* RAS announced it */
    RASX_FROM_RETURN   = 1, /* RasDial returned it */
    RASX_FROM_POLL     = 2, /* RasGetConnectStatus said it although no notification did */
    RASX_FROM_TIMEOUT  = 3, /* the dial's own time-out ran out */
    RASX_FROM_CANCEL   = 4, /* rasx_dial_cancel, or the client was closed */
    RASX_FROM_CORE     = 5  /* the native side itself: no thread, no memory; and RASX_OUTCOME_SETTLED */
};

enum rasx_outcome { /* what an event means for the dial as a whole */
    RASX_OUTCOME_NONE      = 0, /* progress, or something that came after the decision */
    RASX_OUTCOME_CONNECTED = 1, /* decided: the connection stands */
    RASX_OUTCOME_FAILED    = 2, /* decided: error tells why (origin tells who) */
    RASX_OUTCOME_SETTLED   = 3  /* the last record of every dial, after the decision: the native call has returned and any
                                   hang-up has ended or given up; `state` holds a rasx_hangup value, `error` the code of a
                                   RasHangUp that failed. Not an event for users: its rasx_dial is released with it. */
};

enum rasx_hangup { /* how a hang-up ended */
    RASX_HANGUP_NONE    = 0, /* there was nothing to hang up */
    RASX_HANGUP_GONE    = 1, /* the handle is invalid now: the link is down */
    RASX_HANGUP_SHARED  = 2, /* one reference fewer; others keep the connection up (S1.8) */
    RASX_HANGUP_CLOSING = 3  /* still closing when the time was over */
};

typedef struct rasx_event {  /* 48 bytes, one notification; field order is part of the ABI */
    uint64_t  dial;           /* the rasx_dial it belongs to */
    uint64_t  time_ns;        /* on the client's clock, taken in the native handler */
    uint64_t  handle;         /* HRASCONN as an integer; 0 when the notifier kind carries none and none is known */
    uint32_t  state;          /* RASCONNSTATE, any value (S2.2) */
    uint32_t  error;          /* 0, or why it failed; any unsigned 32-bit code */
    uint32_t  extended_error; /* only kept for errors 639, 640, 645, 650 (S1.4) */
    uint32_t  subentry;       /* 1-based multilink index; 0 when not told */
    uint32_t  sequence;       /* 0, 1, 2 ... in the order of this dial's ring */
    uint16_t  origin;         /* enum rasx_origin */
    uint16_t  outcome;        /* enum rasx_outcome */
} rasx_event;

/* Runs inside the native RAS handler, on a thread that RAS owns, while the dial stands still (S1.5): return fast, never
 * call RasDial, never wait, never throw. May be called from several threads at once. */
typedef void (*rasx_event_func)(void *context, const rasx_event *event);

typedef struct rasx_dial_options {
    uint32_t    size;             /* sizeof(rasx_dial_options) */
    uint32_t    notifier;         /* enum rasx_notifier */
    const char *phonebook;        /* path; NULL: the client's, else the system's default phone book */
    const char *entry;            /* phone-book entry, at most 256 UTF-16 units; "" dials phone_number without an entry */
    const char *phone_number;     /* NULL or "": the entry's own (at most 128) */
    const char *callback_number;  /* NULL or "": none (at most 128) */
    const char *username;         /* NULL: the saved credentials (S4.7), else the Windows logon; "": the Windows logon (256) */
    const char *password;         /* NULL: none. Copied masked, at most 256 UTF-16 units; wipe your copy after the call */
    const char *domain;           /* NULL or "": the server's own (at most 15) */
    uint32_t    options;          /* RDEOPT_ bits (S0.4); 0: defaults, paused states off */
    uint32_t    subentry;         /* first subentry of a dial-as-needed multilink entry; 0: the first */
    uint32_t    timeout_ms;       /* bound on the whole dial; RASX_FOREVER: none */
    uint32_t    hangup_timeout_ms;/* bound on the hang-up after a failure; 0: 10,000 */
    uint32_t    capacity;         /* events the dial's ring holds; 0: 32 */
    uint32_t    pause_timeout_ms; /* bound on each pause that nobody answers; 0: 300,000; RASX_FOREVER: none */
} rasx_dial_options;

typedef struct rasx_answer {      /* what a paused dial goes on with (S1.7); a NULL member stays as it was */
    uint32_t    size;             /* sizeof(rasx_answer) */
    uint32_t    error;            /* 0; else there is no answer: the dial fails with this code (703, say), origin core */
    const char *username;
    const char *password;         /* after PasswordExpired: the new one. Copied masked; wipe your copy after the call */
    const char *domain;
    const char *callback_number;
} rasx_answer;

typedef struct rasx_status {      /* RasGetConnectStatus */
    uint32_t state;               /* the last RASCONNSTATE entered */
    uint32_t error;               /* and its dwError */
    uint32_t substate;            /* RASCONNSUBSTATE (IKEv2) */
    uint32_t local_type;          /* RASTUNNELENDPOINT.dwType: 0 unknown, 1 IPv4, 2 IPv6 */
    uint32_t remote_type;
    uint8_t  local[16];           /* address bytes in network order */
    uint8_t  remote[16];
    char     device_type[52];
    char     device_name[388];
    char     phone_number[388];
} rasx_status;

typedef struct rasx_connection {  /* RasEnumConnections */
    uint64_t handle;
    uint64_t luid;                /* logon session */
    uint32_t subentry;
    uint32_t flags;               /* RASCF_ bits */
    uint8_t  entry_id[16];        /* guidEntry */
    uint8_t  correlation_id[16];  /* id of this connection attempt */
    char     entry[772];
    char     device_type[52];
    char     device_name[388];
    char     phonebook[784];
} rasx_connection;

typedef struct rasx_entry {       /* RasEnumEntries */
    uint32_t flags;               /* REN_AllUsers = 1 */
    char     name[772];
    char     phonebook[784];
} rasx_entry;

typedef struct rasx_device {      /* RasEnumDevices */
    char type[52];
    char name[388];
} rasx_device;

typedef struct rasx_counters {    /* what the core holds right now, for tests and monitoring */
    uint32_t threads;             /* native threads of dials that have not ended */
    uint32_t slots;               /* dials not yet released */
    uint32_t queues;              /* open queues */
    uint32_t clients;             /* open clients */
    uint32_t abandoned;           /* slots given up because a RAS handler never left them */
    uint32_t references;          /* connection references that this process owns */
} rasx_counters;

/* --- One client ---------------------------------------------------------------------------------------------------- */

/* Opens an implementation of the RAS API: "system" (rasapi32.dll from System32; RASX_E_NOT_AVAILABLE elsewhere) or "sim".
 * phonebook is the default for calls that name none, or NULL. Any thread; does not block on RAS. The caller owns *client. */
RASX_API uint32_t rasx_open(const char *api, const char *phonebook, rasx_client **client);

/* Closes: no new calls, dials in flight are cancelled in parallel, then waits at most timeout_ms for their threads.
 * Established connections stay up. Any thread, once; blocks. 0, or 258 (WAIT_TIMEOUT) when threads were left behind: they
 * go on to hang up and end by themselves. The pointer is dead afterwards. Queues of the client stay to be closed. */
RASX_API uint32_t rasx_close(rasx_client *client, uint32_t timeout_ms);

/* The client's clock now, in nanoseconds. Any thread, never blocks. */
RASX_API uint64_t rasx_now_ns(rasx_client *client);

/* 1 when that clock is virtual: it moves only in waits that are not passive, and when the simulated machine is told to move it.
 * Any thread, never blocks. */
RASX_API uint32_t rasx_clock_is_virtual(rasx_client *client);

/* --- Queues -------------------------------------------------------------------------------------------------------- */

/* Opens a queue. on_event, if not NULL, runs inside the native handler for each event of its dials, beside the ring.
 * Any thread; the caller owns *queue and closes it. */
RASX_API uint32_t rasx_queue_open(rasx_client *client, rasx_event_func on_event, void *context, rasx_queue **queue);

/* Closes the queue: dials in flight on it are cancelled, what nobody drained is dropped. Does not block on RAS; waits for
 * a consumer that is inside rasx_queue_wait to leave. The pointer is dead afterwards. */
RASX_API void rasx_queue_close(rasx_queue *queue);

/* Blocks until a dial of this queue has something, timeout_ms (of the client's clock) have passed, a signal arrived, or
 * rasx_queue_wake was called. One consumer at a time. *ready is 1 when draining may bring something, else 0.
 * passive: on a virtual clock, do not let time pass on behalf of this wait. 0, RASX_E_BUSY or RASX_E_CLOSED. */
RASX_API uint32_t rasx_queue_wait(rasx_queue *queue, uint32_t timeout_ms, uint32_t passive, uint32_t *ready);

/* Copies at most `most` events into `events`, each dial's in order, and sets *count. Never blocks. One consumer at a time.
 * After a record with RASX_OUTCOME_SETTLED that dial is released. 0, RASX_E_BUSY or RASX_E_CLOSED. */
RASX_API uint32_t rasx_queue_drain(rasx_queue *queue, rasx_event *events, uint32_t most, uint32_t *count);

/* Makes the consumer's rasx_queue_wait return. Any thread, never blocks. */
RASX_API void rasx_queue_wake(rasx_queue *queue);

/* For consumers that wait in an event loop of their own: from now on a byte is sent into `socket` (a descriptor, or a SOCKET of
 * Windows) when rasx_queue_drain should be called, at most one for each call of it. On a byte: read what is in the other end,
 * then drain until *count is 0. `socket` is one end of a connected pair, non-blocking, and stays the caller's, who sets
 * another or RASX_NO_SOCKET before closing it. Any thread; never blocks on RAS. 0, RASX_E_CLOSED or RASX_E_INVALID. */
RASX_API uint32_t rasx_queue_set_socket(rasx_queue *queue, uint64_t socket);

/* When such a consumer has to call rasx_queue_wait, with a time-out of 0, although no byte has come: in *timeout_ms of the client's
 * clock a dial's own time-out runs out, which its thread cannot see while it is blocked inside RasDial. RASX_FOREVER:
 * never. Look again after each drain and each start. Any thread, never blocks. 0 or RASX_E_CLOSED. */
RASX_API uint32_t rasx_queue_timeout(rasx_queue *queue, uint32_t *timeout_ms);

/* --- Dials --------------------------------------------------------------------------------------------------------- */

/* Starts a dial and returns at once; RasDial is called on a native thread of its own that lives until the dial has
 * succeeded or failed. Everything that RAS finds wrong arrives as an event. Any thread; from a rasx_event_func too, but better
 * not, because the dial that it hears of stands still meanwhile (S1.5; RasDial itself is never called there, S8.34).
 * 0; RASX_E_INVALID (bad UTF-8, or a text over its limit); RASX_E_CLOSED; RASX_E_NOT_AVAILABLE (window notifier here);
 * 8 no memory. Source S1.3, S1.4, S1.6. */
RASX_API uint32_t rasx_dial_start(rasx_queue *queue, const rasx_dial_options *options, rasx_dial *dial);

/* Settles the dial for its consumer at once, if it is undecided, with RASX_FROM_CANCEL and error 631; its thread hangs up
 * as soon as RasDial has returned. Any thread, never blocks. *decided is 1 when this call decided the dial. */
RASX_API uint32_t rasx_dial_cancel(rasx_dial dial, uint32_t *decided);

/* Posts WM_RASDIALEVENT with a state and an error to a window (HWND) of the application, as the window form of RasDial would send
 * it (S1.4): called by the consumer for the events that it drained. Any thread, never blocks. 0; RASX_E_NOT_AVAILABLE where
 * there are no windows; 1400 for a window that is gone. */
RASX_API uint32_t rasx_window_post(uint64_t window, uint32_t state, uint32_t error);

/* Goes on with a paused dial: its thread calls RasDial again with the same handle and notifier (S1.7). Needs
 * RDEOPT_PausedStates. Any thread, also a consumer that has just drained the paused event; never blocks. 0;
 * RASX_E_NOT_PAUSED; RASX_E_INVALID (bad UTF-8, over a limit); RASX_E_UNKNOWN_DIAL; 8. What RAS says comes as events. */
RASX_API uint32_t rasx_dial_resume(rasx_dial dial, const rasx_answer *answer);

/* *paused is 1 while a pause of the dial waits for an answer. Any thread, never blocks. 0 or RASX_E_UNKNOWN_DIAL. */
RASX_API uint32_t rasx_dial_paused(rasx_dial dial, uint32_t *paused);

/* How many notifications found the dial's ring full. Any thread, never blocks. */
RASX_API uint32_t rasx_dial_lost(rasx_dial dial, uint32_t *lost);

/* --- Connections --------------------------------------------------------------------------------------------------- */

/* The last state of a connection or dial. May block in RAS for a moment. 6 or 668: the handle is gone. Source S4.1. */
RASX_API uint32_t rasx_get_status(rasx_client *client, uint64_t handle, rasx_status *status);

/* Hangs up: one reference, or all of them (all = 1), and waits on the client's clock at most timeout_ms for the end,
 * looking every 50 ms. 668 and 6 count as gone (S3). Any thread but a native handler's; blocks. *result: enum rasx_hangup.
 * A signal makes it return early with RASX_HANGUP_CLOSING; a call with resume_ms = the milliseconds waited so far (at least
 * 1) goes on waiting without another RasHangUp. resume_ms = 0 hangs up.
 * 0, 753 (owned by the router) or another code of RasHangUp. */
RASX_API uint32_t rasx_hang_up(rasx_client *client, uint64_t handle, uint32_t all, uint32_t resume_ms, uint32_t timeout_ms,
                               uint32_t *result);

/* The same on a native thread of its own; returns at once. The end comes to the queue as one record with RASX_OUTCOME_SETTLED, *call
 * as its dial, the rasx_hangup value as its state, and as its error what rasx_hang_up would have returned. Closing the queue or
 * the client ends the looking, not the hang-up. Any thread, never blocks. 0, 6, 8 or RASX_E_CLOSED. Source S3. */
RASX_API uint32_t rasx_hang_up_start(rasx_queue *queue, uint64_t handle, uint32_t all, uint32_t resume_ms, uint32_t timeout_ms,
                                     rasx_dial *call);

/* The handle of one link of a multilink connection, counted from 1 (S4.10); rasx_get_status takes it too. May block in RAS for a
 * moment. 0; 6 not connected; 618 that link is down; 259 beyond the last; RASX_E_NOT_AVAILABLE. */
RASX_API uint32_t rasx_link_handle(rasx_client *client, uint64_t handle, uint32_t subentry, uint64_t *link);

/* Hangs up one link by its handle. Does not wait for the end, because the status of a link may never tell it (S3, S8.48). Any
 * thread but a native handler's; may block in RAS for a moment. 0, or the code of RasHangUp; 6 and 668: it is down already. */
RASX_API uint32_t rasx_link_hang_up(rasx_client *client, uint64_t link);

/* Lists: *count is the room on entry and the number available on return; 603 when the room was too small (nothing else is
 * written then). Any thread; may block in RAS. Source S4.0, S4.2 to S4.4. */
RASX_API uint32_t rasx_list_connections(rasx_client *client, rasx_connection *list, uint32_t *count);
RASX_API uint32_t rasx_list_entries(rasx_client *client, const char *phonebook, rasx_entry *list, uint32_t *count);
RASX_API uint32_t rasx_list_devices(rasx_client *client, rasx_device *list, uint32_t *count);

/* RasValidateEntryName: 0 well-formed and new, 183 present, 123 malformed. Source S4.9. */
RASX_API uint32_t rasx_validate_entry_name(rasx_client *client, const char *phonebook, const char *entry);

/* --- Watching ------------------------------------------------------------------------------------------------------ */

typedef struct rasx_watch rasx_watch; /* hears that connections of this machine may have changed; does not say which */

/* Starts to listen (RasConnectionNotification), and looks anyway every poll_ms of the client's clock (0: 2,000), because systems
 * were seen that notify once only, and where the function is missing. List the connections after this call: nothing that happens
 * later is missed. Any thread; may block in RAS for a moment. The caller owns *watch. 0, RASX_E_CLOSED or 8. Source S4.13. */
RASX_API uint32_t rasx_watch_open(rasx_client *client, uint32_t poll_ms, rasx_watch **watch);

/* Blocks until something may have changed, timeout_ms (of the client's clock) have passed, or a signal arrived. *changed is 1 when
 * the connections should be listed again; often nothing has changed. It listens again before it returns 1, so that what
 * happens while the caller looks is told by the next call. One thread at a time. passive: as for rasx_queue_wait. 0, RASX_E_BUSY,
 * or RASX_E_CLOSED when the watch or its client has been closed. */
RASX_API uint32_t rasx_watch_wait(rasx_watch *watch, uint32_t timeout_ms, uint32_t passive, uint32_t *changed);

/* Makes rasx_watch_wait return, with *changed 1. Any thread, never blocks. */
RASX_API void rasx_watch_wake(rasx_watch *watch);

/* Closes: a thread that is inside rasx_watch_wait leaves with RASX_E_CLOSED first. The pointer is dead afterwards. */
RASX_API void rasx_watch_close(rasx_watch *watch);

/* --- Codes --------------------------------------------------------------------------------------------------------- */

/* The text of a code: RasGetErrorString of this client first (NULL: our own table alone), else on Windows the system's own
 * (FormatMessage), else our own short text, else "error N" (0x%08X from 0x80000000 on). text always ends in NUL. Returns 0, or 122 when `room` bytes were too few. */
RASX_API uint32_t rasx_error_text(rasx_client *client, uint32_t code, char *text, uint32_t room);

/* "ERROR_AUTHENTICATION_FAILURE" for 691; NULL for a code that has no name here. Static storage. */
RASX_API const char *rasx_error_name(uint32_t code);

/* What the core holds now. Any thread, never blocks. */
RASX_API void rasx_get_counters(rasx_counters *counters);

/* --- The simulated machine ----------------------------------------------------------------------------------------- */

typedef struct rasx_sim_step {    /* one line of a script (S10.2) */
    uint32_t delay_ms;            /* before it, on the machine's clock */
    uint32_t state;
    uint32_t error;
    uint32_t extended_error;
    uint32_t subentry;            /* 0 or 1: the first */
    uint32_t flags;               /* RASX_SIM_ bits */
} rasx_sim_step;

#define RASX_SIM_SILENT 1 /* the state is entered but no handler is called */
#define RASX_SIM_DROP   2 /* not a state: the link breaks, with `error` as its reason */

typedef struct rasx_sim_counters {
    uint32_t handles;    /* HRASCONN values that a caller still owes a RasHangUp for, or that are closing */
    uint32_t references; /* references to connections, all callers */
    uint32_t threads;    /* link workers and closers that have not ended */
    uint32_t ports;      /* ports in use */
} rasx_sim_counters;

/* The control table of the simulated RAS machine that sits in this copy of the code. Returned codes: 0 or a RAS code.
 * All functions: any thread; none but advance, settle and hold blocks. */
typedef struct rasx_sim_api {
    uint32_t size;
    uint32_t abi;
    const char *marker; /* "ras_ext simulated rasapi32": proves whose DLL answers */

    /* Back to a machine with no scripts, knobs, faults, accounts, counters; the real clock. RASX_E_STILL_OPEN while handles
     * or workers are alive, unless force: then links are dropped, closers ended, and it waits (real time, bounded) for them. */
    uint32_t (*reset)(uint32_t force);
    void     (*seed)(uint64_t seed);

    /* What a dial of `entry` does (NULL: every entry without one of its own): a default script by name, or steps. */
    uint32_t (*script)(const char *entry, const char *name);
    uint32_t (*script_steps)(const char *entry, const rasx_sim_step *steps, uint32_t count);
    const char *(*script_name)(uint32_t index); /* the default scripts by number; NULL after the last */

    /* The user name and password that `entry` accepts; another pair fails with 691 (the password is kept as a salted hash). */
    uint32_t (*account)(const char *entry, const char *username, const char *password);
    /* What RasGetEntryDialParams delivers for `entry` (a saved password is only ever shown as its placeholder, S4.7). */
    uint32_t (*save_credentials)(const char *entry, const char *username, const char *password, const char *domain);

    /* A nasty behaviour by name, for one entry or for the machine (entry NULL); 87 for an unknown name. */
    uint32_t (*knob)(const char *entry, const char *name, int64_t value);
    /* The list of knobs: name, and its S-numbers and meaning in *about; NULL after the last. */
    const char *(*knob_name)(uint32_t index, const char **about, int64_t *initial);

    /* From the `after`-th call on (0: the next), `times` calls of `function` (0: all) return `code` and do nothing. */
    uint32_t (*fault)(const char *function, uint32_t code, uint32_t after, uint32_t times);
    uint32_t (*ports)(const char *device_type, uint32_t count); /* 0xFFFFFFFF: unlimited (the default) */
    uint32_t (*add_device)(const char *device_type, const char *device_name);

    /* The other side ends the link of `handle`; 6 for an unknown one. */
    uint32_t (*drop)(uint64_t handle, uint32_t reason);
    /* RasDial calls that the knob block_dial holds go on. */
    void     (*release)(void);

    /* One line per API call is appended to `path`; NULL ends it. 5, 2 or 3 when the file cannot be written. */
    uint32_t (*journal)(const char *path);
    /* How often an API function has been called since the last reset. */
    uint32_t (*calls)(const char *function);
    void     (*counters)(rasx_sim_counters *counters);

    /* The machine's clock: real (0) or virtual (1); RASX_E_STILL_OPEN while dials are in flight. */
    uint32_t (*clock)(uint32_t is_virtual);
    /* Virtual clock: waits until every native thread is parked, then fires what is due, in the order time, dial, subentry,
     * until `ns` have passed (settle: until nothing is due now). 0; 50 with the real clock; 1460 when threads did not
     * park within 10 real seconds. */
    uint32_t (*advance)(uint64_t ns);
    uint32_t (*settle)(void);
    uint64_t (*now_ns)(void);
    /* The clock object, for rasx_open. Opaque. */
    void    *(*clock_object)(void);
    /* The RAS function table of this machine. Opaque. */
    const void *(*rasapi)(void);

    /* Sets the machine up from a scenario file (JSON, docs/rasapi32-dll.md). 0; 13 when something in it is wrong: `message` (or NULL)
     * tells what and where, and nothing that stands behind it is set; 2, 3, 5, 8 or 223 when the file cannot be read. */
    uint32_t (*load)(const char *path, char *message, uint32_t room);
} rasx_sim_api;

/* The control table of the machine in this copy. Static storage. */
RASX_API const rasx_sim_api *rasx_sim_get_api(void);

/* The control table of the simulated machine behind a client: of this copy, or of the rasapi32.dll that the client has loaded;
 * NULL when that is not simulated. */
RASX_API const rasx_sim_api *rasx_sim_of(rasx_client *client);

/* --- The door for other extension modules in this process ------------------------------------------------------------ */

typedef struct rasx_api { /* append-only; check size before using a member that your header has and an older core may not */
    uint32_t size;
    uint32_t abi;
    uint32_t (*open)(const char *, const char *, rasx_client **);
    uint32_t (*close)(rasx_client *, uint32_t);
    uint64_t (*now_ns)(rasx_client *);
    uint32_t (*queue_open)(rasx_client *, rasx_event_func, void *, rasx_queue **);
    void     (*queue_close)(rasx_queue *);
    uint32_t (*queue_wait)(rasx_queue *, uint32_t, uint32_t, uint32_t *);
    uint32_t (*queue_drain)(rasx_queue *, rasx_event *, uint32_t, uint32_t *);
    void     (*queue_wake)(rasx_queue *);
    uint32_t (*dial_start)(rasx_queue *, const rasx_dial_options *, rasx_dial *);
    uint32_t (*dial_cancel)(rasx_dial, uint32_t *);
    uint32_t (*dial_lost)(rasx_dial, uint32_t *);
    uint32_t (*get_status)(rasx_client *, uint64_t, rasx_status *);
    uint32_t (*hang_up)(rasx_client *, uint64_t, uint32_t, uint32_t, uint32_t, uint32_t *);
    uint32_t (*list_connections)(rasx_client *, rasx_connection *, uint32_t *);
    uint32_t (*list_entries)(rasx_client *, const char *, rasx_entry *, uint32_t *);
    uint32_t (*list_devices)(rasx_client *, rasx_device *, uint32_t *);
    uint32_t (*validate_entry_name)(rasx_client *, const char *, const char *);
    uint32_t (*error_text)(rasx_client *, uint32_t, char *, uint32_t);
    const char *(*error_name)(uint32_t);
    void     (*get_counters)(rasx_counters *);
    const rasx_sim_api *(*sim_get_api)(void);
    uint32_t (*window_post)(uint64_t, uint32_t, uint32_t);
    const rasx_sim_api *(*sim_of)(rasx_client *);
    uint32_t (*dial_resume)(rasx_dial, const rasx_answer *);
    uint32_t (*dial_paused)(rasx_dial, uint32_t *);
    uint32_t (*link_handle)(rasx_client *, uint64_t, uint32_t, uint64_t *);
    uint32_t (*link_hang_up)(rasx_client *, uint64_t);
    uint32_t (*watch_open)(rasx_client *, uint32_t, rasx_watch **);
    uint32_t (*watch_wait)(rasx_watch *, uint32_t, uint32_t, uint32_t *);
    void     (*watch_wake)(rasx_watch *);
    void     (*watch_close)(rasx_watch *);
    uint32_t (*queue_set_socket)(rasx_queue *, uint64_t);
    uint32_t (*queue_timeout)(rasx_queue *, uint32_t *);
    uint32_t (*hang_up_start)(rasx_queue *, uint64_t, uint32_t, uint32_t, uint32_t, rasx_dial *);
    uint32_t (*clock_is_virtual)(rasx_client *);
} rasx_api;

/* The functions above as a table, for code that received this pointer instead of linking. Static storage. */
RASX_API const rasx_api *rasx_get_api(void);

/* cffi: end */

#ifdef __cplusplus
}
#endif

#endif
