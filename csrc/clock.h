/* clock.h: the one clock that a client and a simulated machine share, real or virtual.
 *
 * SPDX-License-Identifier: MIT
 *
 * The core and the simulated machine use no other source of time. A virtual clock makes a run of many threads repeatable:
 * time stands still while any owned thread runs, and moves only when every one of them is parked.
 */
#ifndef RASX_CLOCK_H
#define RASX_CLOCK_H

#include "os.h"

typedef struct rasx_clock rasx_clock;

/* A struct of functions, because the clock of a simulated rasapi32.dll lives in that DLL. */
struct rasx_clock {
    uint32_t size;
    uint32_t reserved;
    uint64_t (*now)(rasx_clock *clock); /* ns; lock-free, callable from a RAS handler */

    /* Owned threads: those whose progress the virtual clock waits for (a dial's thread, a link's worker). The creator calls
     * expect() before starting one (and unexpect() when it could not be started), the thread calls enter() first and
     * leave() last. `order` breaks ties between timers that are due at the same time: dial number in the high bits,
     * subentry in the low 8. All four are no-ops on a real clock. */
    void (*expect)(rasx_clock *clock);
    void (*unexpect)(rasx_clock *clock);
    void (*enter)(rasx_clock *clock, uint64_t order);
    void (*leave)(rasx_clock *clock);

    /* Waits for `event` until `deadline_ns` on this clock (RASX_NEVER: no bound). 1: the event was set and is clear again.
     * 0: the deadline has come. -1: neither; a signal, or some 50 ms of real time passed: look again and call again.
     * The caller re-checks its own condition whatever is returned.
     * On a virtual clock an owned thread parks. A thread that is not owned drives: it waits until all owned threads are
     * parked and then lets time pass, timer by timer, but not beyond its deadline; with `passive` it does not drive, it just
     * waits (then it never sees the deadline unless somebody else moves the clock). */
    int (*wait)(rasx_clock *clock, rasx__event *event, uint64_t deadline_ns, int passive);

    int (*is_virtual)(rasx_clock *clock); /* whether time moves only when somebody moves it; a clock of an older DLL ends before this */
};

/* The process's real clock. */
rasx_clock *rasx__clock_real(void);

/* A clock that can be switched between real and virtual. `storage` in static memory; switching needs no owned threads. */
typedef struct rasx__switch_clock rasx__switch_clock;
rasx_clock *rasx__clock_machine(void);             /* the one switchable clock of this copy of the code (the simulated machine's) */
int  rasx__clock_set_virtual(rasx_clock *clock, int on); /* 0, or -1 while owned threads exist */
int  rasx__clock_is_virtual(rasx_clock *clock);          /* any clock, that of a DLL included */
/* Virtual only: waits until every owned thread is parked on an event that is not set, then fires due timers one by one in
 * the order (time, order), waiting for quiet after each, until now has moved by ns. 0, or -1 when threads did not park
 * within 10 s of real time. */
int  rasx__clock_advance(rasx_clock *clock, uint64_t ns);
uint32_t rasx__clock_owned(rasx_clock *clock);     /* owned threads that exist or are expected */

#endif
