/* query.c: the functions of our implementation that only tell: entries, devices, texts, saved parameters, names.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "../error.h"
#include "../text.h"
#include "enumerate.h"
#include "functions.h"

enum {
    ENTRY_UNITS = 257,        /* szEntryName with its NUL (S0.3) */
    PATH_UNITS = 4096,        /* longest phone-book path that is looked at; more than any file system takes */
    UTF8_FACTOR = 3,          /* bytes that one UTF-16 unit can become */
    FIRST_CODE = 600,         /* RASBASE */
    LAST_CODE = 956
};

/* S5.2. The newest last; the rows for the DIAL structure depend on the width of a pointer. */
static const uint32_t entry_sizes[] = { 520, 1048 };
static const uint32_t device_sizes[] = { 296 };
static const uint32_t params_sizes[] = { 2096, sizeof(void *) == 8 ? 2108 : 2104, sizeof(void *) == 8 ? 2112 : 2108,
                                         sizeof(void *) == 8 ? 2120 : 2112 };

/* A phone book as the API names it: NULL, and "" (assumed), mean the default one. *path receives its name for the journal. 0,
 * 8, 621 or 622. */
static uint32_t open_book(const char16_t *phonebook, char path[PATH_UNITS * UTF8_FACTOR], pbk_book **book)
{
    size_t units;

    *book = NULL;
    path[0] = '\0';
    if (phonebook == NULL || phonebook[0] == 0)
        return pbk_open(NULL, book);
    units = rasx__utf16_length(phonebook, PATH_UNITS);
    if (units == PATH_UNITS)
        return 621;
    rasx__to_utf8(phonebook, units, path, PATH_UNITS * UTF8_FACTOR);
    return pbk_open(path, book);
}

/* A system without any phone book has no entries, which is no error as long as nobody asked for a particular file (assumed). */
static int is_absent_default(const char16_t *phonebook, uint32_t code)
{
    return code == 621 && (phonebook == NULL || phonebook[0] == 0);
}

/* --- Lists ------------------------------------------------------------------------------------------------------------- */

static void write_entry(void *context, uint32_t index, uint32_t version_size, void *element)
{
    const pbk_book *book = context;
    RASENTRYNAMEW *name = element;

    (void)version_size;
    sim_copy_utf16(name->szEntryName, COUNT_OF(name->szEntryName), pbk_at(book, index)->name);
    name->dwFlags = 0; /* REN_User: there is no all-users book here */
    sim_copy_utf16(name->szPhonebookPath, COUNT_OF(name->szPhonebookPath), pbk_path(book));
}

/* S4.3. The arguments come before the phone book (assumed). A reserved argument that is not NULL gives 87 (assumed). */
uint32_t RASAPI_CALL sim_RasEnumEntriesW(const char16_t *reserved, const char16_t *phonebook, RASENTRYNAMEW *list,
                                         uint32_t *bytes, uint32_t *count)
{
    char path[PATH_UNITS * UTF8_FACTOR] = "";
    pbk_book *book = NULL;
    uint32_t available = 0;
    uint32_t code;

    if (sim_enter(SIM_RasEnumEntriesW, &code))
        return code;
    code = reserved != NULL ? 87 : sim_enumerate_check(list, bytes, count, entry_sizes, COUNT_OF(entry_sizes));
    if (code == 0) {
        code = open_book(phonebook, path, &book);
        if (is_absent_default(phonebook, code))
            code = 0;
    }
    if (code == 0) {
        if (book != NULL)
            available = pbk_count(book);
        code = sim_enumerate(SIM_RasEnumEntriesW, list, bytes, count, entry_sizes, COUNT_OF(entry_sizes), available,
                             write_entry, book);
    }
    pbk_release(book);
    return sim_leave(SIM_RasEnumEntriesW, code, "phonebook=%s entries=%u", path, (unsigned)available);
}

/* A device that has gone since it was counted leaves an empty element, which a type comparison passes over. */
static void write_device(void *context, uint32_t index, uint32_t version_size, void *element)
{
    RASDEVINFOW *device = element;
    char type[52];
    char name[388];

    (void)context;
    (void)version_size;
    if (!sim_device(index, type, name))
        return;
    sim_copy_utf16(device->szDeviceType, COUNT_OF(device->szDeviceType), type);
    sim_copy_utf16(device->szDeviceName, COUNT_OF(device->szDeviceName), name);
}

uint32_t RASAPI_CALL sim_RasEnumDevicesW(RASDEVINFOW *list, uint32_t *bytes, uint32_t *count)
{
    char type[52];
    char name[388];
    uint32_t available = 0;
    uint32_t code;

    if (sim_enter(SIM_RasEnumDevicesW, &code))
        return code;
    while (sim_device(available, type, name))
        available++;
    code = sim_enumerate(SIM_RasEnumDevicesW, list, bytes, count, device_sizes, COUNT_OF(device_sizes), available, write_device,
                         NULL);
    return sim_leave(SIM_RasEnumDevicesW, code, "devices=%u", (unsigned)available);
}

/* --- Texts ------------------------------------------------------------------------------------------------------------- */

static size_t units_of(const char *text)
{
    size_t units = 0;

    for (; *text != '\0'; text++) {
        uint8_t byte = (uint8_t)*text;
        if ((byte & 0xC0) != 0x80)
            units += byte >= 0xF0 ? 2 : 1;
    }
    return units;
}

/* S4.5: 87 for every code outside raserror.h, so that callers fall back to the system's own texts (S8.27); the room counts
 * characters, and what is missing is not told (S8.53, S8.54). */
uint32_t RASAPI_CALL sim_RasGetErrorStringW(uint32_t code, char16_t *text, uint32_t characters)
{
    const char *known = code >= FIRST_CODE && code <= LAST_CODE ? rasx__error_text(code) : NULL;
    uint32_t result;

    if (sim_enter(SIM_RasGetErrorStringW, &result))
        return result;
    if (text == NULL || known == NULL) {
        result = 87;
    } else if (units_of(known) >= characters) {
        result = 122;
    } else {
        sim_copy_utf16(text, characters, known);
        result = 0;
    }
    return sim_leave(SIM_RasGetErrorStringW, result, "code=%u characters=%u", (unsigned)code, (unsigned)characters);
}

/* --- Saved parameters -------------------------------------------------------------------------------------------------- */

static void fill_params(const pbk_entry *entry, RASDIALPARAMSW *params, int32_t *has_password)
{
    char16_t username[257] = { 0 };
    char16_t domain[16] = { 0 };
    int stored = 0;

    if (!sim_saved_credentials(entry->name, username, domain, &stored))
        stored = 0;
    memset(params->szPhoneNumber, 0, sizeof params->szPhoneNumber);
    memset(params->szCallbackNumber, 0, sizeof params->szCallbackNumber);
    memcpy(params->szUserName, username, sizeof username);
    memset(params->szPassword, 0, sizeof params->szPassword);
    for (size_t i = 0; stored && i < 16; i++)
        params->szPassword[i] = u'*';
    memcpy(params->szDomain, domain, sizeof domain);
    *has_password = stored != 0;
}

/* S4.6, S8.64. The phone number stays empty and the password is the placeholder of S4.7. dwSubEntry and what follows it are
 * left as the caller had them (assumed), so that a caller's own dwCallbackId survives, in every version of the structure. */
uint32_t RASAPI_CALL sim_RasGetEntryDialParamsW(const char16_t *phonebook, RASDIALPARAMSW *params, int32_t *has_password)
{
    char path[PATH_UNITS * UTF8_FACTOR] = "";
    char name[ENTRY_UNITS * UTF8_FACTOR] = "";
    pbk_book *book = NULL;
    const pbk_entry *entry;
    uint32_t code;
    int known_size = 0;

    if (sim_enter(SIM_RasGetEntryDialParamsW, &code))
        return code;
    for (size_t i = 0; params != NULL && i < COUNT_OF(params_sizes); i++)
        known_size |= params->dwSize == params_sizes[i];
    if (params == NULL || has_password == NULL) {
        code = 610;
    } else if (!known_size) {
        code = 632;
    } else if (rasx__utf16_length(params->szEntryName, ENTRY_UNITS) == ENTRY_UNITS) {
        code = 610; /* no NUL: a bad structure (assumed) */
    } else {
        rasx__to_utf8(params->szEntryName, ENTRY_UNITS, name, sizeof name);
        code = open_book(phonebook, path, &book);
    }
    if (code == 0) {
        entry = pbk_find(book, name);
        if (entry == NULL)
            code = 623;
        else
            fill_params(entry, params, has_password);
    }
    pbk_release(book);
    return sim_leave(SIM_RasGetEntryDialParamsW, code, "phonebook=%s entry=%s", path, name);
}

/* --- Names ------------------------------------------------------------------------------------------------------------- */

static int is_blank(char16_t c)
{
    return c <= 0x20 || c == 0x7F || (c >= 0x80 && c <= 0xA0) || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* S4.9. Beyond ASCII everything that is not blank counts as alphanumeric (assumed: the vendor's table is not public). */
static int is_well_formed(const char16_t *entry, size_t units)
{
    int alphanumeric = 0;

    if (units == 0 || units > ENTRY_UNITS - 1 || entry[0] == u'.')
        return 0;
    for (size_t i = 0; i < units; i++) {
        char16_t c = entry[i];

        if (c < 0x80 && strchr("|><?*\\/:", c) != NULL)
            return 0;
        alphanumeric |= (c >= u'0' && c <= u'9') || (c >= u'A' && c <= u'Z') || (c >= u'a' && c <= u'z') ||
                        (c >= 0x80 && !is_blank(c));
    }
    return alphanumeric;
}

/* The name is looked at before the phone book (assumed). */
uint32_t RASAPI_CALL sim_RasValidateEntryNameW(const char16_t *phonebook, const char16_t *entry)
{
    char path[PATH_UNITS * UTF8_FACTOR] = "";
    char name[ENTRY_UNITS * UTF8_FACTOR] = "";
    pbk_book *book = NULL;
    size_t units;
    uint32_t code;

    if (sim_enter(SIM_RasValidateEntryNameW, &code))
        return code;
    units = entry == NULL ? 0 : rasx__utf16_length(entry, ENTRY_UNITS);
    if (entry != NULL)
        rasx__to_utf8(entry, units, name, sizeof name);
    if (entry == NULL)
        code = 87;
    else if (!is_well_formed(entry, units))
        code = 123;
    else
        code = open_book(phonebook, path, &book);
    if (code == 0 && pbk_find(book, name) != NULL)
        code = 183;
    else if (is_absent_default(phonebook, code))
        code = 0;
    pbk_release(book);
    return sim_leave(SIM_RasValidateEntryNameW, code, "phonebook=%s entry=%s", path, name);
}
