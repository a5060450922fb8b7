/* engine_hangup.c: RasHangUp of a connection, or of one of its links.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"

/* The knobs of the connection behind a handle; those of the machine when there is none. */
int64_t sim_handle_knob(uintptr_t handle, enum sim_knob knob)
{
    int64_t value;
    conn *c;

    rasx__lock(&sim_engine_lock);
    c = sim_find_handle(handle);
    value = sim_knob(c == NULL ? NULL : c->entry, knob);
    rasx__unlock(&sim_engine_lock);
    return value;
}

/* One link of a connection goes, the rest of the bundle stays; with the last one the connection ends (S2.3d). Its port is free at
 * once (assumed). 0, or what is said of a link that does not stand: 6 before Connected and after its own hang-up, else 618 (assumed).
 * Under the lock. */
uint32_t sim_drop_link(conn *c, uint32_t subentry, int hung)
{
    if (c->phase != CONNECTED || (c->links_hung & sim_link_bit(subentry)) != 0)
        return 6;
    if ((c->links_up & sim_link_bit(subentry)) == 0 || subentry > c->links)
        return 618;
    c->links_up &= ~sim_link_bit(subentry);
    if (hung)
        c->links_hung |= sim_link_bit(subentry);
    for (uint32_t i = 0; i < c->device_count; i++) {
        if (c->devices[i].subentry != subentry || c->devices[i].port == NO_PORT)
            continue;
        sim_machine.ports[c->devices[i].port].used--;
        c->devices[i].port = NO_PORT;
    }
    if (c->links_up == 0)
        sim_unlist(c);
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
    if (handle != 0 && sim_handle_knob(handle, SIM_KNOB_block_hangup) != 0)
        sim_pause_here(0, 1);
    code = handle == 0 ? 6 : (uint32_t)sim_handle_knob(handle, SIM_KNOB_hangup_code);
    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    c = code == 0 ? sim_find_link(handle, &what.subentry) : NULL;
    if (c != NULL) {
        code = sim_drop_link(c, what.subentry, 1);
        rasx__unlock(&sim_engine_lock);
        return sim_leave(SIM_RasHangUpW, code, "h=0x%llx", (unsigned long long)handle);
    }
    c = sim_find_handle(handle);
    if (code != 0) {
        c = NULL;
    } else if (c == NULL || c->phase >= CLOSING) {
        code = sim_gone_code(handle);
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
        sim_set_due(c, RASX_NEVER);
        sim_begin_closing(c);
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
    rasx__unlock(&sim_engine_lock);
    (void)sim_leave(SIM_RasHangUpW, code, "h=0x%llx", (unsigned long long)handle);
    if (c != NULL) {
        if (late > 0)
            sim_start_notice(c, &notify, &what, late); /* the last act, so that they come after the return (S8.11) */
        rasx__lock(&sim_engine_lock);
        sim_release_conn(c);
        rasx__unlock(&sim_engine_lock);
    }
    return code;
}
