/* link.h: the small seam inside the simulated machine: what carries a link.
 *
 * SPDX-License-Identifier: MIT
 *
 * The engine owns handles, ports, notifications and pauses; a link only tells, one by one, the states that it enters. It is
 * pulled by the dial's worker thread: `next` waits for the next thing to tell, so the link stands still while a handler runs
 * (S1.5) without knowing that there are handlers. The scripted link plays steps; another kind may carry real PPP.
 */
#ifndef RASX_LINK_H
#define RASX_LINK_H

#include "../clock.h"
#include "../rasapi.h"
#include "phonebook.h"

typedef struct sim_link sim_link;

/* What RasDial was given. Pointers are valid only during the call they are passed to; texts of RASDIALPARAMS need not end in
 * NUL within their arrays. A link reads the credentials there and keeps no copy. */
typedef struct sim_link_request {
    const char           *entry;   /* UTF-8; "" when dialled by number alone */
    const pbk_entry      *record;  /* its phone-book entry, or NULL */
    const RASDIALPARAMSW *params;  /* perhaps an older layout: only the fields up to szDomain may be read */
    uint32_t              subentry; /* the one subentry to dial; 0: all of the entry's */
    uint32_t              options;  /* RDEOPT_ bits */
    uint64_t              seed;     /* for chance of the link's own */
    rasx_clock           *clock;    /* the only time a link may use */
    rasx__event          *wake;     /* what `next` waits on; the engine sets it when something changed */
    const rasx__a32      *stop;     /* not 0: `next` returns SIM_LINK_STOPPED at once */
} sim_link_request;

enum sim_link_news {
    SIM_LINK_STATE,   /* a state was entered, or something failed in it (error not 0) */
    SIM_LINK_LOST,    /* the link broke: whatever state it is in fails with `error` */
    SIM_LINK_QUIET,   /* nothing will happen any more unless the dial is hung up */
    SIM_LINK_STOPPED  /* *stop was seen */
};

typedef struct sim_link_report {
    uint32_t state;
    uint32_t error;
    uint32_t extended_error;
    uint32_t subentry;  /* 1-based */
    int      silent;    /* the state is entered, but nobody is told */
    uint64_t lasts_ns;  /* with RASCS_Connected: how long the link stands from now; RASX_NEVER: until hung up or dropped */
} sim_link_report;

typedef struct sim_link_kind {
    /* Makes a link ready. *subentries: how many links the bundle will have. 0 or a RAS code. On the thread of RasDial, which
     * holds no lock. */
    uint32_t (*open)(const sim_link_request *request, sim_link **link, uint32_t *subentries);
    /* Waits for the next thing that happens. hurry: no waiting for the sake of a script's timing. On the worker only. */
    enum sim_link_news (*next)(sim_link *link, int hurry, sim_link_report *report);
    /* After a paused state: the second RasDial's parameters. The worker is not inside `next`. Called under the machine's lock:
     * must not block, wait, or call back. */
    void (*resume)(sim_link *link, const sim_link_request *request);
    /* Frees it; the worker is done with it. A connected link lives on without its object. */
    void (*close)(sim_link *link);
} sim_link_kind;

extern const sim_link_kind sim_link_scripted;

#endif
