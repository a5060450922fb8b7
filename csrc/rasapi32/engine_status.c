/* engine_status.c: RasGetConnectStatus, RasGetSubEntryHandle and RasEnumConnections.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"
#include "enumerate.h"

static const uint32_t status_sizes[] = { RASCONNSTATUSW_SIZES };
static const uint32_t connection_sizes[] = { RASCONNW_SIZES };

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
    if (c->links_hung & sim_link_bit(subentry))
        return sim_knob(c->entry, SIM_KNOB_link_gone) == 2;
    return (c->links_up & sim_link_bit(subentry)) == 0;
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
    if (sim_knob(NULL, SIM_KNOB_status_stub) != 0 || sim_handle_knob(handle, SIM_KNOB_status_stub) != 0)
        goto leave;
    if (status == NULL)
        code = 87;
    else if (!sim_known_size(status->dwSize, status_sizes, COUNT_OF(status_sizes)))
        code = 632;
    if (code != 0)
        goto leave;
    if (sim_handle_knob(handle, SIM_KNOB_block_status) != 0)
        sim_pause_here(0, 1);
    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    c = sim_find_handle(handle);
    if (c == NULL)
        c = sim_find_link(handle, &subentry);
    if (c == NULL) {
        code = sim_gone_code(handle);
    } else if (subentry != 0 && link_is_gone(c, subentry)) {
        code = c->links_hung & sim_link_bit(subentry) ? 6 : 618;
    } else {
        const device *used = &c->devices[c->device];
        uint32_t closing = (uint32_t)sim_knob(c->entry, SIM_KNOB_closing_state);

        full.rasconnstate = c->phase >= CLOSING && closing != 0 ? closing : c->state;
        full.dwError = c->error;
        if (subentry != 0 && (c->links_up & sim_link_bit(subentry)) == 0 && sim_knob(c->entry, SIM_KNOB_link_gone) != 0)
            full.rasconnstate = RASCS_Disconnected;
        for (uint32_t i = 0; subentry != 0 && i < c->device_count; i++)
            if (c->devices[i].subentry == subentry)
                used = &c->devices[i];
        sim_copy_utf16(full.szDeviceType, COUNT_OF(full.szDeviceType), used->type);
        sim_copy_utf16(full.szDeviceName, COUNT_OF(full.szDeviceName), used->name);
        sim_copy_utf16(full.szPhoneNumber, COUNT_OF(full.szPhoneNumber), used->number);
        fill_endpoints(c, &full);
    }
    rasx__unlock(&sim_engine_lock);
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
    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    c = sim_find_handle(handle);
    if (c == NULL)
        c = sim_find_link(handle, &own);
    if (link == NULL || subentry == 0)
        code = 87;
    else if (c == NULL || c->phase != CONNECTED)
        code = 6;
    else if (subentry > c->links || subentry >= HANDLE_STEP)
        code = 259;
    else if ((c->links_up & sim_link_bit(subentry)) == 0)
        code = 618;
    if (code == 0)
        *link = (HRASCONN)(c->handle + subentry);
    rasx__unlock(&sim_engine_lock);
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
    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    context.next = sim_machine.first;
    for (const conn *c = sim_machine.first; c != NULL; c = c->next)
        available += (uint32_t)is_listed(c, context.dialing);
    code = sim_enumerate(SIM_RasEnumConnectionsW, list, bytes, count, connection_sizes, COUNT_OF(connection_sizes), available,
                         write_connection, &context);
    rasx__unlock(&sim_engine_lock);
    return sim_leave(SIM_RasEnumConnectionsW, code, "available=%u", available);
}
