/* test_properties.c: the contract of RasGetEntryProperties and RasGetSubEntryHandle (S4.8, S4.10), and what the core does with
 * them: links of a dial, versions of RASENTRY.
 *
 * SPDX-License-Identifier: MIT
 *
 * The first half goes through `const rasapi *` and a control table, as the other contract tests; the second half is the core over
 * a table of the test's own.
 */
#include "../../csrc/core.h"
#include "../../csrc/rasapi32/ansi.h"
#include "testhelp.h"

#define MS UINT64_C(1000000)
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

enum { ROOM = 16384, GUARD = 64 };

static const rasapi *api;
static const rasx_sim_api *sim;
static char     book_path[1024];
static char16_t book[1024];
static uint32_t storage[(ROOM + GUARD) / 4];

static const uint32_t versions[] = { 3468, 3496, 4048, 5616, 5656, 5680, 6724 }; /* S5.2, W */

/* --- The machine and its phone book ------------------------------------------------------------------------------------ */

#define MODEM(number) "MEDIA=serial\r\nPort=COM3\r\nDevice=Standard Modem\r\n\r\nDEVICE=modem\r\nPhoneNumber=" number "\r\n"

static void remove_book(void)
{
    remove(book_path);
}

static void write_book(void)
{
    static const char text[] =
        "[Office]\r\nType=2\r\nAutoLogon=1\r\nGuid=1F8E2C7A90B34D4EA15C6D7F0E213B48\r\nVpnStrategy=7\r\nExcludedProtocols=8\r\n"
        "LcpExtensions=1\r\nDataEncryption=256\r\nNegotiateMultilinkAlways=1\r\nDialMode=0\r\nRedialAttempts=3\r\nRedialSeconds=60\r\n"
        "IdleDisconnectSeconds=-1\r\nRedialOnLinkFailure=1\r\nShareMsFilePrint=0\r\nBindMsNetClient=1\r\nPrerequisiteEntry=ISP\r\n"
        "PrerequisitePbk=C:\\isp.pbk\r\nCustomAuthKey=26\r\nAuthRestrictions=640\r\nIpPrioritizeRemote=0\r\nIpInterfaceMetric=25\r\n"
        "IpAssign=2\r\nIpAddress=192.0.2.7\r\nIpNameAssign=2\r\nIpDnsAddress=192.0.2.53\r\nIpDns2Address=192.0.2.300\r\n"
        "IpWinsAddress=192.0.2\r\nIpDnsSuffix=corp.example\r\nIpv6Assign=2\r\nIpv6Address=2001:db8::7\r\nIpv6PrefixLength=64\r\n"
        "Ipv6InterfaceMetric=40\r\nIpv6DnsAddress=2001:db8:0:0:1:2:3:4\r\nIpv6Dns2Address=1::2::3\r\nNetworkOutageTime=1800\r\n"
        "IDI=me\r\n\r\nMEDIA=rastapi\r\nPort=VPN2-0\r\nDevice=WAN Miniport (IKEv2)\r\n\r\nDEVICE=vpn\r\nPhoneNumber=vpn.example.net\r\n"
        "AreaCode=030\r\nCountryCode=49\r\nCountryID=49\r\nUseDialingRules=1\r\nPromoteAlternates=1\r\n\r\n"
        "[Numbers]\r\nType=1\r\n\r\n" MODEM("5550100") "PhoneNumber=5550101\r\nPhoneNumber=\r\nPhoneNumber=B\xC3\xBCro 2\r\n\r\n"
        "[Bundle]\r\nType=1\r\nDialMode=1\r\n\r\n" MODEM("1") "\r\n" MODEM("2") "\r\n"
        "[Needed]\r\nType=1\r\nDialMode=2\r\n\r\n" MODEM("1") "\r\n" MODEM("2") "\r\n";
    const char *folder = getenv("TMPDIR");
    FILE *file;

    if (book_path[0] != '\0')
        return;
    if (folder == NULL) folder = getenv("TEMP");
    if (folder == NULL) folder = "/tmp";
    snprintf(book_path, sizeof book_path, "%s/rasx-properties-%lu.pbk", folder, (unsigned long)rasx__process_id());
    CHECK_EQ(rasx__to_utf16(book_path, book, COUNT_OF(book), NULL), 0);
    file = fopen(book_path, "wb");
    CHECK(file != NULL);
    if (file == NULL)
        return;
    fwrite(text, 1, sizeof text - 1, file);
    fclose(file);
    (void)atexit(remove_book);
}

static void fresh(void)
{
    api = rasapi_sim();
    sim = rasx_sim_get_api();
    write_book();
    CHECK_EQ(sim->reset(1), 0);
    CHECK_EQ(sim->clock(1), 0);
    memset(storage, 0xA5, sizeof storage);
}

static uint32_t get(const char *entry, RASENTRYW *record, uint32_t *bytes)
{
    char16_t name[300];

    CHECK_EQ(rasx__to_utf16(entry, name, COUNT_OF(name), NULL), 0);
    return api->RasGetEntryPropertiesW(book, name, record, bytes, NULL, NULL);
}

static void check_wide(const char16_t *text, const char *expected)
{
    char narrow[800];

    rasx__to_utf8(text, 260, narrow, sizeof narrow);
    CHECK_STR(narrow, expected);
}

static void check_bytes(const void *at, const char *hex)
{
    char text[64] = "";

    for (size_t i = 0; i < strlen(hex) / 2 && i < 16; i++)
        snprintf(text + 2 * i, 3, "%02X", ((const uint8_t *)at)[i]);
    CHECK_STR(text, hex);
}

/* --- RasGetEntryProperties --------------------------------------------------------------------------------------------- */

TEST(test_s4_8_what_the_phone_book_says)
{
    RASENTRYW r = { .dwSize = sizeof r };
    uint32_t bytes = sizeof r, device_bytes = 77;

    fresh();
    CHECK_EQ(api->RasGetEntryPropertiesW(book, u"office", &r, &bytes, NULL, &device_bytes), 0);
    CHECK_EQ(bytes, sizeof r);
    CHECK_EQ(device_bytes, 0);
    CHECK_EQ(r.dwSize, sizeof r);
    CHECK_EQ(r.dwType, RASET_Vpn);
    CHECK_EQ(r.dwVpnStrategy, VS_Ikev2Only);
    CHECK_EQ(r.dwEncryptionType, 1);
    CHECK_EQ(r.dwfNetProtocols, RASNP_Ip);
    CHECK_EQ(r.dwFramingProtocol, 1);
    CHECK_EQ(r.dwIdleDisconnectSeconds, 0xFFFFFFFF);
    CHECK_EQ(r.dwRedialCount, 3);
    CHECK_EQ(r.dwRedialPause, 60);
    CHECK_EQ(r.dwCustomAuthKey, 26);
    CHECK_EQ(r.dwNetworkOutageTime, 1800);
    CHECK_EQ(r.dwSubEntries, 1);
    CHECK_EQ(r.dwDialMode, 0);
    CHECK_EQ(r.dwCountryID, 49);
    CHECK_EQ(r.dwCountryCode, 49);
    CHECK_EQ(r.dwIPv4InterfaceMetric, 25);
    CHECK_EQ(r.dwIPv6InterfaceMetric, 40);
    CHECK_EQ(r.dwIPv6PrefixLength, 64);
    CHECK_EQ(r.dwAlternateOffset, 0);
    check_wide(r.szDeviceType, "vpn");
    check_wide(r.szDeviceName, "WAN Miniport (IKEv2)");
    check_wide(r.szLocalPhoneNumber, "vpn.example.net");
    check_wide(r.szAreaCode, "030");
    check_wide(r.szDnsSuffix, "corp.example");
    check_wide(r.szPrerequisiteEntry, "ISP");
    check_wide(r.szPrerequisitePbk, "C:\\isp.pbk");
    check_wide(r.szIDi, "me");
    check_bytes(&r.guidId, "1F8E2C7A90B34D4EA15C6D7F0E213B48");
    check_bytes(&r.ipaddr, "C0000207");
    check_bytes(&r.ipaddrDns, "C0000235");
    check_bytes(&r.ipaddrDnsAlt, "00000000"); /* no address, so none is told */
    check_bytes(&r.ipaddrWins, "00000000");
    check_bytes(&r.ipv6addr, "20010DB8000000000000000000000007");
    check_bytes(&r.ipv6addrDns, "20010DB8000000000001000200030004");
    check_bytes(&r.ipv6addrDnsAlt, "00000000000000000000000000000000");
    /* UseCountryAndAreaCodes, SpecificIpAddr and NameServers, RequireDataEncryption, UseLogonCredentials, PromoteAlternates,
     * RequireEAP, RequireMsCHAP2 */
    CHECK_EQ(r.dwfOptions, 0x1 | 0x2 | 0x4 | 0x1000 | 0x4000 | 0x8000 | 0x20000 | 0x20000000);
    /* SecureFileAndPrint, ReconnectIfDropped, IPv4 and IPv6ExplicitMetric, SpecificIPv6Addr */
    CHECK_EQ(r.dwfOptions2, 0x1 | 0x100 | 0x10000 | 0x20000 | 0x100000);
    bytes = sizeof r;
    CHECK_EQ(get("Needed", &r, &bytes), 0);
    CHECK_EQ(r.dwSubEntries, 2);
    CHECK_EQ(r.dwDialMode, RASEDM_DialAsNeeded);
    bytes = sizeof r;
    CHECK_EQ(get("", &r, &bytes), 0); /* the defaults of a new entry */
    CHECK_EQ(r.dwSubEntries, 0);
    CHECK_EQ(r.dwType, RASET_Phone);
    CHECK_EQ(r.szDeviceType[0], 0);
}

/* S8.52: each version is taken, and nothing beyond it is written; S8.51: no other size is. */
TEST(test_s8_51_52_every_version_and_no_other)
{
    RASENTRYW *r = (RASENTRYW *)(void *)storage;

    fresh();
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        uint32_t bytes = ROOM;

        memset(storage, 0xA5, sizeof storage);
        r->dwSize = versions[i];
        CHECK_EQ(get("Office", r, &bytes), 0);
        CHECK_EQ(bytes, versions[i]);
        CHECK_EQ(r->dwSize, versions[i]);
        check_wide(r->szDeviceType, "vpn");
        for (uint32_t k = versions[i]; k < ROOM; k++)
            if (((uint8_t *)storage)[k] != 0xA5) {
                CHECK_EQ(k, 0);
                break;
            }
        bytes = versions[i] - 1;
        CHECK_EQ(get("Office", r, &bytes), 603);
        CHECK_EQ(bytes, versions[i]);
        for (int by = -2; by <= 2; by++) {
            bytes = ROOM;
            r->dwSize = (uint32_t)((int)versions[i] + by);
            CHECK_EQ(get("Office", r, &bytes), by == 0 ? 0 : 632);
        }
    }
}

TEST(test_s4_0_protocol_and_errors)
{
    RASENTRYW r = { .dwSize = sizeof r };
    uint32_t bytes = 0;

    fresh();
    CHECK_EQ(get("Office", NULL, &bytes), 603); /* P2: no record asks for the size */
    CHECK_EQ(bytes, sizeof r);
    CHECK_EQ(get("Office", NULL, NULL), 0);
    CHECK_EQ(get("Nowhere", NULL, NULL), 623);
    CHECK_EQ(get("Office", &r, NULL), 87);
    CHECK_EQ(get("Nowhere", &r, &bytes), 623);
    bytes = sizeof r;
    CHECK_EQ(api->RasGetEntryPropertiesW(u"/no such folder/a.pbk", u"Office", &r, &bytes, NULL, NULL), 623); /* S4.8 */
    bytes = 2; /* not even room for dwSize, which therefore is not looked at */
    r.dwSize = 1;
    CHECK_EQ(get("Office", &r, &bytes), 603);
    CHECK_EQ(bytes, sizeof r);
    CHECK_EQ(sim->fault("RasGetEntryPropertiesW", 5, 0, 1), 0);
    CHECK_EQ(get("Office", NULL, NULL), 5);
    CHECK_EQ(get("Office", NULL, NULL), 0);
}

/* S8.61: the list of alternates stands behind the record of the caller's version, and is counted in the size. */
TEST(test_s8_61_alternates_behind_the_record)
{
    RASENTRYW *r = (RASENTRYW *)(void *)storage;
    const char16_t *list;

    fresh();
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        const uint32_t needed = versions[i] + 2 * (8 + 7 + 1); /* "5550101", "Büro 2" and the end */
        uint32_t bytes = versions[i];

        memset(storage, 0xA5, sizeof storage);
        r->dwSize = versions[i];
        CHECK_EQ(get("Numbers", r, &bytes), 603);
        CHECK_EQ(bytes, needed);
        bytes = needed - 1;
        CHECK_EQ(get("Numbers", r, &bytes), 603);
        CHECK_EQ(r->dwfOptions, 0xA5A5A5A5);
        bytes = needed;
        CHECK_EQ(get("Numbers", r, &bytes), 0);
        check_wide(r->szLocalPhoneNumber, "5550100");
        REQUIRE(r->dwAlternateOffset == versions[i]);
        list = (const char16_t *)(const void *)((const uint8_t *)storage + r->dwAlternateOffset);
        check_wide(list, "5550101");
        check_wide(list + 8, "B\xC3\xBCro 2");
        CHECK_EQ(list[15], 0);
        CHECK_EQ(((uint8_t *)storage)[needed], 0xA5);
    }
}

/* The A form, which rasapi32.dll exports: the same record of the same version, in one byte a character. */
TEST(test_s8_61_the_a_form)
{
    static const uint32_t narrow[] = { 1768, 1796, 2088, 2884, 2924, 2948, 3480 }; /* S5.2, A */
    RASENTRYA *r = (RASENTRYA *)(void *)storage;
    uint32_t bytes = 0;

    fresh();
    CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Numbers", NULL, &bytes, NULL, NULL), 603);
    CHECK_EQ(bytes, 3480 + 16);
    CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Nowhere", NULL, NULL, NULL, NULL), 623);
    CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Numbers", r, NULL, NULL, NULL), 87);
    for (size_t i = 0; i < COUNT_OF(narrow); i++) {
        const char *list;

        memset(storage, 0xA5, sizeof storage);
        r->dwSize = narrow[i];
        bytes = narrow[i];
        CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Numbers", r, &bytes, NULL, NULL), 603);
        CHECK_EQ(bytes, narrow[i] + 16);
        CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Numbers", r, &bytes, NULL, NULL), 0);
        CHECK_STR(r->szDeviceType, "modem");
        CHECK_STR(r->szLocalPhoneNumber, "5550100");
        REQUIRE(r->dwAlternateOffset == narrow[i]);
        list = (const char *)storage + narrow[i];
        CHECK_STR(list, "5550101");
        CHECK_STR(list + 8, "B\xFCro 2");
        CHECK_EQ(list[15], 0);
        CHECK_EQ((uint8_t)list[16], 0xA5);
        r->dwSize = narrow[i] + 1;
        CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Numbers", r, &bytes, NULL, NULL), 632);
    }
    bytes = ROOM;
    r->dwSize = sizeof *r;
    CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Office", r, &bytes, NULL, NULL), 0);
    CHECK_EQ(bytes, sizeof *r);
    CHECK_EQ(r->dwAlternateOffset, 0);
    CHECK_EQ(r->dwNetworkOutageTime, 1800);
    CHECK_STR(r->szPrerequisiteEntry, "ISP");
    CHECK_STR(r->szIDi, "me");
    check_bytes(&r->ipv6addr, "20010DB8000000000000000000000007");
    CHECK_EQ(sim->knob(NULL, "entry_size", 3496), 0); /* S8.63 */
    CHECK_EQ(sim_RasGetEntryPropertiesA(book_path, "Office", NULL, &bytes, NULL, NULL), 603);
    CHECK_EQ(bytes, 1796);
}

/* --- RasGetSubEntryHandle ---------------------------------------------------------------------------------------------- */

static uint32_t RASAPI_CALL on_func2(uintptr_t id, uint32_t subentry, HRASCONN handle, uint32_t message, uint32_t state,
                                     uint32_t error, uint32_t extended_error)
{
    (void)id, (void)subentry, (void)handle, (void)message, (void)state, (void)error, (void)extended_error;
    return 1;
}

static HRASCONN dial(const char *entry, uint32_t subentry)
{
    RASDIALPARAMSW params;
    HRASCONN handle = NULL;

    memset(&params, 0, sizeof params);
    params.dwSize = sizeof params;
    params.dwSubEntry = subentry;
    CHECK_EQ(rasx__to_utf16(entry, params.szEntryName, COUNT_OF(params.szEntryName), NULL), 0);
    CHECK_EQ(api->RasDialW(NULL, book, &params, 2, (void *)(uintptr_t)on_func2, &handle), 0);
    return handle;
}

/* "8192" or "code 6". */
static const char *status(HRASCONN handle)
{
    static char text[32];
    RASCONNSTATUSW s = { .dwSize = sizeof s };
    const uint32_t code = api->RasGetConnectStatusW(handle, &s);

    snprintf(text, sizeof text, code == 0 ? "%u" : "code %u", (unsigned)(code == 0 ? s.rasconnstate : code));
    return text;
}

static void hang_up(HRASCONN handle)
{
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(handle), "code 6");
}

TEST(test_s4_10_handles_of_links)
{
    HRASCONN handle, one, two, other;
    rasx_sim_counters held;

    fresh();
    handle = dial("Bundle", 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 1, &one), 6); /* not connected yet */
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 1, NULL), 87);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 1, &one), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 2, &two), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 3, &other), 259);
    CHECK_EQ(api->RasGetSubEntryHandleW(NULL, 1, &other), 6);
    CHECK(one != two && one != handle && two != handle);
    CHECK_STR(status(one), "8192");
    sim->counters(&held);
    CHECK_EQ(held.ports, 2);
    CHECK_EQ(api->RasHangUpW(two), 0); /* S8.48: that link goes, the rest stays */
    CHECK_STR(status(two), "8193");
    CHECK_EQ(sim->advance(60000 * MS), 0);
    CHECK_STR(status(two), "8193"); /* and never becomes 6 */
    CHECK_STR(status(one), "8192");
    CHECK_STR(status(handle), "8192");
    CHECK_EQ(sim->knob(NULL, "link_gone", 2), 0);
    CHECK_STR(status(two), "code 6");
    CHECK_EQ(sim->knob(NULL, "link_gone", 0), 0);
    CHECK_STR(status(two), "8192");
    CHECK_EQ(api->RasHangUpW(two), 6);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 2, &other), 618);
    sim->counters(&held);
    CHECK_EQ(held.ports, 1);
    CHECK_EQ(held.handles, 1);
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)one, 829), 0); /* the last link, by the other side */
    CHECK_STR(status(one), "code 6");
    CHECK_STR(status(handle), "code 6");
    sim->counters(&held);
    CHECK_EQ(held.handles + held.ports + held.references, 0);
}

TEST(test_s4_10_one_link_of_an_entry_that_is_dialled_as_needed)
{
    HRASCONN handle, link;

    fresh();
    handle = dial("Needed", 2);
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_STR(status(handle), "8192");
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 1, &link), 618);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 2, &link), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 3, &link), 259);
    hang_up(handle);
    CHECK_STR(status(link), "code 6");
    CHECK_EQ(api->RasHangUpW(link), 6);
    handle = dial("Office", 0);
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 1, &link), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 2, &link), 259);
    hang_up(handle);
}

TEST(test_s8_74_a_link_that_failed_has_no_handle)
{
    HRASCONN handle, link;

    fresh();
    CHECK_EQ(sim->script("Bundle", "multilink2"), 0);
    handle = dial("Bundle", 0);
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_STR(status(handle), "8192");
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 1, &link), 0);
    CHECK_EQ(api->RasGetSubEntryHandleW(handle, 2, &link), 618);
    hang_up(handle);
}

/* --- The core: versions ------------------------------------------------------------------------------------------------- */

static rasapi   table;
static uint32_t largest, asked[64], asked_count; /* the largest dwSize that is known; what was asked with */
static uint32_t told_links, told_mode;
static int      grows;

static uint32_t RASAPI_CALL fake_properties(const char16_t *phonebook, const char16_t *entry, RASENTRYW *record, uint32_t *bytes,
                                            uint8_t *device_info, uint32_t *device_bytes)
{
    (void)phonebook, (void)entry, (void)device_info, (void)device_bytes;
    if (asked_count < COUNT_OF(asked)) asked[asked_count++] = record->dwSize;
    if (record->dwSize > largest) return 632;
    if (*bytes < record->dwSize + 100 && grows-- > 0) {
        *bytes = record->dwSize + 100;
        return 603;
    }
    if (record->dwSize > RASENTRYW_SIZE_400) {
        record->dwSubEntries = told_links;
        record->dwDialMode = told_mode;
    }
    record->dwType = RASET_Vpn;
    return 0;
}

/* S8.63: a system that does not know a version says 632; the next older one is asked, and the answer remembered. */
TEST(test_s8_63_rasentry_steps_down_on_632)
{
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        rasx_client *client;
        RASENTRYW *record;

        largest = versions[COUNT_OF(versions) - 1 - i];
        asked_count = 0;
        told_links = 2;
        grows = 2;
        memset(&table, 0, sizeof table);
        CHECK_EQ(rasx__open_table(&table, rasx__clock_real(), NULL, &client), 0);
        CHECK_EQ(rasx__entry_properties(client, NULL, u"x", &record), RASX_E_NOT_AVAILABLE); /* S8.77 */
        table.RasGetEntryPropertiesW = fake_properties;
        REQUIRE(rasx__entry_properties(client, NULL, u"x", &record) == 0);
        CHECK_EQ(asked_count, i + 2); /* one for each version, one more because it grew */
        for (size_t k = 0; k < i; k++) CHECK_EQ(asked[k], versions[COUNT_OF(versions) - 1 - k]);
        CHECK_EQ(record->dwSubEntries, largest == RASENTRYW_SIZE_400 ? 0 : 2);
        CHECK_EQ(record->fIsImsConfig, 0); /* beyond an old version: 0, and readable */
        free(record);
        asked_count = 0;
        grows = 0;
        REQUIRE(rasx__entry_properties(client, NULL, u"x", &record) == 0);
        CHECK_EQ(asked_count, 1);
        CHECK_EQ(asked[0], largest);
        free(record);
        CHECK_EQ(rasx_close(client, 1000), 0);
    }
}

/* S8.61, S8.63: neither a list that grows for ever nor a system that knows no version at all is asked for ever. */
TEST(test_s8_63_a_system_that_never_agrees)
{
    rasx_client *client;
    RASENTRYW *record;

    memset(&table, 0, sizeof table);
    table.RasGetEntryPropertiesW = fake_properties;
    CHECK_EQ(rasx__open_table(&table, rasx__clock_real(), NULL, &client), 0);
    largest = 0;
    asked_count = 0;
    CHECK_EQ(rasx__entry_properties(client, NULL, u"x", &record), 632);
    CHECK(record == NULL);
    CHECK_EQ(asked_count, COUNT_OF(versions));
    CHECK_EQ(rasx_close(client, 1000), 0);
}

TEST(test_s8_63_the_machine_as_an_old_system)
{
    rasx_client *client;
    RASENTRYW *record;
    uint32_t bytes = 0;

    fresh();
    CHECK_EQ(sim->knob(NULL, "entry_size", 3496), 0);
    CHECK_EQ(get("Bundle", NULL, &bytes), 603);
    CHECK_EQ(bytes, 3496);
    CHECK_EQ(rasx_open("sim", book_path, &client), 0);
    REQUIRE(rasx__entry_properties(client, book, u"Bundle", &record) == 0);
    CHECK_EQ(record->dwSubEntries, 2);
    CHECK_EQ(record->dwRedialCount, 0);
    CHECK_EQ(sim->calls("RasGetEntryPropertiesW"), 1 + 6);
    free(record);
    CHECK_EQ(rasx_close(client, 1000), 0);
}

/* --- The core: links of a dial ------------------------------------------------------------------------------------------ */

static rasx__event dialled;
static uintptr_t   dial_id;
static rasx__a32   state_now, error_now, code_now;

static uint32_t RASAPI_CALL fake_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                      uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    (void)extensions, (void)phonebook, (void)notifier_type, (void)notifier;
    dial_id = params->dwCallbackId;
    *connection = (HRASCONN)(uintptr_t)0x1000;
    rasx__event_set(&dialled);
    return 0;
}

static uint32_t RASAPI_CALL fake_hang_up(HRASCONN connection)
{
    (void)connection;
    rasx__store(&code_now, 6);
    return 0;
}

static uint32_t RASAPI_CALL fake_status(HRASCONN connection, RASCONNSTATUSW *s)
{
    (void)connection;
    s->rasconnstate = rasx__load(&state_now);
    s->dwError = rasx__load(&error_now);
    return rasx__load(&code_now);
}

typedef struct story { /* one dial over the fake */
    rasx_client *client;
    rasx_queue  *queue;
    rasx_dial    dial;
    rasx_event   outcome;
    uint32_t     count, errors; /* events; those with an error that decided nothing */
} story;

static story begin(uint32_t links, uint32_t mode, int has_properties)
{
    static int once;
    story s;
    rasx_dial_options o = { .size = sizeof o, .notifier = RASX_NOTIFIER_FUNC2, .entry = "x", .timeout_ms = RASX_FOREVER };

    if (!once) CHECK_EQ(rasx__event_init(&dialled), 0);
    once = 1;
    memset(&s, 0, sizeof s);
    memset(&table, 0, sizeof table);
    table.RasDialW = fake_dial;
    table.RasHangUpW = fake_hang_up;
    table.RasGetConnectStatusW = fake_status;
    table.RasGetEntryPropertiesW = has_properties ? fake_properties : NULL;
    largest = RASENTRYW_SIZE_A00;
    told_links = links;
    told_mode = mode;
    grows = 0;
    asked_count = 0;
    rasx__store(&state_now, 2);
    rasx__store(&error_now, 0);
    rasx__store(&code_now, 0);
    CHECK_EQ(rasx__open_table(&table, rasx__clock_real(), NULL, &s.client), 0);
    CHECK_EQ(rasx_queue_open(s.client, NULL, NULL, &s.queue), 0);
    CHECK_EQ(rasx_dial_start(s.queue, &o, &s.dial), 0);
    CHECK_EQ(rasx__event_wait(&dialled, RASX_NEVER), 1);
    return s;
}

static void tell(uint32_t subentry, uint32_t state, uint32_t error)
{
    CHECK_EQ(rasx__on_ras_dial_func2(dial_id, subentry, (HRASCONN)(uintptr_t)0x1000, 0xCCCD, state, error, 0), 1);
}

/* Until SETTLED; then everything is closed. */
static void end(story *s)
{
    int settled = 0;

    while (!settled) {
        rasx_event events[32];
        uint32_t ready, count;

        CHECK_EQ(rasx_queue_wait(s->queue, RASX_FOREVER, 0, &ready), 0);
        CHECK_EQ(rasx_queue_drain(s->queue, events, 32, &count), 0);
        for (uint32_t i = 0; i < count; i++) {
            if (events[i].outcome == RASX_OUTCOME_SETTLED) settled = 1;
            else if (events[i].outcome != RASX_OUTCOME_NONE) s->outcome = events[i];
            else s->errors += events[i].error != 0;
            s->count += !settled;
        }
    }
    if (s->outcome.outcome == RASX_OUTCOME_CONNECTED) {
        uint32_t result;

        CHECK_EQ(rasx_hang_up(s->client, 0x1000, 0, 0, 1000, &result), 0);
    }
    CHECK_EQ(rasx_close(s->client, 1000), 0);
    rasx_queue_close(s->queue);
}

/* S8.74: with links known beforehand not even the first news, an error, is taken for that of the whole. */
TEST(test_s8_74_the_error_of_one_link_decides_nothing)
{
    story s = begin(2, RASEDM_DialAll, 1);

    tell(1, 2, 676);
    tell(1, 23, 0);
    tell(2, 22, 0);
    tell(2, 8192, 0); /* with any dwSubEntry */
    end(&s);
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_CONNECTED);
    CHECK_EQ(s.outcome.subentry, 2);
    CHECK_EQ(s.errors, 1);
    CHECK_EQ(s.count, 4);
    s = begin(3, RASEDM_DialAll, 1);
    tell(3, 2, 676);
    tell(2, 2, 678);
    tell(3, 22, 0); /* it came after all */
    tell(1, 2, 680);
    tell(0, 8192, 0);
    end(&s);
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_CONNECTED);
}

TEST(test_s8_74_every_link_fails_and_the_first_error_is_told)
{
    story s = begin(2, RASEDM_DialAll, 1);

    tell(2, 6, 691);
    tell(2, 23, 691);
    tell(1, 2, 676);
    end(&s);
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_FAILED);
    CHECK_EQ(s.outcome.error, 691);
    CHECK_EQ(s.outcome.origin, RASX_FROM_NOTIFIER);
    CHECK_EQ(s.errors, 3); /* each link's own news stays what it was */
    s = begin(2, RASEDM_DialAll, 1); /* the last one does not say why */
    tell(1, 2, 676);
    tell(2, 23, 0);
    end(&s);
    CHECK_EQ(s.outcome.error, 676);
    CHECK_EQ(s.outcome.state, 23);
    s = begin(2, RASEDM_DialAll, 1); /* or RAS says it of the whole */
    tell(1, 2, 676);
    tell(1, 8193, 0);
    end(&s);
    CHECK_EQ(s.outcome.error, 676);
    CHECK_EQ(s.outcome.state, 8193);
}

/* S2.3d: where the number is not known, several that have been seen are several; the status of the whole decides. */
TEST(test_s8_74_without_the_properties_the_status_decides)
{
    story s = begin(0, 0, 0);

    tell(1, 0, 0);
    tell(2, 0, 0);
    tell(1, 2, 676);
    tell(2, 2, 678);
    rasx__store(&error_now, 678);
    end(&s);
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_FAILED);
    CHECK_EQ(s.outcome.error, 676);
    CHECK_EQ(s.outcome.origin, RASX_FROM_POLL);
}

/* One link, by the phone book or because it is dialled as needed: its error is that of the dial, at once. */
TEST(test_an_error_of_the_only_link_decides)
{
    story s = begin(1, 0, 1);

    tell(1, 2, 676);
    end(&s);
    CHECK_EQ(s.outcome.error, 676);
    CHECK_EQ(s.outcome.state, 2);
    s = begin(2, RASEDM_DialAsNeeded, 1);
    tell(2, 0, 0); /* the second is the one that is dialled */
    tell(2, 2, 676);
    end(&s);
    CHECK_EQ(s.outcome.error, 676);
    CHECK_EQ(s.outcome.state, 2);
}

/* S8.18: a pause that is announced twice is one pause; giving up with a code is the outcome. */
TEST(test_s8_18_43_a_repeated_pause_and_giving_up)
{
    rasx_dial_options o = { .size = sizeof o, .notifier = RASX_NOTIFIER_FUNC2, .entry = "x", .timeout_ms = RASX_FOREVER,
                            .options = RDEOPT_PausedStates };
    rasx_answer none = { .size = sizeof none, .error = 703 };
    uint32_t paused = 1;
    story s = begin(1, 0, 1), other = s;

    CHECK_EQ(rasx_dial_paused(s.dial, &paused), 0);
    CHECK_EQ(paused, 0);
    CHECK_EQ(rasx_dial_resume(s.dial, &none), RASX_E_NOT_PAUSED);
    CHECK_EQ(rasx_dial_start(s.queue, &o, &other.dial), 0);
    CHECK_EQ(rasx__event_wait(&dialled, RASX_NEVER), 1);
    tell(1, RASCS_InvokeEapUI, 0);
    CHECK_EQ(rasx_dial_paused(other.dial, &paused), 0);
    CHECK_EQ(paused, 1);
    CHECK_EQ(rasx_dial_resume(other.dial, &none), 0);
    CHECK_EQ(rasx_dial_paused(other.dial, &paused), 0);
    CHECK_EQ(paused, 0);
    end(&other); /* closes the client, which cancels the first dial */
    CHECK_EQ(other.outcome.error, 703);
    CHECK_EQ(other.outcome.origin, RASX_FROM_CORE);
    CHECK_EQ(other.outcome.outcome, RASX_OUTCOME_FAILED);
    CHECK_EQ(rasx_dial_paused(other.dial, &paused), RASX_E_UNKNOWN_DIAL);
}

#define TESTS(X)                                                                                                              \
    X(test_s4_8_what_the_phone_book_says) X(test_s8_51_52_every_version_and_no_other) X(test_s4_0_protocol_and_errors)         \
    X(test_s8_61_alternates_behind_the_record) X(test_s8_61_the_a_form) X(test_s4_10_handles_of_links)                         \
    X(test_s4_10_one_link_of_an_entry_that_is_dialled_as_needed) X(test_s8_74_a_link_that_failed_has_no_handle)                \
    X(test_s8_63_rasentry_steps_down_on_632) X(test_s8_63_a_system_that_never_agrees)                                          \
    X(test_s8_63_the_machine_as_an_old_system) X(test_s8_74_the_error_of_one_link_decides_nothing)                             \
    X(test_s8_74_every_link_fails_and_the_first_error_is_told) X(test_s8_74_without_the_properties_the_status_decides)         \
    X(test_an_error_of_the_only_link_decides) X(test_s8_18_43_a_repeated_pause_and_giving_up)
TEST_MAIN(TESTS)
