/* ansi.c: the A forms, each over its W form.
 *
 * SPDX-License-Identifier: MIT
 *
 * dwSize names the version of a structure (S5.2), and the A and W layouts of one version stand in the same place of the two lists
 * of sizes: so a call is translated by that place, and only fields that the caller's version has are touched (S8.52). A dwSize
 * that no version has is passed on as 0, so that the W form gives the answer, counts the call and writes the journal.
 */
#include "ansi.h"

#include <stdlib.h>
#include <string.h>

#include "../os.h"
#include "../text.h"
#include "enumerate.h"
#include "functions.h"

enum {
    PATH_UNITS = 4096, /* as the W forms: a longer path names no file */
    MOST_TRIES = 20    /* a list may grow while it is fetched (S8.55) */
};

static const uint32_t dial_sizes_a[] = { RASDIALPARAMSA_SIZES }, dial_sizes_w[] = { RASDIALPARAMSW_SIZES };
static const uint32_t status_sizes_a[] = { RASCONNSTATUSA_SIZES }, status_sizes_w[] = { RASCONNSTATUSW_SIZES };
static const uint32_t connection_sizes_a[] = { RASCONNA_SIZES };
static const uint32_t entry_sizes_a[] = { RASENTRYNAMEA_SIZES };
static const uint32_t device_sizes_a[] = { RASDEVINFOA_SIZES };

/* --- Characters ---------------------------------------------------------------------------------------------------------- */

/* 0x80 to 0x9F; the five holes are the C1 characters of the same number, as Windows maps them. */
static const char16_t high[32] = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008D, 0x017D, 0x008F,
    0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178
};

void sim_from_ansi(const char *text, size_t most, char16_t *out, size_t room)
{
    size_t i = 0;

    for (; i < most && i + 1 < room && text[i] != '\0'; i++) {
        const uint8_t c = (uint8_t)text[i];

        out[i] = c >= 0x80 && c < 0xA0 ? high[c - 0x80] : c;
    }
    out[i] = 0;
}

void sim_to_ansi(const char16_t *text, size_t most, char *out, size_t room)
{
    size_t used = 0;

    for (size_t i = 0; i < most && text[i] != 0 && used + 1 < room; i++) {
        const char16_t c = text[i];
        int byte = c < 0x80 || (c >= 0xA0 && c <= 0xFF) ? (int)c : -1;

        for (int k = 0; byte < 0 && k < 32; k++) {
            if (high[k] == c)
                byte = 0x80 + k;
        }
        if (c >= 0xDC00 && c < 0xE000 && i > 0 && text[i - 1] >= 0xD800 && text[i - 1] < 0xDC00)
            continue; /* the second half of a pair: one '?' is enough */
        out[used++] = (char)(unsigned char)(byte < 0 ? '?' : byte);
    }
    if (room > 0)
        out[used] = '\0';
}

#define TO_WIDE(to, from) sim_from_ansi(from, COUNT_OF(from), to, COUNT_OF(to))
#define TO_ANSI(to, from) sim_to_ansi(from, COUNT_OF(from), to, COUNT_OF(to))

/* NULL stays NULL. A path that is too long becomes one that no file has. */
static const char16_t *wide_path(const char *path, char16_t room[PATH_UNITS])
{
    if (path == NULL)
        return NULL;
    sim_from_ansi(path, PATH_UNITS, room, PATH_UNITS);
    return room;
}

/* The place of dwSize in its list; -1 when it has none. */
static int version_of(uint32_t size, const uint32_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] == size)
            return (int)i;
    }
    return -1;
}

/* --- Dialling -------------------------------------------------------------------------------------------------------------- */

/* `wide` is to be wiped afterwards: it holds the password. */
static int widen_params(const RASDIALPARAMSA *params, RASDIALPARAMSW_602 *wide)
{
    const int version = version_of(params->dwSize, dial_sizes_a, COUNT_OF(dial_sizes_a));
    RASDIALPARAMSW *w = &wide->v601;

    memset(wide, 0, sizeof *wide);
    if (version < 0)
        return version;
    w->dwSize = dial_sizes_w[version];
    TO_WIDE(w->szEntryName, params->szEntryName);
    TO_WIDE(w->szPhoneNumber, params->szPhoneNumber);
    TO_WIDE(w->szCallbackNumber, params->szCallbackNumber);
    TO_WIDE(w->szUserName, params->szUserName);
    TO_WIDE(w->szPassword, params->szPassword);
    TO_WIDE(w->szDomain, params->szDomain);
    if (version >= 1) {
        w->dwSubEntry = params->dwSubEntry;
        w->dwCallbackId = params->dwCallbackId;
    }
    if (version >= 2)
        w->dwIfIndex = params->dwIfIndex;
    return version;
}

uint32_t RASAPI_CALL sim_RasDialA(RASDIALEXTENSIONS *extensions, const char *phonebook, RASDIALPARAMSA *params,
                                  uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    RASDIALPARAMSW_602 wide;
    char16_t path[PATH_UNITS];
    uint32_t code;

    if (params != NULL)
        (void)widen_params(params, &wide);
    code = sim_RasDialW(extensions, wide_path(phonebook, path), params != NULL ? &wide.v601 : NULL, notifier_type, notifier,
                        connection);
    rasx__wipe(&wide, sizeof wide);
    return code;
}

uint32_t RASAPI_CALL sim_RasHangUpA(HRASCONN connection)
{
    return sim_RasHangUpW(connection);
}

uint32_t RASAPI_CALL sim_RasGetConnectStatusA(HRASCONN connection, RASCONNSTATUSA *status)
{
    RASCONNSTATUSW wide;
    uint32_t code;
    int version;

    if (status == NULL)
        return sim_RasGetConnectStatusW(connection, NULL);
    version = version_of(status->dwSize, status_sizes_a, COUNT_OF(status_sizes_a));
    memset(&wide, 0, sizeof wide);
    wide.dwSize = version < 0 ? 0 : status_sizes_w[version];
    code = sim_RasGetConnectStatusW(connection, &wide);
    if (code != 0 || version < 0)
        return code;
    status->rasconnstate = wide.rasconnstate;
    status->dwError = wide.dwError;
    TO_ANSI(status->szDeviceType, wide.szDeviceType);
    TO_ANSI(status->szDeviceName, wide.szDeviceName);
    if (version >= 1)
        TO_ANSI(status->szPhoneNumber, wide.szPhoneNumber);
    if (version >= 2) {
        status->localEndPoint = wide.localEndPoint;
        status->remoteEndPoint = wide.remoteEndPoint;
        status->rasconnsubstate = wide.rasconnsubstate;
    }
    return 0;
}

/* --- Lists: everything is fetched in the newest W layout, then handed out by the same protocol (S4.0) ------------------------ */

typedef struct list_call {
    const char16_t *reserved, *phonebook;
    uint32_t (*call)(const struct list_call *arguments, void *list, uint32_t *bytes, uint32_t *count);
    uint32_t size; /* of an element */
} list_call;

static uint32_t connections_w(const list_call *a, void *list, uint32_t *bytes, uint32_t *count)
{
    (void)a;
    return sim_RasEnumConnectionsW(list, bytes, count);
}

static uint32_t entries_w(const list_call *a, void *list, uint32_t *bytes, uint32_t *count)
{
    return sim_RasEnumEntriesW(a->reserved, a->phonebook, list, bytes, count);
}

static uint32_t devices_w(const list_call *a, void *list, uint32_t *bytes, uint32_t *count)
{
    (void)a;
    return sim_RasEnumDevicesW(list, bytes, count);
}

/* free() what *list points to. */
static uint32_t fetch(const list_call *a, void **list, uint32_t *count)
{
    uint32_t bytes = a->size * 16;

    *count = 0;
    *list = NULL;
    for (int i = 0; i < MOST_TRIES; i++) {
        uint32_t code;
        uint8_t *room = calloc(1, bytes);

        if (room == NULL)
            return 8;
        memcpy(room, &a->size, sizeof a->size);
        code = a->call(a, room, &bytes, count);
        if (code == 0) {
            *list = room;
            return 0;
        }
        free(room);
        if (code != 603)
            return code;
    }
    return 603;
}

static void write_connection(void *context, uint32_t index, uint32_t version_size, void *element)
{
    const RASCONNW *from = (const RASCONNW *)context + index;
    RASCONNA *to = element;

    (void)version_size;
    to->hrasconn = from->hrasconn;
    TO_ANSI(to->szEntryName, from->szEntryName);
    TO_ANSI(to->szDeviceType, from->szDeviceType);
    TO_ANSI(to->szDeviceName, from->szDeviceName);
    TO_ANSI(to->szPhonebook, from->szPhonebook);
    to->dwSubEntry = from->dwSubEntry;
    to->guidEntry = from->guidEntry;
    to->dwFlags = from->dwFlags;
    to->luid = from->luid;
    to->guidCorrelationId = from->guidCorrelationId;
}

static void write_entry(void *context, uint32_t index, uint32_t version_size, void *element)
{
    const RASENTRYNAMEW *from = (const RASENTRYNAMEW *)context + index;
    RASENTRYNAMEA *to = element;

    (void)version_size;
    TO_ANSI(to->szEntryName, from->szEntryName);
    to->dwFlags = from->dwFlags;
    TO_ANSI(to->szPhonebookPath, from->szPhonebookPath);
}

static void write_device(void *context, uint32_t index, uint32_t version_size, void *element)
{
    const RASDEVINFOW *from = (const RASDEVINFOW *)context + index;
    RASDEVINFOA *to = element;

    (void)version_size;
    TO_ANSI(to->szDeviceType, from->szDeviceType);
    TO_ANSI(to->szDeviceName, from->szDeviceName);
}

uint32_t RASAPI_CALL sim_RasEnumConnectionsA(RASCONNA *list, uint32_t *bytes, uint32_t *count)
{
    const list_call call = { NULL, NULL, connections_w, (uint32_t)sizeof(RASCONNW) };
    void *wide = NULL;
    uint32_t available = 0;
    uint32_t code = sim_enumerate_check(list, bytes, count, connection_sizes_a, COUNT_OF(connection_sizes_a));

    if (code == 0)
        code = fetch(&call, &wide, &available);
    if (code == 0)
        code = sim_enumerate(SIM_RasEnumConnectionsW, list, bytes, count, connection_sizes_a, COUNT_OF(connection_sizes_a),
                             available, write_connection, wide);
    free(wide);
    return code;
}

uint32_t RASAPI_CALL sim_RasEnumEntriesA(const char *reserved, const char *phonebook, RASENTRYNAMEA *list, uint32_t *bytes,
                                         uint32_t *count)
{
    char16_t path[PATH_UNITS];
    const list_call call = { reserved != NULL ? u"" : NULL, wide_path(phonebook, path), entries_w,
                             (uint32_t)sizeof(RASENTRYNAMEW) };
    void *wide = NULL;
    uint32_t available = 0;
    uint32_t code = sim_enumerate_check(list, bytes, count, entry_sizes_a, COUNT_OF(entry_sizes_a));

    if (code == 0)
        code = fetch(&call, &wide, &available);
    if (code == 0)
        code = sim_enumerate(SIM_RasEnumEntriesW, list, bytes, count, entry_sizes_a, COUNT_OF(entry_sizes_a), available,
                             write_entry, wide);
    free(wide);
    return code;
}

uint32_t RASAPI_CALL sim_RasEnumDevicesA(RASDEVINFOA *list, uint32_t *bytes, uint32_t *count)
{
    const list_call call = { NULL, NULL, devices_w, (uint32_t)sizeof(RASDEVINFOW) };
    void *wide = NULL;
    uint32_t available = 0;
    uint32_t code = sim_enumerate_check(list, bytes, count, device_sizes_a, COUNT_OF(device_sizes_a));

    if (code == 0)
        code = fetch(&call, &wide, &available);
    if (code == 0)
        code = sim_enumerate(SIM_RasEnumDevicesW, list, bytes, count, device_sizes_a, COUNT_OF(device_sizes_a), available,
                             write_device, wide);
    free(wide);
    return code;
}

/* --- Texts, saved parameters, names ---------------------------------------------------------------------------------------- */

/* One character is one byte, so the room is the same for both forms. */
uint32_t RASAPI_CALL sim_RasGetErrorStringA(uint32_t code, char *text, uint32_t characters)
{
    char16_t wide[1024] = { 0 };
    const uint32_t room = characters < COUNT_OF(wide) ? characters : (uint32_t)COUNT_OF(wide);
    const uint32_t result = sim_RasGetErrorStringW(code, text != NULL ? wide : NULL, room);

    if (result == 0)
        sim_to_ansi(wide, room, text, room);
    return result;
}

uint32_t RASAPI_CALL sim_RasGetEntryDialParamsA(const char *phonebook, RASDIALPARAMSA *params, int32_t *has_password)
{
    RASDIALPARAMSW_602 wide;
    char16_t path[PATH_UNITS];
    uint32_t code;

    if (params == NULL)
        return sim_RasGetEntryDialParamsW(wide_path(phonebook, path), NULL, has_password);
    (void)widen_params(params, &wide);
    code = sim_RasGetEntryDialParamsW(wide_path(phonebook, path), &wide.v601, has_password);
    if (code == 0) {
        TO_ANSI(params->szPhoneNumber, wide.v601.szPhoneNumber);
        TO_ANSI(params->szCallbackNumber, wide.v601.szCallbackNumber);
        TO_ANSI(params->szUserName, wide.v601.szUserName);
        TO_ANSI(params->szPassword, wide.v601.szPassword);
        TO_ANSI(params->szDomain, wide.v601.szDomain);
    }
    rasx__wipe(&wide, sizeof wide);
    return code;
}

uint32_t RASAPI_CALL sim_RasSetEntryDialParamsA(const char *phonebook, RASDIALPARAMSA *params, int32_t remove_password)
{
    RASDIALPARAMSW_602 wide;
    char16_t path[PATH_UNITS];
    uint32_t code;

    if (params != NULL)
        (void)widen_params(params, &wide);
    code = sim_RasSetEntryDialParamsW(wide_path(phonebook, path), params != NULL ? &wide.v601 : NULL, remove_password);
    rasx__wipe(&wide, sizeof wide);
    return code;
}

uint32_t RASAPI_CALL sim_RasValidateEntryNameA(const char *phonebook, const char *entry)
{
    char16_t path[PATH_UNITS];
    char16_t name[RAS_MaxEntryName + 2]; /* one more, so that a name that is too long stays so */

    if (entry != NULL)
        sim_from_ansi(entry, RAS_MaxEntryName + 1, name, COUNT_OF(name));
    return sim_RasValidateEntryNameW(wide_path(phonebook, path), entry != NULL ? name : NULL);
}

/* --- Entry properties, links ------------------------------------------------------------------------------------------------- */

static const uint32_t record_sizes_a[] = { RASENTRYA_SIZES }, record_sizes_w[] = { RASENTRYW_SIZES };

#define SAME(member) (void)memcpy(&to->member, &from->member, sizeof to->member)

/* Every member; the caller copies only those of its version. */
static void narrow_record(const RASENTRYW *from, RASENTRYA *to)
{
    SAME(dwfOptions), SAME(dwCountryID), SAME(dwCountryCode);
    TO_ANSI(to->szAreaCode, from->szAreaCode);
    TO_ANSI(to->szLocalPhoneNumber, from->szLocalPhoneNumber);
    SAME(ipaddr), SAME(ipaddrDns), SAME(ipaddrDnsAlt), SAME(ipaddrWins), SAME(ipaddrWinsAlt);
    SAME(dwFrameSize), SAME(dwfNetProtocols), SAME(dwFramingProtocol);
    TO_ANSI(to->szScript, from->szScript);
    TO_ANSI(to->szAutodialDll, from->szAutodialDll);
    TO_ANSI(to->szAutodialFunc, from->szAutodialFunc);
    TO_ANSI(to->szDeviceType, from->szDeviceType);
    TO_ANSI(to->szDeviceName, from->szDeviceName);
    TO_ANSI(to->szX25PadType, from->szX25PadType);
    TO_ANSI(to->szX25Address, from->szX25Address);
    TO_ANSI(to->szX25Facilities, from->szX25Facilities);
    TO_ANSI(to->szX25UserData, from->szX25UserData);
    SAME(dwChannels), SAME(dwReserved1), SAME(dwReserved2);
    SAME(dwSubEntries), SAME(dwDialMode), SAME(dwDialExtraPercent), SAME(dwDialExtraSampleSeconds);
    SAME(dwHangUpExtraPercent), SAME(dwHangUpExtraSampleSeconds), SAME(dwIdleDisconnectSeconds);
    SAME(dwType), SAME(dwEncryptionType), SAME(dwCustomAuthKey), SAME(guidId);
    TO_ANSI(to->szCustomDialDll, from->szCustomDialDll);
    SAME(dwVpnStrategy), SAME(dwfOptions2), SAME(dwfOptions3);
    TO_ANSI(to->szDnsSuffix, from->szDnsSuffix);
    SAME(dwTcpWindowSize);
    TO_ANSI(to->szPrerequisitePbk, from->szPrerequisitePbk);
    TO_ANSI(to->szPrerequisiteEntry, from->szPrerequisiteEntry);
    SAME(dwRedialCount), SAME(dwRedialPause);
    SAME(ipv6addrDns), SAME(ipv6addrDnsAlt), SAME(dwIPv4InterfaceMetric), SAME(dwIPv6InterfaceMetric);
    SAME(ipv6addr), SAME(dwIPv6PrefixLength), SAME(dwNetworkOutageTime);
    TO_ANSI(to->szIDi, from->szIDi);
    TO_ANSI(to->szIDr, from->szIDr);
    SAME(fIsImsConfig), SAME(IdiType), SAME(IdrType), SAME(fDisableIKEv2Fragmentation);
}

/* How many units the list of alternates takes, its last NUL included; at most what stands in the buffer (S8.61). */
static uint32_t list_units(const RASENTRYW *record, uint32_t bytes)
{
    const char16_t *list;
    uint32_t most, used = 0;

    if (record->dwAlternateOffset == 0 || record->dwAlternateOffset >= bytes)
        return 0;
    list = (const char16_t *)(const void *)((const uint8_t *)record + record->dwAlternateOffset);
    most = (bytes - record->dwAlternateOffset) / (uint32_t)sizeof *list;
    while (used < most && list[used] != 0)
        used += (uint32_t)rasx__utf16_length(list + used, most - used) + 1;
    return used < most ? used + 1 : most;
}

/* The record of the same version, and behind it the same list in one byte a character: so the room needed follows from the W
 * form's answer. */
uint32_t RASAPI_CALL sim_RasGetEntryPropertiesA(const char *phonebook, const char *entry, RASENTRYA *record, uint32_t *bytes,
                                                uint8_t *device_info, uint32_t *device_bytes)
{
    char16_t path[PATH_UNITS], name[RAS_MaxEntryName + 2];
    const char16_t *wide_name = entry != NULL ? name : NULL;
    const uint32_t had = bytes != NULL ? *bytes : 0;
    const int sized = record != NULL && had >= sizeof record->dwSize;
    int version = sized ? version_of(record->dwSize, record_sizes_a, COUNT_OF(record_sizes_a)) : (int)COUNT_OF(record_sizes_a) - 1;
    RASENTRYW *wide = NULL;
    uint32_t room = sizeof(RASENTRYW), code = 603, units, needed;

    if (entry != NULL)
        sim_from_ansi(entry, RAS_MaxEntryName + 1, name, COUNT_OF(name));
    (void)wide_path(phonebook, path);
    if (bytes == NULL || version < 0) { /* an answer without a record: 0, 87, 623 or 632 */
        RASENTRYW none = { .dwSize = 0 };

        room = sizeof none;
        return sim_RasGetEntryPropertiesW(phonebook != NULL ? path : NULL, wide_name, record != NULL ? &none : NULL,
                                          bytes != NULL ? &room : NULL, device_info, device_bytes);
    }
    for (int i = 0; i < MOST_TRIES && code == 603; i++) {
        free(wide);
        wide = calloc(1, room);
        if (wide == NULL)
            return 8;
        wide->dwSize = record_sizes_w[version];
        code = sim_RasGetEntryPropertiesW(phonebook != NULL ? path : NULL, wide_name, wide, &room, device_info, device_bytes);
        if (code == 632 && !sized && version > 0) { /* a system that does not know the newest (S8.63) */
            version--;
            code = 603;
        }
    }
    if (code == 0) {
        units = list_units(wide, room);
        needed = record_sizes_a[version] + units;
        *bytes = needed;
        if (record == NULL || had < needed) {
            code = 603;
        } else {
            RASENTRYA *full = calloc(1, sizeof *full);

            if (full == NULL) {
                code = 8;
            } else {
                narrow_record(wide, full);
                full->dwSize = record_sizes_a[version];
                full->dwAlternateOffset = units == 0 ? 0 : full->dwSize;
                memcpy(record, full, full->dwSize);
                free(full);
                for (uint32_t i = 0; i < units; i++) { /* by single characters, so that the NULs between them stay */
                    const char16_t one[2] = { ((const char16_t *)(const void *)((const uint8_t *)wide + wide->dwAlternateOffset))[i], 0 };
                    char narrow[2];

                    sim_to_ansi(one, 1, narrow, sizeof narrow);
                    ((char *)record)[record->dwSize + i] = narrow[0];
                }
            }
        }
    }
    free(wide);
    return code;
}

uint32_t RASAPI_CALL sim_RasGetSubEntryHandleA(HRASCONN connection, uint32_t subentry, HRASCONN *link)
{
    return sim_RasGetSubEntryHandleW(connection, subentry, link);
}

uint32_t RASAPI_CALL sim_RasConnectionNotificationA(HRASCONN connection, void *event, uint32_t flags)
{
    return sim_RasConnectionNotificationW(connection, event, flags); /* no text in it */
}
