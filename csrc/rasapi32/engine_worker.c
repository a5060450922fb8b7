/* engine_worker.c: the life of a dial inside the machine, on a thread of its own.
 *
 * SPDX-License-Identifier: MIT
 *
 * It pulls the link (link.h), enters what that tells, announces it, and ends with the outcome.
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"

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
    uint64_t bit = sim_link_bit(subentry);
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

    rasx__lock(&sim_engine_lock);
    if (c->phase != DIALING || rasx__load(&s->stop) != 0) {
        rasx__unlock(&sim_engine_lock);
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
        s->up |= sim_link_bit(what.subentry);
        s->down &= ~sim_link_bit(what.subentry);
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
        sim_links_connected(c, s->subentries, s->down);
        if (report->lasts_ns != RASX_NEVER)
            sim_set_due(c, clock->now(clock) + report->lasts_ns);
        c->told_up = 1;
        sim_notify(RASCN_Connection, c->handle);
    } else if (s->up != 0 && what.state == RASCS_SubEntryDisconnected) { /* assumed: also before the whole is connected */
        sim_notify(RASCN_BandwidthRemoved, c->handle);
    } else if ((s->up & (s->up - 1)) != 0 && what.state == RASCS_SubEntryConnected) { /* not the first */
        sim_notify(RASCN_BandwidthAdded, c->handle);
    }
    if (s->knobs[SIM_KNOB_watch_spurious] != 0)
        sim_notify(SIM_NOTIFY_NOTHING, 0);
    rasx__unlock(&sim_engine_lock);

    sim_announce(s, &what, report->silent);
    if (failed && s->knobs[SIM_KNOB_error_then] != 0 && what.state != RASCS_Disconnected) {
        note last = { RASCS_Disconnected, s->knobs[SIM_KNOB_error_then] == 2 ? what.error : 0, 0, what.subentry };

        rasx__lock(&sim_engine_lock);
        if (c->phase == FAILED)
            c->state = RASCS_Disconnected; /* with the error that it failed for (S2.5) */
        rasx__unlock(&sim_engine_lock);
        sim_announce(s, &last, 0);
    }
    if (pausing) {
        sim_wait_for_relays(s, 0);
        sim_no_more_early(s);
        for (;;) {
            int go;

            rasx__lock(&sim_engine_lock);
            go = s->resumed || rasx__load(&s->stop) != 0;
            if (go)
                c->paused = 0;
            rasx__unlock(&sim_engine_lock);
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
            sim_wait_for_relays(s, 0);
            sim_no_more_early(s);
            while (rasx__load(&s->stop) == 0)
                clock->wait(clock, &s->wake, RASX_NEVER, 0);
            news = SIM_LINK_STOPPED;
        }
        if (news == SIM_LINK_STOPPED) {
            rasx__lock(&sim_engine_lock);
            if (c->phase != DIALING) {
                rasx__unlock(&sim_engine_lock);
                return;
            }
            report.error = s->drop_code; /* not hung up, so it was dropped */
            rasx__store(&s->stop, 0);
            rasx__unlock(&sim_engine_lock);
            news = SIM_LINK_LOST;
        }
        if (news == SIM_LINK_LOST) {
            rasx__lock(&sim_engine_lock);
            /* Not a paused state once more: that would be another pause (S1.7), with nobody left to resume it (assumed). */
            report.state = (c->state & RASCS_PAUSED) != 0 ? RASCS_Disconnected : c->state;
            report.error = report.error == 0 ? 629 : report.error; /* the port was disconnected by the other side */
            report.extended_error = 0;
            report.subentry = c->subentry;
            report.silent = 0;
            s->subentries = 1;
            rasx__unlock(&sim_engine_lock);
        }
        if (!enter_state(s, &report))
            return;
    }
}

void sim_free_session(session *s)
{
    if (s->link != NULL)
        sim_link_scripted.close(s->link);
    rasx__event_destroy(&s->wake);
    rasx__event_destroy(&s->relay);
    free(s);
}

void sim_worker_main(void *argument)
{
    session *s = argument;
    conn *c = s->c;
    note last = { RASCS_Disconnected, 0, 0, 0 };
    int64_t final;

    sim_clock()->enter(sim_clock(), c->number << 8 | 1);
    run_dial(s);
    rasx__lock(&sim_engine_lock);
    final = c->aborted ? sim_knob(c->entry, SIM_KNOB_final_on_hangup) : 0;
    last.error = final == 2 ? 631 : 0;
    last.subentry = c->subentry;
    rasx__unlock(&sim_engine_lock);
    if (final != 0)
        sim_announce(s, &last, 0);
    sim_wait_for_relays(s, 0);
    rasx__lock(&sim_engine_lock);
    sim_finish_waiter(c, c->phase == CONNECTED ? 0 : c->phase == FAILED && c->error != 0 ? c->error : 631);
    c->session = NULL;
    if (s->prev != NULL) s->prev->next = s->next; else sim_machine.sessions = s->next;
    if (s->next != NULL) s->next->prev = s->prev;
    rasx__unlock(&sim_engine_lock);
    sim_free_session(s);
    sim_end_thread(c, 1);
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
    sim_pause_here(MS_NS, 0);
    while (busy) { /* handlers of one dial do not overlap */
        rasx__lock(&sim_engine_lock);
        resetting = sim_machine.resetting;
        busy = c->in_handler != 0 && !resetting;
        rasx__unlock(&sim_engine_lock);
        if (busy)
            sim_pause_here(MS_NS, 0);
    }
    for (; n->times > 0 && !resetting; n->times--) {
        sim_call_handler(c, &n->notify, &n->what, 1);
        if (n->times > 1)
            sim_pause_here(MS_NS, 0);
    }
    free(n);
    sim_end_thread(c, 1);
}

/* The caller holds the conn. */
void sim_start_notice(conn *c, const notifier *notify, const note *what, uint32_t times)
{
    notice *n = malloc(sizeof *n);

    if (n == NULL)
        return; /* a notification that is lost: nothing promises it */
    n->c = c;
    n->notify = *notify;
    n->what = *what;
    n->times = times;
    rasx__lock(&sim_engine_lock);
    c->holders++;
    rasx__unlock(&sim_engine_lock);
    if (sim_start_thread(notice_main, n, 1) == 0)
        return;
    free(n);
    rasx__lock(&sim_engine_lock);
    sim_release_conn(c);
    rasx__unlock(&sim_engine_lock);
}
