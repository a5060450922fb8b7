/* properties.c: RasGetEntryProperties: a phone-book entry as a RASENTRY, with the alternate numbers behind it (S4.8, S7.3).
 *
 * SPDX-License-Identifier: MIT
 *
 * What the file says is mapped key by key; keys that RASENTRY has no member for are left alone. Reading only: the numbers of
 * the first link count, as the members describe one device.
 */
#include <stdlib.h>
#include <string.h>

#include "../text.h"
#include "enumerate.h"
#include "functions.h"
#include "machine.h"

enum { PATH_UNITS = 4096, UTF8_FACTOR = 3 }; /* as the other functions that read */

static const uint32_t sizes[] = { RASENTRYW_SIZES };

/* --- Keys and bits ----------------------------------------------------------------------------------------------------- */

/* One bit of dwfOptions (word 1) or dwfOptions2 (word 2): set when the key's number has `mask` in it (0: is not 0), or, with
 * `when` 0, when the key is there and its number is 0. Names of the bits: S0.4. `absent`: what a missing key counts as. */
typedef struct bit {
    const char *key;
    uint32_t    option;
    uint32_t    mask;
    uint8_t     word;
    uint8_t     when;
    uint8_t     absent;
} bit;

static const bit bits[] = {
    { "IpHeaderCompression", 0x8, 0, 1, 1, 0 },
    { "IpPrioritizeRemote", 0x10, 0, 1, 1, 1 },
    { "LcpExtensions", 0x20, 0, 1, 0, 1 },
    { "ShowMonitorIconInTaskBar", 0x100, 0, 1, 1, 0 },
    { "SwCompression", 0x200, 0, 1, 1, 0 },
    { "AutoLogon", 0x4000, 0, 1, 1, 0 },
    { "AuthRestrictions", 0x20000, 128, 1, 1, 0 },
    { "AuthRestrictions", 0x40000, 8, 1, 1, 0 },
    { "AuthRestrictions", 0x80000, 16, 1, 1, 0 },
    { "AuthRestrictions", 0x8000000, 32, 1, 1, 0 },
    { "AuthRestrictions", 0x10000000, 64, 1, 1, 0 },
    { "AuthRestrictions", 0x20000000, 512, 1, 1, 0 },
    { "AuthRestrictions", 0x40000000, 1024, 1, 1, 0 },
    { "PreviewPhoneNumber", 0x200000, 0, 1, 1, 0 },
    { "SharedPhoneNumbers", 0x800000, 0, 1, 1, 0 },
    { "PreviewUserPw", 0x1000000, 0, 1, 1, 0 },
    { "PreviewDomain", 0x2000000, 0, 1, 1, 0 },
    { "ShowDialingProgress", 0x4000000, 0, 1, 1, 0 },
    { "DataEncryption", 0x1000, 768, 1, 1, 0 }, /* required or the strongest */
    { "ShareMsFilePrint", 0x1, 0, 2, 0, 1 },
    { "BindMsNetClient", 0x2, 0, 2, 0, 1 },
    { "NegotiateMultilinkAlways", 0x4, 0, 2, 0, 1 },
    { "UseRasCredentials", 0x8, 0, 2, 0, 1 },
    { "IpSecFlags", 0x10, 1, 2, 1, 0 }, /* assumed: 1 commonly stands beside a pre-shared key */
    { "IpNBTFlags", 0x40, 0, 2, 0, 1 },
    { "GlobalDeviceSettings", 0x80, 0, 2, 1, 0 },
    { "RedialOnLinkFailure", 0x100, 0, 2, 1, 0 },
    { "ForceSecureCompartment", 0x400, 0, 2, 1, 0 },
    { "Ipv6PrioritizeRemote", 0x2000, 0, 2, 1, 0 },
    { "IpInterfaceMetric", 0x10000, 0, 2, 1, 0 },
    { "Ipv6InterfaceMetric", 0x20000, 0, 2, 1, 0 },
    { "DisableIKENameEkuCheck", 0x40000, 0, 2, 1, 0 },
    { "DisableClassBasedDefaultRoute", 0x80000, 0, 2, 1, 0 },
    { "DisableMobility", 0x200000, 0, 2, 1, 0 },
    { "AuthRestrictions", 0x400000, 2048, 2, 1, 0 },
    { "CacheCredentials", 0x2000000, 0, 2, 1, 0 },
    { "AutoTiggerCapable", 0x4000000, 0, 2, 1, 0 },
    { "AuthTypeOTP", 0x10000000, 0, 2, 1, 0 },
    { "AlwaysOnCapable", 0x20000000, 0, 2, 1, 0 },
    { "PrivateNetwork", 0x40000000, 0, 2, 1, 0 },
    { "PlumbIKEv2TSAsRoutes", 0x80000000, 0, 2, 1, 0 }
};

/* A decimal number as the file writes it, negative ones too; `otherwise` for a missing key or no number. */
static uint32_t number(const char *text, uint32_t otherwise)
{
    uint64_t value = 0;
    int negative;

    if (text == NULL)
        return otherwise;
    negative = *text == '-';
    text += negative;
    if (*text < '0' || *text > '9')
        return otherwise;
    for (; *text >= '0' && *text <= '9' && value <= UINT32_MAX; text++)
        value = 10 * value + (uint64_t)(*text - '0');
    return negative ? (uint32_t)(0 - value) : (uint32_t)value;
}

static uint32_t key_number(const pbk_entry *record, const char *key, uint32_t otherwise)
{
    return number(record == NULL ? NULL : pbk_value(record, key), otherwise);
}

static const char *key_text(const pbk_entry *record, const char *key)
{
    const char *text = record == NULL ? NULL : pbk_value(record, key);

    return text == NULL ? "" : text;
}

/* A key of the device's own group; "" when missing. */
static const char *device_text(const pbk_entry *record, const pbk_device *device, const char *key)
{
    for (uint32_t i = 0; device != NULL && i < device->line_count; i++)
        if (strcmp(record->lines[device->first_line + i].key, key) == 0)
            return record->lines[device->first_line + i].value;
    return "";
}

/* --- Addresses and ids ------------------------------------------------------------------------------------------------- */

/* "192.0.2.1"; anything else is 0.0.0.0. */
static RASIPADDR read_ipv4(const char *text)
{
    RASIPADDR address = { 0, 0, 0, 0 };
    uint32_t parts[4] = { 0, 0, 0, 0 };
    int part = 0, digits = 0;

    for (; *text != '\0'; text++) {
        if (*text == '.' && digits > 0 && part < 3) {
            part++;
            digits = 0;
        } else if (*text >= '0' && *text <= '9' && digits < 3) {
            parts[part] = 10 * parts[part] + (uint32_t)(*text - '0');
            digits++;
        } else {
            return address;
        }
    }
    if (part != 3 || digits == 0 || (parts[0] | parts[1] | parts[2] | parts[3]) > 255)
        return address;
    address.a = (uint8_t)parts[0];
    address.b = (uint8_t)parts[1];
    address.c = (uint8_t)parts[2];
    address.d = (uint8_t)parts[3];
    return address;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Groups of hexadecimal digits with one "::" at most; anything else is "::". An IPv4 tail is not taken (assumed: none is
 * written). */
static void read_ipv6(const char *text, uint8_t address[16])
{
    uint16_t groups[8] = { 0 };
    int count = 0, gap = -1;

    memset(address, 0, 16);
    if (text[0] == ':' && text[1] != ':')
        return;
    while (*text != '\0') {
        uint32_t value = 0;
        int digits = 0;

        if (text[0] == ':' && text[1] == ':') {
            if (gap >= 0)
                return;
            gap = count;
            text += 2;
            continue;
        }
        if (*text == ':')
            text++;
        for (; hex_digit(*text) >= 0 && digits < 4; text++, digits++)
            value = 16 * value + (uint32_t)hex_digit(*text);
        if (digits == 0 || count == 8 || (*text != '\0' && *text != ':'))
            return;
        groups[count++] = (uint16_t)value;
    }
    if (gap < 0 ? count != 8 : count == 8)
        return;
    if (gap >= 0) { /* what stands behind the gap moves to the end */
        int tail = count - gap;

        memmove(groups + 8 - tail, groups + gap, (size_t)tail * sizeof *groups);
        memset(groups + gap, 0, (size_t)(8 - count) * sizeof *groups);
    }
    for (int i = 0; i < 8; i++) {
        address[2 * i] = (uint8_t)(groups[i] >> 8);
        address[2 * i + 1] = (uint8_t)(groups[i] & 0xFF);
    }
}

/* Guid=: 32 digits, the bytes as stored (S7.3). */
static void read_guid(const char *text, void *guid)
{
    uint8_t bytes[16];

    if (strlen(text) != 32)
        return;
    for (int i = 0; i < 16; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0)
            return;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(guid, bytes, sizeof bytes);
}

/* --- The record -------------------------------------------------------------------------------------------------------- */

/* The device that the members describe: the first that is neither a switch nor a PAD, which only lead to it (assumed). */
static const pbk_device *main_device(const pbk_link *link)
{
    for (uint32_t i = 0; i < link->device_count; i++)
        if (strcmp(link->devices[i].type, "switch") != 0 && strcmp(link->devices[i].type, RASDT_Pad) != 0)
            return &link->devices[i];
    return link->device_count == 0 ? NULL : &link->devices[link->device_count - 1];
}

static uint32_t encryption(uint32_t stored)
{
    switch (stored) {
    case 0: return 0;      /* ET_None */
    case 256: return 1;    /* ET_Require */
    case 512: return 2;    /* ET_RequireMax */
    default: return 3;     /* ET_Optional, 8 in the file */
    }
}

#define COPY(to, text) sim_copy_utf16(to, COUNT_OF(to), text)

static void fill(const pbk_entry *record, RASENTRYW *to)
{
    const pbk_link *link = record == NULL || record->link_count == 0 ? NULL : &record->links[0];
    const pbk_device *device = link == NULL ? NULL : main_device(link);

    for (size_t i = 0; i < COUNT_OF(bits); i++) {
        const bit *b = &bits[i];
        uint32_t value = key_number(record, b->key, b->absent);

        if ((b->mask != 0 ? (value & b->mask) != 0 : value != 0) == (b->when != 0))
            *(b->word == 1 ? &to->dwfOptions : &to->dwfOptions2) |= b->option;
    }
    if (key_number(record, "IpAssign", 1) == 2) to->dwfOptions |= 0x2;
    if (key_number(record, "IpNameAssign", 1) == 2) to->dwfOptions |= 0x4;
    if (key_number(record, "Ipv6NameAssign", 1) == 2) to->dwfOptions2 |= 0x1000;
    if (key_number(record, "Ipv6Assign", 1) == 2) to->dwfOptions2 |= 0x100000;
    to->dwType = key_number(record, "Type", RASET_Phone);
    to->dwFramingProtocol = key_number(record, "BaseProtocol", 1);
    to->dwfNetProtocols = (RASNP_Ip | RASNP_Ipv6) & ~key_number(record, "ExcludedProtocols", 0);
    to->dwVpnStrategy = key_number(record, "VpnStrategy", VS_Default);
    to->dwEncryptionType = encryption(key_number(record, "DataEncryption", 8));
    to->dwCustomAuthKey = key_number(record, "CustomAuthKey", 0);
    to->dwIdleDisconnectSeconds = key_number(record, "IdleDisconnectSeconds", 0);
    to->dwRedialCount = key_number(record, "RedialAttempts", 0);
    to->dwRedialPause = key_number(record, "RedialSeconds", 0);
    to->dwTcpWindowSize = key_number(record, "TcpWindowSize", 0);
    to->dwNetworkOutageTime = key_number(record, "NetworkOutageTime", 0);
    to->dwIPv4InterfaceMetric = key_number(record, "IpInterfaceMetric", 0);
    to->dwIPv6InterfaceMetric = key_number(record, "Ipv6InterfaceMetric", 0);
    to->dwIPv6PrefixLength = key_number(record, "Ipv6PrefixLength", 0);
    to->fIsImsConfig = key_number(record, "ImsConfig", 0);
    to->IdiType = key_number(record, "IdiType", 0);
    to->IdrType = key_number(record, "IdrType", 0);
    to->fDisableIKEv2Fragmentation = key_number(record, "Disable_IKEv2_Fragmentation", 0);
    to->ipaddr = read_ipv4(key_text(record, "IpAddress"));
    to->ipaddrDns = read_ipv4(key_text(record, "IpDnsAddress"));
    to->ipaddrDnsAlt = read_ipv4(key_text(record, "IpDns2Address"));
    to->ipaddrWins = read_ipv4(key_text(record, "IpWinsAddress"));
    to->ipaddrWinsAlt = read_ipv4(key_text(record, "IpWins2Address"));
    read_ipv6(key_text(record, "Ipv6Address"), (uint8_t *)&to->ipv6addr);
    read_ipv6(key_text(record, "Ipv6DnsAddress"), (uint8_t *)&to->ipv6addrDns);
    read_ipv6(key_text(record, "Ipv6Dns2Address"), (uint8_t *)&to->ipv6addrDnsAlt);
    read_guid(key_text(record, "Guid"), &to->guidId);
    COPY(to->szDnsSuffix, key_text(record, "IpDnsSuffix"));
    COPY(to->szPrerequisiteEntry, key_text(record, "PrerequisiteEntry"));
    COPY(to->szPrerequisitePbk, key_text(record, "PrerequisitePbk"));
    COPY(to->szCustomDialDll, key_text(record, "CustomRasDialDll"));
    COPY(to->szIDi, key_text(record, "IDI"));
    COPY(to->szIDr, key_text(record, "IDR"));
    to->dwSubEntries = record == NULL ? 0 : record->link_count;
    to->dwDialMode = key_number(record, "DialMode", 0);
    to->dwDialExtraPercent = key_number(record, "DialPercent", 0);
    to->dwDialExtraSampleSeconds = key_number(record, "DialSeconds", 0);
    to->dwHangUpExtraPercent = key_number(record, "HangUpPercent", 0);
    to->dwHangUpExtraSampleSeconds = key_number(record, "HangUpSeconds", 0);
    if (device == NULL)
        return;
    COPY(to->szDeviceType, device->type);
    COPY(to->szDeviceName, link->device_name);
    COPY(to->szLocalPhoneNumber, device->phone_number);
    COPY(to->szAreaCode, device_text(record, device, "AreaCode"));
    to->dwCountryCode = number(device_text(record, device, "CountryCode"), 0);
    to->dwCountryID = number(device_text(record, device, "CountryID"), 0);
    if (number(device_text(record, device, "UseDialingRules"), 0) != 0) to->dwfOptions |= 0x1;
    if (number(device_text(record, device, "PromoteAlternates"), 0) != 0) to->dwfOptions |= 0x8000;
}

/* --- Alternates -------------------------------------------------------------------------------------------------------- */

/* The numbers after the first of the main device, each ended by a NUL, the list by one more; written when `out` is given. How
 * many units the list takes; 0 when there are none. Source S4.8. */
static size_t alternates(const pbk_entry *record, char16_t *out)
{
    const pbk_link *link = record == NULL || record->link_count == 0 ? NULL : &record->links[0];
    const pbk_device *device = link == NULL ? NULL : main_device(link);
    char16_t text[RAS_MaxPhoneNumber + 1];
    size_t used = 0;
    int first = 1;

    for (uint32_t i = 0; device != NULL && i < device->line_count; i++) {
        const pbk_line *line = &record->lines[device->first_line + i];
        size_t units;

        if (strcmp(line->key, "PhoneNumber") != 0)
            continue;
        if (first || line->value[0] == '\0') {
            first = 0;
            continue;
        }
        COPY(text, line->value);
        units = rasx__utf16_length(text, COUNT_OF(text)) + 1;
        if (out != NULL)
            memcpy(out + used, text, units * sizeof *text);
        used += units;
    }
    if (used == 0)
        return 0;
    if (out != NULL)
        out[used] = 0;
    return used + 1;
}

/* --- RasGetEntryProperties --------------------------------------------------------------------------------------------- */

/* 0; 623 for a missing entry and for a phone book that cannot be read (S4.8). `entry` "": the defaults of a new one, *record NULL. */
static uint32_t find(const char *path, const char *entry, pbk_book **book, const pbk_entry **record)
{
    *record = NULL;
    if (entry[0] == '\0')
        return 0;
    if (pbk_open(path[0] == '\0' ? NULL : path, book) != 0)
        return 623;
    *record = pbk_find(*book, entry);
    return *record == NULL ? 623 : 0;
}

/* The place of dwSize among the versions that this system knows; the knob entry_size makes it an older one (S8.63). */
static int knows_size(uint32_t size)
{
    int64_t newest = sim_knob(NULL, SIM_KNOB_entry_size);

    for (size_t i = 0; i < COUNT_OF(sizes); i++)
        if (sizes[i] == size)
            return newest <= 0 || (int64_t)size <= newest;
    return 0;
}

static uint32_t newest_size(void)
{
    size_t i = COUNT_OF(sizes);

    while (i > 1 && !knows_size(sizes[i - 1])) i--;
    return sizes[i - 1];
}

/* Protocol P2 (S4.0): without room, or with too little, 603 and how much is needed; the alternates stand behind the record of the
 * caller's version, and only that version's members are written (S8.52). No record and no size only asks whether the entry is
 * there. Device information is not delivered; a size for it becomes 0 (assumed). */
uint32_t RASAPI_CALL sim_RasGetEntryPropertiesW(const char16_t *phonebook, const char16_t *entry, RASENTRYW *record,
                                                uint32_t *bytes, uint8_t *device_info, uint32_t *device_bytes)
{
    char path[PATH_UNITS * UTF8_FACTOR] = "";
    char name[(RAS_MaxEntryName + 1) * UTF8_FACTOR] = "";
    const pbk_entry *found = NULL;
    pbk_book *book = NULL;
    uint32_t had = bytes == NULL ? 0 : *bytes;
    uint32_t size, needed = 0, code;

    if (sim_enter(SIM_RasGetEntryPropertiesW, &code))
        return code;
    if (phonebook != NULL)
        rasx__to_utf8(phonebook, PATH_UNITS, path, sizeof path);
    if (entry != NULL)
        rasx__to_utf8(entry, RAS_MaxEntryName + 1, name, sizeof name);
    (void)device_info;
    if (record != NULL && bytes == NULL)
        code = 87;
    else if (record != NULL && had >= sizeof record->dwSize && !knows_size(record->dwSize))
        code = 632;
    else
        code = find(path, name, &book, &found);
    if (code == 0 && bytes != NULL) {
        size_t tail = alternates(found, NULL);

        size = record != NULL && had >= sizeof record->dwSize ? record->dwSize : newest_size();
        needed = size + (uint32_t)(tail * sizeof(char16_t));
        *bytes = needed;
        if (record == NULL || had < needed) {
            code = 603;
        } else {
            RASENTRYW *full = calloc(1, sizeof *full);

            if (full == NULL) {
                code = 8;
            } else {
                full->dwSize = size;
                fill(found, full);
                full->dwAlternateOffset = tail == 0 ? 0 : size;
                memcpy(record, full, size);
                if (tail > 0) /* every size is even, so the list is aligned */
                    (void)alternates(found, (char16_t *)(void *)((uint8_t *)record + size));
                free(full);
            }
        }
        if (device_bytes != NULL && code == 0)
            *device_bytes = 0;
    }
    pbk_release(book);
    return sim_leave(SIM_RasGetEntryPropertiesW, code, "phonebook=%s entry=\"%s\" room=%u needed=%u", path, name, had, needed);
}
