/* query.c: lists, status, names and texts.
 *
 * SPDX-License-Identifier: MIT
 *
 * RAS lists grow between the call that asks for the size and the one that fetches (S4.0), so every list goes through one
 * loop here.
 */
#include "core.h"
#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 8u                   /* a list that grows faster than we read is an error, not a reason to spin */
#define MOST_BYTES (256u << 20)    /* 65,536 entries take 136 MiB in RASENTRYNAMEW */

typedef uint32_t (*list_call)(const rasapi *ras, const void *argument, void *list, uint32_t *bytes, uint32_t *count);

/* Fetches a list: *list is malloc'ed, *count elements of `element` bytes; every element's size stands in the first only. */
static uint32_t fetch(const rasapi *ras, list_call call, const void *argument, uint32_t element, void **list, uint32_t *count)
{
    uint32_t bytes = element, code = 603;
    *list = NULL;
    *count = 0;
    for (uint32_t i = 0; i < TRIES && code == 603; i++) {
        uint32_t room = bytes < element ? element : bytes; /* one element at least: a NULL list gives 632 on old systems */
        if (room > MOST_BYTES) return 8;
        free(*list);
        *list = calloc(1, room);
        if (!*list) return 8;
        memcpy(*list, &element, sizeof element);
        bytes = room;
        *count = 0;
        code = call(ras, argument, *list, &bytes, count);
        if (code == 0 && *count > room / element) code = 603; /* more than fits: never read past our own buffer */
        if (code == 603 && bytes <= room) bytes = room + element * 8;
    }
    if (code != 0) {
        free(*list);
        *list = NULL;
        *count = 0;
    }
    return code;
}

/* The caller's room against what there is. 1 when the list may be written. */
static int fits(uint32_t *room, uint32_t available, const void *target, uint32_t *code)
{
    uint32_t had = *room;
    *room = available;
    *code = available > had || (available > 0 && !target) ? 603 : 0;
    return *code == 0;
}

static uint32_t check(const rasx_client *client, const uint32_t *count)
{
    if (!client || !count) return RASX_E_INVALID;
    if (rasx__forked()) return RASX_E_FORKED;
    return rasx__load(&client->closed) ? RASX_E_CLOSED : 0;
}

/* --- Connections --- */

static uint32_t call_connections(const rasapi *ras, const void *argument, void *list, uint32_t *bytes, uint32_t *count)
{
    (void)argument;
    return ras->RasEnumConnectionsW(list, bytes, count);
}

uint32_t rasx_list_connections(rasx_client *client, rasx_connection *list, uint32_t *count)
{
    void *fetched;
    uint32_t available, code = check(client, count);
    if (code != 0) return code;
    code = fetch(client->ras, call_connections, NULL, (uint32_t)sizeof(RASCONNW), &fetched, &available);
    if (code != 0) return code;
    if (fits(count, available, list, &code)) {
        for (uint32_t i = 0; i < available; i++) {
            const RASCONNW *from = (const RASCONNW *)fetched + i;
            rasx_connection *to = &list[i];
            memset(to, 0, sizeof *to);
            to->handle = (uint64_t)(uintptr_t)from->hrasconn;
            memcpy(&to->luid, &from->luid, sizeof to->luid);
            to->subentry = from->dwSubEntry;
            to->flags = from->dwFlags;
            memcpy(to->entry_id, &from->guidEntry, sizeof to->entry_id);
            memcpy(to->correlation_id, &from->guidCorrelationId, sizeof to->correlation_id);
            (void)rasx__to_utf8(from->szEntryName, 257, to->entry, sizeof to->entry);
            (void)rasx__to_utf8(from->szDeviceType, 17, to->device_type, sizeof to->device_type);
            (void)rasx__to_utf8(from->szDeviceName, 129, to->device_name, sizeof to->device_name);
            (void)rasx__to_utf8(from->szPhonebook, 260, to->phonebook, sizeof to->phonebook);
        }
    }
    free(fetched);
    return code;
}

/* --- Entries --- */

static uint32_t call_entries(const rasapi *ras, const void *argument, void *list, uint32_t *bytes, uint32_t *count)
{
    return ras->RasEnumEntriesW(NULL, argument, list, bytes, count);
}

/* A path as UTF-16; NULL stays NULL. 0, RASX_E_INVALID or 8; free() the copy. */
static uint32_t widen(const char *text, char16_t **copy)
{
    *copy = NULL;
    if (!text) return 0;
    size_t room = strlen(text) + 1;
    *copy = malloc(room * sizeof **copy);
    if (!*copy) return 8;
    if (rasx__to_utf16(text, *copy, room, NULL) == 0) return 0;
    free(*copy);
    *copy = NULL;
    return RASX_E_INVALID;
}

uint32_t rasx_list_entries(rasx_client *client, const char *phonebook, rasx_entry *list, uint32_t *count)
{
    void *fetched;
    char16_t *path;
    uint32_t available, code = check(client, count);
    if (code == 0) code = widen(phonebook ? phonebook : client->phonebook, &path);
    if (code != 0) return code;
    code = fetch(client->ras, call_entries, path, (uint32_t)sizeof(RASENTRYNAMEW), &fetched, &available);
    free(path);
    if (code != 0) return code;
    if (fits(count, available, list, &code)) {
        for (uint32_t i = 0; i < available; i++) {
            const RASENTRYNAMEW *from = (const RASENTRYNAMEW *)fetched + i;
            memset(&list[i], 0, sizeof list[i]);
            list[i].flags = from->dwFlags;
            (void)rasx__to_utf8(from->szEntryName, 257, list[i].name, sizeof list[i].name);
            (void)rasx__to_utf8(from->szPhonebookPath, 261, list[i].phonebook, sizeof list[i].phonebook);
        }
    }
    free(fetched);
    return code;
}

uint32_t rasx_validate_entry_name(rasx_client *client, const char *phonebook, const char *entry)
{
    uint32_t none = 0, code = check(client, &none);
    char16_t *path = NULL, *name = NULL;
    if (code != 0) return code;
    if (!entry) return RASX_E_INVALID;
    if (!client->ras->RasValidateEntryNameW) return RASX_E_NOT_AVAILABLE;
    code = widen(phonebook ? phonebook : client->phonebook, &path);
    if (code == 0) code = widen(entry, &name);
    if (code == 0) code = client->ras->RasValidateEntryNameW(path, name);
    free(path);
    free(name);
    return code;
}

/* --- Devices --- */

static uint32_t call_devices(const rasapi *ras, const void *argument, void *list, uint32_t *bytes, uint32_t *count)
{
    (void)argument;
    return ras->RasEnumDevicesW(list, bytes, count);
}

uint32_t rasx_list_devices(rasx_client *client, rasx_device *list, uint32_t *count)
{
    void *fetched;
    uint32_t available, code = check(client, count);
    if (code != 0) return code;
    code = fetch(client->ras, call_devices, NULL, (uint32_t)sizeof(RASDEVINFOW), &fetched, &available);
    if (code != 0) return code;
    if (fits(count, available, list, &code)) {
        for (uint32_t i = 0; i < available; i++) {
            const RASDEVINFOW *from = (const RASDEVINFOW *)fetched + i;
            (void)rasx__to_utf8(from->szDeviceType, 17, list[i].type, sizeof list[i].type);
            (void)rasx__to_utf8(from->szDeviceName, 129, list[i].name, sizeof list[i].name);
        }
    }
    free(fetched);
    return code;
}

/* --- Status --- */

uint32_t rasx_get_status(rasx_client *client, uint64_t handle, rasx_status *status)
{
    RASCONNSTATUSW from;
    uint32_t none = 0, code = check(client, &none);
    if (code != 0) return code;
    if (!status) return RASX_E_INVALID;
    memset(status, 0, sizeof *status);
    if (handle == 0) return 6;
    memset(&from, 0, sizeof from);
    from.dwSize = (uint32_t)sizeof from;
    code = client->ras->RasGetConnectStatusW((HRASCONN)(uintptr_t)handle, &from);
    if (code == 6 || code == 668) rasx__reference_forget(client->ras, handle); /* the other side ended it */
    if (code != 0) return code;
    status->state = (uint32_t)from.rasconnstate;
    status->error = from.dwError;
    status->substate = (uint32_t)from.rasconnsubstate;
    status->local_type = from.localEndPoint.dwType;
    status->remote_type = from.remoteEndPoint.dwType;
    memcpy(status->local, (const uint8_t *)&from.localEndPoint + 4, sizeof status->local); /* the address union, S5.4 */
    memcpy(status->remote, (const uint8_t *)&from.remoteEndPoint + 4, sizeof status->remote);
    (void)rasx__to_utf8(from.szDeviceType, 17, status->device_type, sizeof status->device_type);
    (void)rasx__to_utf8(from.szDeviceName, 129, status->device_name, sizeof status->device_name);
    (void)rasx__to_utf8(from.szPhoneNumber, 129, status->phone_number, sizeof status->phone_number);
    return 0;
}

/* --- Texts --- */

uint32_t rasx_error_text(rasx_client *client, uint32_t code, char *text, uint32_t room)
{
    char16_t wide[1024];
    char full[3 * 1024 + 1];
    if (!text || room == 0) return RASX_E_INVALID;
    text[0] = 0;
    full[0] = 0;
    if (client && !rasx__forked() && !rasx__load(&client->closed)) {
        memset(wide, 0, sizeof wide);
        if (client->ras->RasGetErrorStringW(code, wide, 1023) == 0) (void)rasx__to_utf8(wide, 1024, full, sizeof full);
    }
    if (!full[0] && client && !rasx__system_text(code, full, sizeof full)) full[0] = 0; /* S8.27 */
    if (!full[0]) {
        const char *known = rasx__error_text(code);
        if (known) (void)snprintf(full, sizeof full, "%s", known);
        else rasx__error_fallback(code, full, sizeof full);
    }
    size_t length = strlen(full);
    if (length < room) {
        memcpy(text, full, length + 1);
        return 0;
    }
    length = room - 1;
    while (length > 0 && ((unsigned char)full[length] & 0xC0u) == 0x80u) length--; /* cut before a character, not inside */
    memcpy(text, full, length);
    text[length] = 0;
    return 122;
}
