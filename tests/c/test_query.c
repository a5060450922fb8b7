/* test_query.c: the contract of the list, text and name functions (S4.0, S4.3 to S4.6, S4.9), through the seam.
 *
 * SPDX-License-Identifier: MIT
 *
 * Calls our own implementation through rasapi_sim(). Reads tests/data below the current folder, or the folder in
 * RASX_TEST_DATA.
 */
#include "testhelp.h"

#include "../../csrc/os.h"
#include "../../csrc/ras_ext.h"
#include "../../csrc/rasapi.h"
#include "../../csrc/text.h"

#define ROOM 65536u /* bytes of the arrays below; more than any list here needs */
#define GUARD 64u

enum { NARROW = sizeof(void *) == 4 };

static const rasapi *api;
static const rasx_sim_api *sim;
static uint32_t storage[(ROOM + GUARD) / 4]; /* the structures want 4-byte alignment */
static char16_t wide_path[1024];
static const char16_t *phonebook; /* of the list that is asked for */

/* The three enumerations behind one face. */
typedef uint32_t (*list_call)(void *list, uint32_t *bytes, uint32_t *count);

static uint32_t entries(void *list, uint32_t *bytes, uint32_t *count)
{
    return api->RasEnumEntriesW(NULL, phonebook, list, bytes, count);
}

static uint32_t devices(void *list, uint32_t *bytes, uint32_t *count)
{
    return api->RasEnumDevicesW(list, bytes, count);
}

static uint32_t connections(void *list, uint32_t *bytes, uint32_t *count)
{
    return api->RasEnumConnectionsW(list, bytes, count);
}

typedef struct list_kind {
    list_call call;
    uint32_t sizes[5]; /* S5.2, W; newest last */
    uint32_t size_count;
} list_kind;

static const list_kind kinds[] = {
    { entries, { 520, 1048 }, 2 },
    { devices, { 296 }, 1 },
    { connections, { NARROW ? 816 : 820, NARROW ? 1340 : 1344, NARROW ? 1356 : 1360, NARROW ? 1368 : 1372, NARROW ? 1384 : 1388 }, 5 }
};

static const char16_t *data_file(const char *name)
{
    char path[1024];
    const char *folder = getenv("RASX_TEST_DATA");

    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "tests/data", name);
    CHECK_EQ(rasx__to_utf16(path, wide_path, sizeof wide_path / sizeof *wide_path, NULL), 0);
    return wide_path;
}

/* A machine without anything of an earlier test, and the phone book of four entries. */
static void fresh(void)
{
    api = rasapi_sim();
    sim = rasx_sim_get_api();
    CHECK_EQ(sim->reset(1), 0);
    phonebook = data_file("office.pbk");
}

static uint8_t *bytes_at(uint32_t offset)
{
    return (uint8_t *)storage + offset;
}

static uint32_t word_at(uint32_t offset)
{
    uint32_t value;

    memcpy(&value, bytes_at(offset), sizeof value);
    return value;
}

static void fill(uint8_t with, uint32_t size)
{
    memset(storage, with, sizeof storage);
    storage[0] = size;
}

static void check_filled(uint32_t from, uint32_t to, uint8_t with)
{
    for (uint32_t i = from; i < to; i++)
        if (*bytes_at(i) != with) {
            CHECK_EQ(*bytes_at(i), with);
            return;
        }
}

static void check_wide(const char16_t *text, const char *expected)
{
    char narrow[772];

    rasx__to_utf8(text, 400, narrow, sizeof narrow);
    CHECK_STR(narrow, expected);
}

/* --- Enumerations ------------------------------------------------------------------------------------------------------ */

/* S8.51, S4.4: an unknown dwSize gives 632 whatever the room; a missing pointer gives 87 before that. Nothing is written. */
TEST(test_s8_51_wrong_size)
{
    fresh();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        const uint32_t newest = kinds[k].sizes[kinds[k].size_count - 1];
        const uint32_t wrong[] = { 0, 1, kinds[k].sizes[0] - 1, newest + 1, newest - 2, 0xFFFFFFFF };
        const uint32_t rooms[] = { 0, 1, newest - 1, newest, ROOM };
        uint32_t bytes;
        uint32_t count = 77;

        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
            for (size_t j = 0; j < sizeof rooms / sizeof *rooms; j++) {
                fill(0xA5, wrong[i]);
                bytes = rooms[j];
                CHECK_EQ(kinds[k].call(storage, &bytes, &count), 632);
                CHECK_EQ(bytes, rooms[j]);
                CHECK_EQ(count, 77);
                check_filled(4, ROOM, 0xA5);
            }
        bytes = ROOM;
        CHECK_EQ(kinds[k].call(storage, NULL, &count), 87);
        CHECK_EQ(kinds[k].call(storage, &bytes, NULL), 87);
        CHECK_EQ(kinds[k].call(storage, NULL, NULL), 87);
        CHECK_EQ(kinds[k].call(NULL, NULL, NULL), 87);
    }
}

/* S8.51, S4.6: the same for RasGetEntryDialParams, where a missing pointer is 610. */
TEST(test_s8_51_wrong_size_of_params)
{
    int32_t has_password = 77;
    RASDIALPARAMSW *params = (RASDIALPARAMSW *)(void *)storage;

    fresh();
    fill(0, 2095);
    CHECK_EQ(api->RasGetEntryDialParamsW(phonebook, params, &has_password), 632);
    fill(0, 2096);
    CHECK_EQ(api->RasGetEntryDialParamsW(phonebook, params, NULL), 610);
    CHECK_EQ(api->RasGetEntryDialParamsW(phonebook, NULL, &has_password), 610);
    CHECK_EQ(has_password, 77);
}

/* S8.52, S5.2: each historical size is answered in that layout, element behind element, and nothing is written behind them. */
TEST(test_s8_52_historical_sizes)
{
    fresh();
    for (size_t k = 0; k < 2; k++)
        for (uint32_t v = 0; v < kinds[k].size_count; v++) {
            uint32_t size = kinds[k].sizes[v];
            uint32_t bytes = ROOM;
            uint32_t count = 0;

            fill(0xA5, size);
            CHECK_EQ(kinds[k].call(storage, &bytes, &count), 0);
            CHECK_EQ(count, k == 0 ? 4 : 6);
            CHECK_EQ(bytes, count * size);
            for (uint32_t i = 0; i < count; i++) {
                CHECK_EQ(word_at(i * size), size);
                CHECK(word_at(i * size + 4) != 0 && (word_at(i * size + 4) & 0xFFFF) < 0x80); /* text begins */
            }
            check_filled(count * size, sizeof storage, 0xA5);
        }
}

/* S8.52: an array of exactly the size, in each version of RASDIALPARAMS; what is not filled in stays. */
TEST(test_s8_52_historical_sizes_of_params)
{
    const uint32_t sizes[] = { 2096, NARROW ? 2104 : 2108, NARROW ? 2108 : 2112, NARROW ? 2112 : 2120 };

    fresh();
    CHECK_EQ(sim->save_credentials("Office VPN", "ada", "secret", "EXAMPLE"), 0);
    for (size_t i = 0; i < 4; i++) {
        RASDIALPARAMSW *params = (RASDIALPARAMSW *)(void *)storage;
        int32_t has_password = 77;

        fill(0xA5, sizes[i]);
        CHECK_EQ(rasx__to_utf16("Office VPN", params->szEntryName, 257, NULL), 0);
        CHECK_EQ(api->RasGetEntryDialParamsW(phonebook, params, &has_password), 0);
        CHECK_EQ(params->dwSize, sizes[i]);
        CHECK_EQ(has_password, 1);
        check_wide(params->szUserName, "ada");
        check_filled(2096, sizeof storage, 0xA5);
    }
}

/* S8.53, S4.0: room that is short by a byte, or for less than one element: 603, the need, the number, and no other change. */
TEST(test_s8_53_too_small)
{
    fresh();
    for (size_t k = 0; k < 2; k++)
        for (uint32_t v = 0; v < kinds[k].size_count; v++) {
            uint32_t size = kinds[k].sizes[v];
            uint32_t available = k == 0 ? 4 : 6;
            const uint32_t rooms[] = { 0, 1, size - 1, size, available * size - 1 };
            uint32_t bytes;
            uint32_t count;

            for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
                fill(0xA5, size);
                bytes = rooms[i];
                count = 77;
                CHECK_EQ(kinds[k].call(storage, &bytes, &count), 603);
                CHECK_EQ(bytes, available * size);
                CHECK_EQ(count, available);
                check_filled(4, sizeof storage, 0xA5);
            }
            for (uint32_t more = 0; more < 2; more++) { /* exactly enough, and one byte more */
                fill(0xA5, size);
                bytes = available * size + more;
                CHECK_EQ(kinds[k].call(storage, &bytes, &count), 0);
                CHECK_EQ(bytes, available * size);
                CHECK_EQ(count, available);
            }
        }
}

/* S8.53, S4.5: RasGetErrorString is the odd one out: 122, and what is needed is not told. */
TEST(test_s8_53_error_text_too_small)
{
    char16_t text[512] = { 7, 7, 7, 7 };

    fresh();
    CHECK_EQ(api->RasGetErrorStringW(691, text, 3), 122);
    CHECK_EQ(text[0], 7);
}

/* S8.54: the room counts characters, and an exact fit with its NUL is enough. */
TEST(test_s8_54_error_text_exact_fit)
{
    char16_t text[514];
    size_t length;

    fresh();
    for (uint32_t code = 600; code <= 956; code++) {
        uint32_t result = api->RasGetErrorStringW(code, text, 512); /* S4.5: 512 always suffice */

        CHECK(result == 0 || result == 87);
        if (result != 0)
            continue;
        length = rasx__utf16_length(text, 512);
        CHECK(length > 0 && length < 512);
        CHECK_EQ(api->RasGetErrorStringW(code, text, (uint32_t)length), 122);
        text[length + 1] = 7;
        CHECK_EQ(api->RasGetErrorStringW(code, text, (uint32_t)length + 1), 0);
        CHECK_EQ(text[length], 0);
        CHECK_EQ(text[length + 1], 7);
    }
    CHECK_EQ(api->RasGetErrorStringW(691, text, 0), 122);
    CHECK_EQ(api->RasGetErrorStringW(691, text, 514), 0);
    CHECK_EQ(api->RasGetErrorStringW(600, text, 514), 0);
}

/* S8.27: no text for what is not in raserror.h, so that the caller asks the system. */
TEST(test_s8_27_error_text_of_other_codes)
{
    static const uint32_t others[] = { 0, 1, 5, 87, 599, 957, 1231, 13801, 0x80070057, 0x80420112, 0xFFFFFFFF, RASX_E_BUSY };
    char16_t text[512] = { 7 };

    fresh();
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK_EQ(api->RasGetErrorStringW(others[i], text, 512), 87);
    CHECK_EQ(text[0], 7);
    CHECK_EQ(api->RasGetErrorStringW(691, NULL, 512), 87);
    CHECK_EQ(api->RasGetErrorStringW(5, text, 0), 87);
}

/* S8.55: no array and no room: 603 and the need in the newest layout. */
TEST(test_s8_55_null_list)
{
    fresh();
    for (size_t k = 0; k < 2; k++)
        for (uint32_t room = 0; room <= ROOM; room += ROOM) {
            uint32_t bytes = room;
            uint32_t count = 77;

            CHECK_EQ(kinds[k].call(NULL, &bytes, &count), 603);
            CHECK_EQ(count, k == 0 ? 4 : 6);
            CHECK_EQ(bytes, count * kinds[k].sizes[kinds[k].size_count - 1]);
        }
}

/* S8.55, S4.0, S4.2: an empty list is success; *cb becomes 0 or stays, as the knob says. */
TEST(test_s8_55_empty_list)
{
    fresh();
    for (int64_t touches = 0; touches < 2; touches++) {
        uint32_t size = kinds[2].sizes[4];
        uint32_t bytes = 0;
        uint32_t count = 77;

        CHECK_EQ(sim->knob(NULL, "empty_touches", touches), 0);
        CHECK_EQ(connections(NULL, &bytes, &count), 0);
        CHECK_EQ(count, 0);
        CHECK_EQ(bytes, 0);
        fill(0xA5, size);
        bytes = ROOM;
        count = 77;
        CHECK_EQ(connections(storage, &bytes, &count), 0);
        CHECK_EQ(count, 0);
        CHECK_EQ(bytes, touches ? 0 : ROOM);
        check_filled(4, sizeof storage, 0xA5);
        bytes = size - 1; /* measured on Windows 11: less than one element is too small even for nothing */
        CHECK_EQ(connections(storage, &bytes, &count), 603);
        CHECK_EQ(bytes, size);
    }
}

/* S8.55: the list grows between two calls as often as the knob says, and then it has shrunk: the loop of S4.0 ends. */
TEST(test_s8_55_list_grows)
{
    fresh();
    CHECK_EQ(sim->knob(NULL, "list_grows", 2), 0);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int round = 0; round < 2; round++) { /* each retrieval meets the growth anew */
            uint32_t size = kinds[k].sizes[kinds[k].size_count - 1];
            uint32_t bytes = 0;
            uint32_t count = 0;
            uint32_t code = kinds[k].call(NULL, &bytes, &count);
            uint32_t calls = 0;

            CHECK_EQ(code, k == 2 ? 0 : 603);
            if (bytes < size)
                bytes = size;
            do {
                uint32_t had = bytes;

                fill(0xA5, size);
                code = kinds[k].call(storage, &bytes, &count);
                calls++;
                if (code == 603) {
                    CHECK(bytes > had);
                    CHECK_EQ(bytes, count * size);
                    check_filled(4, sizeof storage, 0xA5);
                }
            } while (code == 603 && calls < 10);
            CHECK_EQ(code, 0);
            CHECK_EQ(calls, 3);
            CHECK_EQ(count, k == 0 ? 4 : k == 1 ? 6 : 0);
        }
}

/* S8.56: the first element's dwSize is enough; what the others hold is never looked at. */
TEST(test_s8_56_only_first_size)
{
    fresh();
    for (size_t k = 0; k < 2; k++) {
        uint32_t size = kinds[k].sizes[0];
        uint32_t bytes = ROOM;
        uint32_t count = 0;

        fill(0xFF, size);
        CHECK_EQ(kinds[k].call(storage, &bytes, &count), 0);
        for (uint32_t i = 0; i < count; i++)
            CHECK_EQ(word_at(i * size), size);
    }
}

/* S4.3: names and paths, and the errors of the phone book. */
TEST(test_entries)
{
    RASENTRYNAMEW *list = (RASENTRYNAMEW *)(void *)storage;
    uint32_t bytes = ROOM;
    uint32_t count = 0;
    char path[1024];

    fresh();
    fill(0, sizeof *list);
    CHECK_EQ(entries(list, &bytes, &count), 0);
    CHECK_EQ(count, 4);
    check_wide(list[0].szEntryName, "Office VPN");
    check_wide(list[3].szEntryName, "Branch Multilink");
    rasx__to_utf8(phonebook, 1024, path, sizeof path);
    path[260] = '\0'; /* as much as the array takes; the names here are ASCII */
    check_wide(list[0].szPhonebookPath, path);
    CHECK_EQ(list[0].dwFlags, 0);
    bytes = ROOM;
    phonebook = data_file("utf8.pbk");
    CHECK_EQ(entries(list, &bytes, &count), 0);
    check_wide(list[0].szEntryName, "B\xC3\xBCro M\xC3\xBCnchen");
    check_wide(list[1].szEntryName, "Rocket \xF0\x9F\x9A\x80 link");
    bytes = ROOM;
    CHECK_EQ(api->RasEnumEntriesW(u"x", phonebook, list, &bytes, &count), 87);
    phonebook = u"no such folder/no.pbk";
    CHECK_EQ(entries(list, &bytes, &count), 621);
    CHECK_EQ(bytes, ROOM);
    storage[0] = 3; /* the structure is looked at before the file (assumed) */
    CHECK_EQ(entries(list, &bytes, &count), 632);
}

/* A name that is longer than its array is cut at a character, here before the pair that would straddle the end. */
TEST(test_entries_with_long_names)
{
    RASENTRYNAMEW *list = (RASENTRYNAMEW *)(void *)storage;
    const char *folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : getenv("TEMP") != NULL ? getenv("TEMP") : ".";
    char path[1024];
    char16_t wide[1024];
    uint32_t bytes = ROOM;
    uint32_t count = 0;
    FILE *file;

    fresh();
    snprintf(path, sizeof path, "%s/rasx-%u-long.pbk", folder, (unsigned)rasx__process_id());
    CHECK_EQ(rasx__to_utf16(path, wide, 1024, NULL), 0);
    file = fopen(path, "wb");
    REQUIRE(file != NULL);
    fprintf(file, "[%0255d\xF0\x9F\x9A\x80]\r\n[%0256d]\r\n[%0300d]\r\n", 0, 0, 0);
    fclose(file);
    phonebook = wide;
    fill(0, sizeof *list);
    CHECK_EQ(entries(list, &bytes, &count), 0);
    CHECK_EQ(count, 3);
    CHECK_EQ(rasx__utf16_length(list[0].szEntryName, 257), 255);
    CHECK_EQ(rasx__utf16_length(list[1].szEntryName, 257), 256);
    CHECK_EQ(rasx__utf16_length(list[2].szEntryName, 257), 256);
    remove(path);
}

/* S4.4: the devices of a machine, and one that is added. Types, not localised names, tell them apart (S8.76). */
TEST(test_s8_76_devices)
{
    RASDEVINFOW *list = (RASDEVINFOW *)(void *)storage;
    uint32_t bytes = ROOM;
    uint32_t count = 0;
    uint32_t vpn = 0;

    fresh();
    CHECK_EQ(sim->add_device("isdn", "Example ISDN adapter"), 0);
    fill(0, sizeof *list);
    CHECK_EQ(devices(list, &bytes, &count), 0);
    CHECK_EQ(count, 7);
    for (uint32_t i = 0; i < count; i++)
        vpn += list[i].szDeviceType[0] == u'v' && list[i].szDeviceType[1] == u'p' && list[i].szDeviceType[2] == u'n';
    CHECK_EQ(vpn, 4);
    check_wide(list[count - 1].szDeviceType, "isdn");
    check_wide(list[count - 1].szDeviceName, "Example ISDN adapter");
}

/* --- Saved parameters -------------------------------------------------------------------------------------------------- */

static uint32_t get_params(const char *entry, RASDIALPARAMSW *params, int32_t *has_password)
{
    memset(params, 0, sizeof *params);
    params->dwSize = sizeof *params;
    params->szPhoneNumber[0] = u'1';
    CHECK_EQ(rasx__to_utf16(entry, params->szEntryName, 257, NULL), 0);
    *has_password = 77;
    return api->RasGetEntryDialParamsW(phonebook, params, has_password);
}

/* S8.64, S4.6, S4.7: no phone number; the placeholder instead of the password; 623 for a missing entry. */
TEST(test_s8_64_dial_params)
{
    RASDIALPARAMSW params;
    int32_t has_password;

    fresh();
    CHECK_EQ(get_params("Office VPN", &params, &has_password), 0);
    CHECK_EQ(has_password, 0);
    CHECK_EQ(params.szPhoneNumber[0], 0);
    CHECK_EQ(params.szUserName[0], 0);
    CHECK_EQ(params.szPassword[0], 0);
    CHECK_EQ(sim->save_credentials("Office VPN", "ada", "secret", "EXAMPLE"), 0);
    CHECK_EQ(get_params("Office VPN", &params, &has_password), 0);
    CHECK_EQ(has_password, 1);
    CHECK_EQ(params.szPhoneNumber[0], 0);
    check_wide(params.szEntryName, "Office VPN");
    check_wide(params.szUserName, "ada");
    check_wide(params.szPassword, "****************");
    check_wide(params.szDomain, "EXAMPLE");
    CHECK_EQ(get_params("Home PPPoE", &params, &has_password), 0);
    CHECK_EQ(has_password, 0);
    CHECK_EQ(get_params("No such entry", &params, &has_password), 623);
    CHECK_EQ(has_password, 77);
    CHECK_EQ(get_params("", &params, &has_password), 623);
    memset(params.szEntryName, 'x', sizeof params.szEntryName); /* no NUL in the array */
    CHECK_EQ(api->RasGetEntryDialParamsW(phonebook, &params, &has_password), 610);
    phonebook = u"no such folder/no.pbk";
    CHECK_EQ(get_params("Office VPN", &params, &has_password), 621);
}

/* --- Names ------------------------------------------------------------------------------------------------------------- */

/* S8.68, S4.9: 183 for a name that exists, 123 for one that cannot, 0 for one that could be added. */
TEST(test_s8_68_validate_entry_name)
{
    static const char16_t *const malformed[] = { u"", u" ", u"\t", u"--", u"\u00A0\u3000", u".hidden", u".", u"a|b", u"a>b", u"a<b",
                                                 u"a?b", u"a*b", u"a\\b", u"a/b", u"a:b", u"ok/" };
    static const char16_t *const fine[] = { u"x", u" x", u"9", u"a.b", u"B\u00FCro", u"\u6771\u4EAC", u"[x]", u"a=b", u"Office VPN 2" };
    char16_t longest[258];

    fresh();
    CHECK_EQ(api->RasValidateEntryNameW(phonebook, u"Office VPN"), 183);
    CHECK_EQ(api->RasValidateEntryNameW(phonebook, u"OFFICE vpn"), 183); /* assumed: without case, as the finder does */
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        CHECK_EQ(api->RasValidateEntryNameW(phonebook, malformed[i]), 123);
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++)
        CHECK_EQ(api->RasValidateEntryNameW(phonebook, fine[i]), 0);
    for (size_t i = 0; i < 257; i++)
        longest[i] = u'x';
    longest[256] = 0;
    CHECK_EQ(api->RasValidateEntryNameW(phonebook, longest), 0);
    longest[256] = u'x';
    longest[257] = 0;
    CHECK_EQ(api->RasValidateEntryNameW(phonebook, longest), 123);
    CHECK_EQ(api->RasValidateEntryNameW(phonebook, NULL), 87);
    CHECK_EQ(api->RasValidateEntryNameW(u"no such folder/no.pbk", u"x"), 621);
}

/* --- Faults ------------------------------------------------------------------------------------------------------------ */

/* A fault answers instead of the function, and every call is counted. */
TEST(test_faults_and_counting)
{
    uint32_t bytes = 0;
    uint32_t count = 77;

    fresh();
    CHECK_EQ(sim->fault("RasEnumDevicesW", 1722, 0, 1), 0);
    CHECK_EQ(devices(NULL, &bytes, &count), 1722);
    CHECK_EQ(count, 77);
    CHECK_EQ(devices(NULL, &bytes, &count), 603);
    CHECK_EQ(sim->calls("RasEnumDevicesW"), 2);
}

#define TESTS(X)                                                                                                               \
    X(test_s8_51_wrong_size) X(test_s8_51_wrong_size_of_params) X(test_s8_52_historical_sizes)                                  \
    X(test_s8_52_historical_sizes_of_params) X(test_s8_53_too_small) X(test_s8_53_error_text_too_small)                         \
    X(test_s8_54_error_text_exact_fit) X(test_s8_27_error_text_of_other_codes) X(test_s8_55_null_list) X(test_s8_55_empty_list) \
    X(test_s8_55_list_grows) X(test_s8_56_only_first_size) X(test_entries) X(test_entries_with_long_names)                      \
    X(test_s8_76_devices) X(test_s8_64_dial_params) X(test_s8_68_validate_entry_name) X(test_faults_and_counting)
TEST_MAIN(TESTS)
