/* test_engine.c: the contract of RasDial, RasHangUp, RasGetConnectStatus and RasEnumConnections, and of the control table.
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything goes through a `const rasapi *` and a control table, got in one place, so that the same tests can run over a
 * rasapi32.dll. Nearly all run on the virtual clock and are driven by advance(), so they neither sleep nor depend on speed.
 */
#include "testhelp.h"

#include "../../csrc/os.h"
#include "../../csrc/ras_ext.h"
#include "../../csrc/rasapi.h"
#include "../../csrc/text.h"

#define MS UINT64_C(1000000)
#define FUNC2 2u

enum { NARROW = sizeof(void *) == 4, MOST = 20000, STRESS = 500 };

static const rasapi *api;
static const rasx_sim_api *sim;

/* The one place that knows whose functions these are. */
static void connect_tables(void)
{
    api = rasapi_sim();
    sim = rasx_sim_get_api();
}

/* --- The recorder ------------------------------------------------------------------------------------------------------ */

typedef struct call {
    uintptr_t id;
    uint32_t  subentry, state, error, extended_error, message;
    HRASCONN  handle;
    uint64_t  time_ns;
    int       before_return; /* RasDial had not returned */
    int       on_caller;     /* the thread that called RasDial */
} call;

static rasx__mutex record_lock = RASX_MUTEX_INIT;
static call        record[MOST];
static uint32_t    recorded;
static rasx__a32   in_dial;
static RASX_THREAD_LOCAL int is_caller;
static uint32_t    answer_zero_at;      /* state at which the handler returns 0; NONE */
static uint32_t    hang_up_at, dial_at; /* states at which the handler does that */
static uint32_t    done_code;           /* what it got */
static uint32_t    block_at;            /* state at which it waits for `unblock` */
static rasx__a32   blocked, unblock, at_once, most_at_once, linger;
#define NONE 0xFFFFFFFFu

static RASDIALPARAMSW make_params(const char *entry, uintptr_t id);
static HRASCONN       other_handle;

static uint32_t RASAPI_CALL on_func2(uintptr_t id, uint32_t subentry, HRASCONN handle, uint32_t message, uint32_t state,
                                     uint32_t error, uint32_t extended_error)
{
    uint32_t now_inside = rasx__add(&at_once, 1) + 1;

    if (now_inside > rasx__load(&most_at_once))
        rasx__store(&most_at_once, now_inside);
    rasx__lock(&record_lock);
    if (recorded < MOST) {
        call *c = &record[recorded++];

        c->id = id;
        c->subentry = subentry;
        c->handle = handle;
        c->message = message;
        c->state = state;
        c->error = error;
        c->extended_error = extended_error;
        c->time_ns = sim->now_ns();
        c->before_return = rasx__load(&in_dial) != 0;
        c->on_caller = is_caller;
    }
    rasx__unlock(&record_lock);
    if (state == hang_up_at)
        done_code = api->RasHangUpW(handle);
    if (state == dial_at) {
        RASDIALPARAMSW params = make_params("Home", 99);

        done_code = api->RasDialW(NULL, NULL, &params, FUNC2, (void *)(uintptr_t)on_func2, &other_handle);
    }
    if (state == block_at) {
        rasx__store(&blocked, 1);
        while (rasx__load(&unblock) == 0)
            rasx__yield();
    }
    for (uint64_t end = rasx__now_ns() + 200 * MS; rasx__load(&linger) != 0 && rasx__load(&most_at_once) < 2 && rasx__now_ns() < end;)
        rasx__yield();
    rasx__sub(&at_once, 1);
    return state != answer_zero_at;
}

static void RASAPI_CALL on_func1(HRASCONN handle, uint32_t message, uint32_t state, uint32_t error, uint32_t extended_error)
{
    (void)on_func2(1001, 0, handle, message, state, error, extended_error);
}

static void RASAPI_CALL on_func(uint32_t message, uint32_t state, uint32_t error)
{
    (void)on_func2(1000, 0, NULL, message, state, error, 0);
}

static void forget_record(void)
{
    rasx__lock(&record_lock);
    recorded = 0;
    rasx__unlock(&record_lock);
}

static uint32_t record_count(void)
{
    uint32_t count;

    rasx__lock(&record_lock);
    count = recorded;
    rasx__unlock(&record_lock);
    return count;
}

/* "0 1 2 2/678 22@2": the calls of a dial (id 0: of all), error after a slash, a subentry other than 1 and 0 after an @. */
static const char *story(uintptr_t id)
{
    static char text[8192];
    size_t used = 0;

    text[0] = '\0';
    rasx__lock(&record_lock);
    for (uint32_t i = 0; i < recorded && used + 40 < sizeof text; i++) {
        const call *c = &record[i];

        if (id != 0 && c->id != id)
            continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", used == 0 ? "" : " ", c->state);
        if (c->error != 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "/%u", c->error);
        if (c->subentry > 1)
            used += (size_t)snprintf(text + used, sizeof text - used, "@%u", c->subentry);
    }
    rasx__unlock(&record_lock);
    return text;
}

/* --- The phone book and the machine ------------------------------------------------------------------------------------ */

static char     book_path[1024];
static char16_t book[1024];

static void temp_file(char *path, size_t room, const char *name)
{
    const char *folder = getenv("TMPDIR");

    if (folder == NULL) folder = getenv("TEMP");
    if (folder == NULL) folder = "/tmp";
    snprintf(path, room, "%s/rasx-engine-%lu-%s", folder, (unsigned long)rasx__process_id(), name);
}

#define VPN_TAIL "MEDIA=rastapi\r\nPort=VPN2-0\r\nDevice=WAN Miniport (IKEv2)\r\n\r\nDEVICE=vpn\r\nPhoneNumber=vpn.example.net\r\n\r\n"
#define MODEM_TAIL "MEDIA=serial\r\nPort=COM3\r\nDevice=Standard Modem\r\n\r\nDEVICE=modem\r\nPhoneNumber=5550100\r\n\r\n"

static void remove_book(void)
{
    remove(book_path);
}

static void write_book(void)
{
    static const char fixed[] =
        "[Office]\r\nType=2\r\nGuid=1F8E2C7A90B34D4EA15C6D7F0E213B48\r\n\r\n" VPN_TAIL
        "[Home]\r\nType=5\r\n\r\nMEDIA=rastapi\r\nPort=PPPoE5-0\r\nDevice=WAN Miniport (PPPOE)\r\n\r\nDEVICE=PPPoE\r\nPhoneNumber=\r\n\r\n"
        "[Modem]\r\nType=1\r\n\r\n" MODEM_TAIL
        "[Bundle]\r\nType=1\r\nDialMode=1\r\n\r\n" MODEM_TAIL MODEM_TAIL
        "[Needed]\r\nType=1\r\nDialMode=2\r\n\r\n" MODEM_TAIL MODEM_TAIL
        "[Chain]\r\nType=1\r\n\r\nMEDIA=serial\r\nPort=COM1\r\nDevice=Standard Modem\r\n\r\nDEVICE=modem\r\nPhoneNumber=1\r\n\r\n"
        "DEVICE=pad\r\nPhoneNumber=2\r\n\r\n"
        "[Custom]\r\nType=2\r\nCustomRasDialDll=custom.dll\r\n\r\n" VPN_TAIL;
    static int written;
    FILE *file;

    if (written)
        return;
    written = 1;
    temp_file(book_path, sizeof book_path, "book.pbk");
    CHECK_EQ(rasx__to_utf16(book_path, book, sizeof book / sizeof *book, NULL), 0);
    file = fopen(book_path, "wb");
    CHECK(file != NULL);
    if (file == NULL)
        return;
    fputs(fixed, file);
    for (int i = 0; i < STRESS; i++)
        fprintf(file, "[VPN %d]\r\nType=2\r\n\r\n" VPN_TAIL, i);
    fclose(file);
    (void)atexit(remove_book);
}

static rasx_sim_counters counters(void)
{
    rasx_sim_counters c;

    sim->counters(&c);
    return c;
}

static void check_empty(void)
{
    rasx_sim_counters c = counters();

    CHECK_EQ(c.handles, 0);
    CHECK_EQ(c.references, 0);
    CHECK_EQ(c.threads, 0);
    CHECK_EQ(c.ports, 0);
}

static void fresh_real(void)
{
    connect_tables();
    write_book();
    CHECK_EQ(sim->reset(1), 0);
    forget_record();
    answer_zero_at = hang_up_at = dial_at = block_at = NONE;
    done_code = NONE;
    other_handle = NULL;
    rasx__store(&blocked, 0);
    rasx__store(&unblock, 0);
    rasx__store(&at_once, 0);
    rasx__store(&most_at_once, 0);
    rasx__store(&linger, 0);
}

static void fresh(void)
{
    fresh_real();
    CHECK_EQ(sim->clock(1), 0);
}

static void set(const char *knob, int64_t value)
{
    CHECK_EQ(sim->knob(NULL, knob, value), 0);
}

static RASDIALPARAMSW make_params(const char *entry, uintptr_t id)
{
    RASDIALPARAMSW params;

    memset(&params, 0, sizeof params);
    params.dwSize = sizeof params;
    params.dwCallbackId = id;
    CHECK_EQ(rasx__to_utf16(entry, params.szEntryName, RAS_MaxEntryName + 1, NULL), 0);
    return params;
}

static uint32_t dial_with(RASDIALPARAMSW *params, uint32_t options, HRASCONN *handle)
{
    RASDIALEXTENSIONS extensions;
    uint32_t code;

    memset(&extensions, 0, sizeof extensions);
    extensions.dwSize = sizeof extensions;
    extensions.dwfOptions = options;
    is_caller = 1;
    rasx__store(&in_dial, 1);
    code = api->RasDialW(&extensions, book, params, FUNC2, (void *)(uintptr_t)on_func2, handle);
    rasx__store(&in_dial, 0);
    is_caller = 0;
    return code;
}

static uint32_t dial(const char *entry, uintptr_t id, HRASCONN *handle)
{
    RASDIALPARAMSW params = make_params(entry, id);

    *handle = NULL;
    return dial_with(&params, 0, handle);
}

static void credentials(RASDIALPARAMSW *params, const char *user, const char *password)
{
    CHECK_EQ(rasx__to_utf16(user, params->szUserName, RAS_MaxUserName + 1, NULL), 0);
    CHECK_EQ(rasx__to_utf16(password, params->szPassword, RAS_MaxPassword + 1, NULL), 0);
}

/* "8192/0", or "=6" when the call said so. */
static const char *status(HRASCONN handle)
{
    static char text[64];
    RASCONNSTATUSW s;
    uint32_t code;

    memset(&s, 0, sizeof s);
    s.dwSize = sizeof s;
    code = api->RasGetConnectStatusW(handle, &s);
    if (code != 0)
        snprintf(text, sizeof text, "=%u", code);
    else
        snprintf(text, sizeof text, "%u/%u", s.rasconnstate, s.dwError);
    return text;
}

static uint32_t list(RASCONNW *all, uint32_t room)
{
    uint32_t bytes = room * (uint32_t)sizeof *all;
    uint32_t count = 0;

    memset(all, 0, bytes);
    all[0].dwSize = sizeof *all;
    CHECK_EQ(api->RasEnumConnectionsW(all, &bytes, &count), 0);
    return count;
}

static void hang_up(HRASCONN handle)
{
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->advance(200 * MS), 0);
    CHECK_STR(status(handle), "=6");
}

#define VPN_STORY "0 1 2 3 4 5 6 10 6 18 14 24 8192"
#define MODEM_STORY "0 1 2 3 4 5 6 10 6 11 12 18 14 8192"

/* --- A dial from beginning to end -------------------------------------------------------------------------------------- */

TEST(test_dial_connects_and_hangs_up)
{
    RASCONNW all[4];
    RASCONNSTATUSW s;
    HRASCONN handle;
    char name[80];
    uint64_t begin;

    fresh();
    begin = sim->now_ns();
    CHECK_EQ(dial("Office", 7, &handle), 0);
    CHECK(handle != NULL);
    CHECK_EQ(record_count(), 0);
    CHECK_EQ(counters().threads, 1);
    CHECK_EQ(counters().ports, 1);
    CHECK_EQ(list(all, 4), 0); /* S4.2: only once connected */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(7), VPN_STORY);
    CHECK_STR(status(handle), "8192/0");
    CHECK_EQ(record[0].message, 0xCCCD);
    for (uint32_t i = 0; i < record_count(); i++) { /* S10.2: steps of 1 to 20 ms */
        uint64_t step = record[i].time_ns - (i == 0 ? begin : record[i - 1].time_ns);

        CHECK(step >= MS && step <= 20 * MS);
        CHECK(record[i].handle == handle);
    }
    CHECK_EQ(counters().threads, 0); /* an established connection holds no thread */
    CHECK_EQ(counters().handles, 1);
    CHECK_EQ(list(all, 4), 1);
    CHECK(all[0].hrasconn == handle);
    rasx__to_utf8(all[0].szEntryName, 80, name, sizeof name);
    CHECK_STR(name, "Office");
    rasx__to_utf8(all[0].szDeviceName, 80, name, sizeof name);
    CHECK_STR(name, "WAN Miniport (IKEv2)");
    CHECK_EQ(((const uint8_t *)&all[0].guidEntry)[0], 0x1F);
    memset(&s, 0, sizeof s);
    s.dwSize = sizeof s;
    CHECK_EQ(api->RasGetConnectStatusW(handle, &s), 0);
    rasx__to_utf8(s.szPhoneNumber, 80, name, sizeof name);
    CHECK_STR(name, "vpn.example.net");
    rasx__to_utf8(s.szDeviceType, 17, name, sizeof name);
    CHECK_STR(name, "vpn");
    CHECK_EQ(s.localEndPoint.dwType, RASTUNNELENDPOINT_IPv4);

    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_STR(status(handle), "8193/0");
    CHECK_EQ(list(all, 4), 0);
    CHECK_EQ(counters().ports, 1);
    CHECK_EQ(sim->advance(99 * MS), 0);
    CHECK_STR(status(handle), "8193/0");
    CHECK_EQ(sim->advance(MS), 0);
    CHECK_STR(status(handle), "=6");
    CHECK_STR(story(7), VPN_STORY);
    check_empty();
}

static const struct { const char *script, *expected, *status; } stories[] = {
    { "vpn_ok", VPN_STORY, "8192/0" },
    { "pppoe_ok", VPN_STORY, "8192/0" },
    { "modem_ok", MODEM_STORY, "8192/0" },
    { "connect_now", "8192", "8192/0" },
    { "slow", VPN_STORY, "8192/0" },
    { "auth_fail", "0 1 2 3 4 5 6 6/691", "6/691" },
    { "unreachable", "0 1 2 2/868", "2/868" },
    { "busy", "0 0/633", "0/633" },
    { "modem_noanswer", "0 1 2 2/678", "2/678" },
    { "retry", "0 1 2 3 4 5 6 6/691", "6/691" },     /* S8.36: paused states off */
    { "expired", "0 1 2 3 4 5 6 6/648", "6/648" },
    { "interactive", "0 1 2 3 4 4/703", "4/703" },
    { "eap_ui", "0 1 2 3 4 5 5/703", "5/703" },
    { "callback", "0 1 2 3 4 5 6 8 15 16 17 2 3 4 13 6 10 6 18 14 8192", "8192/0" },
    { "multilink2", "0 0@2 1 1@2 2 2@2 3 4 5 6 10 6 18 14 22 2/676@2 23@2 8192", "8192/0" },
    { "drop", VPN_STORY, "8192/0" }
};

TEST(test_default_scripts)
{
    enum { COUNT = sizeof stories / sizeof *stories };
    uint32_t known = 0;

    fresh();
    while (sim->script_name(known) != NULL)
        known++;
    CHECK_EQ(known, COUNT);
    CHECK_EQ(sim->script(NULL, "no such script"), 87);
    for (int i = 0; i < COUNT; i++) {
        HRASCONN handle;

        forget_record();
        CHECK_EQ(sim->script("office", stories[i].script), 0); /* names without ASCII case */
        CHECK_EQ(dial("Office", 1, &handle), 0);
        CHECK_EQ(sim->advance(strcmp(stories[i].script, "slow") == 0 ? 10000 * MS : 600 * MS), 0);
        CHECK_STR(story(1), stories[i].expected);
        CHECK_STR(status(handle), stories[i].status);
        CHECK_EQ(counters().threads, 0);
        hang_up(handle);
        check_empty();
    }
}

TEST(test_sequence_fits_the_devices)
{
    HRASCONN handle;
    RASDIALPARAMSW params;

    fresh();
    CHECK_EQ(dial("Home", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), VPN_STORY);
    hang_up(handle);
    CHECK_EQ(dial("Modem", 2, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(2), MODEM_STORY);
    hang_up(handle);
    CHECK_EQ(dial("Chain", 3, &handle), 0); /* S2.3a: one pair of states a device */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(3), "0 1 2 3 2 3 4 5 6 10 6 18 14 8192");
    hang_up(handle);
    params = make_params("Needed", 4); /* S1.2: dial as needed begins with dwSubEntry; an invalid one means the first */
    params.dwSubEntry = 2;
    handle = NULL;
    CHECK_EQ(dial_with(&params, 0, &handle), 0);
    CHECK_EQ(counters().ports, 1);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(4), "0@2 1@2 2@2 3@2 4@2 5@2 6@2 10@2 6@2 11@2 12@2 18@2 14@2 8192@2");
    hang_up(handle);
    params.dwSubEntry = 9;
    params.dwCallbackId = 5;
    handle = NULL;
    CHECK_EQ(dial_with(&params, 0, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(5), MODEM_STORY);
    hang_up(handle);
    check_empty();
}

TEST(test_argument_checks_in_order)
{
    RASDIALPARAMSW params = make_params("Nowhere", 0);
    RASDIALEXTENSIONS extensions;
    HRASCONN handle = NULL;
    void *notifier = (void *)(uintptr_t)on_func2;
    static const char16_t missing[] = { '/', 'n', 'o', '/', 'b', 'o', 'o', 'k', 0 };

    fresh();
    memset(&extensions, 0, sizeof extensions);
    CHECK_EQ(api->RasDialW(NULL, book, NULL, 2, notifier, &handle), 87);
    CHECK_EQ(api->RasDialW(NULL, book, &params, 2, notifier, NULL), 87);
    params.dwSize--;
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 2, notifier, &handle), 632);
    params.dwSize++;
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 2, notifier, &handle), 632); /* its dwSize is 0 */
    extensions.dwSize = sizeof extensions;
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 3, notifier, &handle), 87);
#ifndef _WIN32
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 0xFFFFFFFFu, notifier, &handle), 87); /* no windows here */
#endif
    handle = (HRASCONN)(uintptr_t)4711;
    CHECK_EQ(api->RasDialW(&extensions, missing, &params, 2, notifier, &handle), 6); /* S8.3: garbage is a resume */
    handle = NULL;
    CHECK_EQ(api->RasDialW(&extensions, missing, &params, 2, notifier, &handle), 621);
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 2, notifier, &handle), 623);
    params = make_params("", 0);
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 2, notifier, &handle), 623);
    params = make_params("Custom", 0);
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 2, notifier, &handle), 755);
    CHECK(handle == NULL);
    CHECK_EQ(record_count(), 0);
    extensions.dwfOptions = RDEOPT_CustomDial;
    CHECK_EQ(api->RasDialW(&extensions, book, &params, 2, notifier, &handle), 0);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->advance(200 * MS), 0);
    check_empty();
}

TEST(test_s8_52_every_size_version)
{
    static const uint32_t params_sizes[] = { 2096, NARROW ? 2104 : 2108, NARROW ? 2108 : 2112, NARROW ? 2112 : 2120 };
    static const uint32_t extensions_sizes[] = { NARROW ? 16 : 24, NARROW ? 28 : 44, NARROW ? 40 : 60 };
    static const uint32_t status_sizes[] = { 304, 564, 608 };
    uint8_t storage[2200];
    HRASCONN handle;

    fresh();
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    for (size_t i = 0; i < 4; i++) {
        RASDIALPARAMSW params = make_params("Office", 77);
        RASDIALEXTENSIONS extensions;

        memset(storage, 0xEE, sizeof storage);
        memcpy(storage, &params, sizeof params);
        memcpy(storage, &params_sizes[i], 4);
        memset(storage + params_sizes[i], 0xEE, sizeof storage - params_sizes[i]); /* what an old caller does not have */
        memset(&extensions, 0, sizeof extensions);
        extensions.dwSize = extensions_sizes[i % 3];
        handle = NULL;
        forget_record();
        CHECK_EQ(api->RasDialW(&extensions, book, (RASDIALPARAMSW *)(void *)storage, 2, (void *)(uintptr_t)on_func2, &handle), 0);
        CHECK_EQ(sim->advance(MS), 0);
        CHECK_EQ(record_count(), 1);
        CHECK_EQ(record[0].id, i == 0 ? 0 : 77);
        CHECK_EQ(storage[params_sizes[i]], 0xEE);
        hang_up(handle);
    }
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(MS), 0);
    for (uint32_t size = 0; size < 700; size++) {
        RASCONNSTATUSW *s = (RASCONNSTATUSW *)(void *)storage;
        int known = size == status_sizes[0] || size == status_sizes[1] || size == status_sizes[2];

        memset(storage, 0xEE, sizeof storage);
        s->dwSize = size;
        CHECK_EQ(api->RasGetConnectStatusW(handle, s), known ? 0 : 632);
        CHECK_EQ(storage[known ? size : 4], 0xEE);
        CHECK_EQ(s->dwSize, size);
        if (known)
            CHECK_EQ(s->rasconnstate, 8192);
    }
    CHECK_EQ(api->RasGetConnectStatusW(handle, NULL), 87);
    hang_up(handle);
}

static void until_no_threads(void)
{
    while (counters().threads != 0)
        rasx__yield();
}

TEST(test_s8_32_synchronous_dial)
{
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;

    fresh();
    CHECK_EQ(api->RasDialW(NULL, book, &params, 0xDEADBEEF, NULL, &handle), 0); /* the virtual clock is driven by the wait */
    CHECK_STR(status(handle), "8192/0");
    until_no_threads(); /* the worker ends by itself, a moment after the outcome */
    hang_up(handle);
    CHECK_EQ(sim->script("Office", "auth_fail"), 0);
    handle = NULL;
    CHECK_EQ(api->RasDialW(NULL, book, &params, 0, NULL, &handle), 691);
    CHECK(handle != NULL); /* S8.1 */
    CHECK_STR(status(handle), "6/691");
    hang_up(handle);
    CHECK_EQ(sim->script("Office", "retry"), 0); /* S1.3: a pause becomes a failure, whatever the options say */
    {
        RASDIALEXTENSIONS extensions;

        memset(&extensions, 0, sizeof extensions);
        extensions.dwSize = sizeof extensions;
        extensions.dwfOptions = RDEOPT_PausedStates;
        handle = NULL;
        CHECK_EQ(api->RasDialW(&extensions, book, &params, 0, NULL, &handle), 691);
    }
    hang_up(handle);
    check_empty();
}

typedef struct sync_dial {
    HRASCONN  handle;
    uint32_t  code;
    rasx__a32 done;
} sync_dial;

static void sync_main(void *argument)
{
    sync_dial *s = argument;
    RASDIALPARAMSW params = make_params("Office", 1);

    s->code = api->RasDialW(NULL, book, &params, 0, NULL, &s->handle);
    rasx__store(&s->done, 1);
}

TEST(test_synchronous_dial_hung_up_from_outside)
{
    static sync_dial s;
    RASCONNW all[1];

    fresh_real();
    memset(&s, 0, sizeof s);
    set("list_dialing", 1);
    CHECK_EQ(sim->script_steps("Office", NULL, 0), 0); /* a dial in which nothing ever happens */
    REQUIRE(rasx__thread_start(sync_main, &s) == 0);
    do {
        rasx__yield();
        all[0].dwSize = sizeof all[0];
    } while (list(all, 1) == 0);
    CHECK_EQ(api->RasHangUpW(all[0].hrasconn), 0);
    while (rasx__load(&s.done) == 0)
        rasx__yield();
    CHECK_EQ(s.code, 631);
    CHECK(s.handle == all[0].hrasconn);
    CHECK_EQ(sim->reset(1), 0);
}

/* --- Handles and lifetime ---------------------------------------------------------------------------------------------- */

TEST(test_s8_01_02_error_with_and_without_handle)
{
    HRASCONN handle;

    fresh();
    set("dial_code", 711);
    CHECK_EQ(dial("Office", 1, &handle), 711);
    CHECK(handle == NULL);
    check_empty();
    set("dial_code_handle", 1);
    CHECK_EQ(dial("Office", 1, &handle), 711);
    CHECK(handle != NULL);
    CHECK_STR(status(handle), "0/711");
    set("dial_code", 0);
    CHECK_EQ(sim->settle(), 0);
    CHECK_EQ(record_count(), 0);
    {
        HRASCONN second;

        CHECK_EQ(dial("Office", 2, &second), 756); /* S8.4: not hung up, still in the way */
        CHECK(second == NULL);
    }
    hang_up(handle);
    set("dial_code", 711);
    set("dial_code_notify", 1);
    CHECK_EQ(dial("Office", 3, &handle), 711);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(3), "0 0/711");
    hang_up(handle);
    set("dial_code_handle", 0);
    CHECK_EQ(dial("Office", 4, &handle), 711);
    CHECK(handle == NULL);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(4), "0 0/711");
    check_empty();
}

TEST(test_s8_04_45_ports_and_redial)
{
    HRASCONN a, b, c;

    fresh();
    CHECK_EQ(sim->ports("vpn", 1), 0);
    CHECK_EQ(sim->script("Office", "unreachable"), 0);
    CHECK_EQ(dial("Office", 1, &a), 0);
    CHECK_EQ(dial("VPN 0", 2, &b), 633);
    CHECK_EQ(dial("Home", 3, &c), 0); /* another kind of port */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(a), "2/868");
    CHECK_EQ(dial("VPN 0", 2, &b), 633); /* the failed one still has it */
    CHECK_EQ(api->RasHangUpW(a), 0);
    CHECK_EQ(dial("VPN 0", 2, &b), 633); /* closing */
    CHECK_EQ(dial("Office", 1, &b), 756);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_EQ(dial("VPN 0", 2, &b), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(b), "8192/0");
    hang_up(b);
    hang_up(c);
    CHECK_EQ(sim->ports("modem", 1), 0);
    CHECK_EQ(dial("Bundle", 4, &a), 633); /* two links, one port */
    CHECK_EQ(sim->ports("modem", 0xFFFFFFFF), 0);
    CHECK_EQ(dial("Bundle", 4, &a), 0);
    CHECK_EQ(counters().ports, 2);
    hang_up(a);
    check_empty();
}

TEST(test_s8_05_notifications_before_return)
{
    HRASCONN handle;
    uint32_t early = 0;

    fresh();
    set("early", 3);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(record_count(), 3);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), VPN_STORY);
    for (uint32_t i = 0; i < recorded; i++)
        early += (uint32_t)record[i].before_return;
    CHECK_EQ(early, 3);
    CHECK_EQ(record[0].on_caller, 0);
    hang_up(handle);

    for (int script = 0; script < 4; script++) { /* all of them, the outcome or a pause included, also on the caller's thread */
        static const char *const names[] = { "vpn_ok", "auth_fail", "busy", "unreachable" };

        set("early", 1000);
        set("early_on_caller", script % 2);
        CHECK_EQ(sim->script("Office", names[script]), 0);
        forget_record();
        CHECK_EQ(dial("Office", 1, &handle), 0);
        CHECK(record_count() > 1);
        for (uint32_t i = 0; i < recorded; i++) {
            CHECK_EQ(record[i].before_return, 1);
            CHECK_EQ(record[i].on_caller, script % 2);
        }
        CHECK_EQ(sim->settle(), 0);
        CHECK_EQ(counters().threads, 0);
        hang_up(handle);
    }
    CHECK_EQ(sim->script_steps("Office", NULL, 0), 0); /* RasDial returns although nothing early will ever come */
    CHECK_EQ(dial("Office", 1, &handle), 0);
    hang_up(handle);
    check_empty();
}

typedef struct blocked_dial {
    uint32_t  code;
    HRASCONN  handle;
    rasx__a32 done;
} blocked_dial;

static void blocked_main(void *argument)
{
    blocked_dial *b = argument;

    b->code = dial("Office", 1, &b->handle);
    rasx__store(&b->done, 1);
}

TEST(test_s8_07_dial_that_does_not_return)
{
    static blocked_dial b;

    for (int round = 0; round < 2; round++) {
        fresh();
        memset(&b, 0, sizeof b);
        set("block_dial", 1);
        REQUIRE(rasx__thread_start(blocked_main, &b) == 0);
        while (sim->calls("RasDialW") == 0 || counters().threads == 0)
            rasx__yield();
        CHECK_EQ(sim->advance(1000 * MS), 0); /* the dial itself goes on */
        CHECK_STR(story(1), VPN_STORY);
        CHECK_EQ(rasx__load(&b.done), 0);
        if (round == 0) {
            while (rasx__load(&b.done) == 0) {
                sim->release();
                rasx__yield();
            }
            CHECK_EQ(b.code, 0);
            CHECK_STR(status(b.handle), "8192/0");
            hang_up(b.handle);
            check_empty();
        } else {
            CHECK_EQ(sim->reset(0), RASX_E_STILL_OPEN);
            CHECK_EQ(sim->reset(1), 0); /* a reset frees it too */
            while (rasx__load(&b.done) == 0)
                rasx__yield();
        }
    }
    fresh();
    set("dial_delay_ms", 50);
    {
        uint64_t begin = sim->now_ns();

        CHECK_EQ(dial("Office", 1, &b.handle), 0);
        CHECK_EQ(sim->now_ns() - begin, 50 * MS);
        CHECK(record_count() > 1);
    }
}

TEST(test_s8_10_hang_up_inside_the_handler)
{
    static const uint32_t at[] = { 0, 5, 8192 };
    HRASCONN handle;

    for (int i = 0; i < 3; i++) {
        fresh();
        hang_up_at = at[i];
        CHECK_EQ(dial("Office", 1, &handle), 0);
        CHECK_EQ(sim->advance(1000 * MS), 0);
        CHECK_EQ(done_code, 0);
        CHECK_EQ(record[recorded - 1].state, at[i]);
        CHECK_STR(status(handle), "=6");
        check_empty();
    }
    fresh(); /* nothing is closed before the handler returns */
    hang_up_at = block_at = 2;
    CHECK_EQ(sim->clock(0), 0);
    CHECK_EQ(sim->knob("Office", "hangup_delay_ms", 0), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    while (rasx__load(&blocked) == 0)
        rasx__yield();
    CHECK_STR(status(handle), "8193/0");
    CHECK_EQ(counters().ports, 1);
    rasx__store(&unblock, 1);
    while (counters().handles != 0 || counters().threads != 0)
        rasx__yield();
    check_empty();
}

TEST(test_s8_11_notifications_after_hang_up)
{
    static const int finals[] = { 0, 1, 2 };
    static const char *const expected[] = { "0", "0 8193", "0 8193/631" };
    HRASCONN handle;

    for (int i = 0; i < 3; i++) {
        fresh();
        set("final_on_hangup", finals[i]);
        CHECK_EQ(dial("Office", 1, &handle), 0);
        while (record_count() == 0)
            CHECK_EQ(sim->advance(MS), 0);
        CHECK_EQ(api->RasHangUpW(handle), 0);
        CHECK_EQ(sim->settle(), 0);
        CHECK_STR(story(1), expected[i]);
        CHECK_EQ(counters().threads, 0); /* the worker woke at once */
        CHECK_EQ(sim->advance(1000 * MS), 0);
        check_empty();
    }
    fresh();
    set("late", 2);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_STR(story(1), VPN_STORY);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), VPN_STORY " 8192 8192");
    CHECK_STR(status(handle), "=6");
    check_empty();
}

TEST(test_s8_12_49_second_hang_up_and_unknown_handles)
{
    HRASCONN handle;

    fresh();
    CHECK_EQ(api->RasHangUpW(NULL), 6);
    CHECK_EQ(api->RasHangUpW((HRASCONN)(uintptr_t)0x1234), 6);
    CHECK_STR(status((HRASCONN)(uintptr_t)0x1234), "=6");
    CHECK_EQ(dial("Office", 1, &handle), 0);
    set("hangup_code", 753);
    CHECK_EQ(api->RasHangUpW(handle), 753);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(handle), "8192/0");
    set("hangup_code", 0);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(api->RasHangUpW(handle), 6);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(api->RasHangUpW(handle), 6);
    check_empty();
}

TEST(test_s8_13_handle_values)
{
    HRASCONN first, second;

    fresh();
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    CHECK_EQ(dial("Office", 1, &first), 0);
    hang_up(first);
    CHECK_EQ(dial("Office", 2, &second), 0);
    CHECK(second != first);
    if (!NARROW)
        CHECK((uint64_t)(uintptr_t)second > UINT32_MAX);
    hang_up(second);
    set("reuse_handles", 1);
    CHECK_EQ(dial("Office", 3, &first), 0);
    CHECK(first == second);
    hang_up(first);
}

/* --- Notifications ----------------------------------------------------------------------------------------------------- */

TEST(test_s8_19_20_21_after_an_error)
{
    static const char *const expected[] = { "0 1 2 2/868", "0 1 2 2/868 8193", "0 1 2 2/868 8193/868" };
    HRASCONN handle;

    for (int i = 0; i < 3; i++) {
        fresh();
        CHECK_EQ(sim->script("Office", "unreachable"), 0);
        CHECK_EQ(sim->knob("Office", "error_then", i), 0);
        CHECK_EQ(dial("Office", 1, &handle), 0);
        CHECK_EQ(sim->advance(1000 * MS), 0);
        CHECK_STR(story(1), expected[i]);
        CHECK_STR(status(handle), i == 0 ? "2/868" : "8193/868"); /* S2.5: the error stays */
        hang_up(handle);
    }
}

TEST(test_s8_18_22_repeated_skipped_and_silent)
{
    HRASCONN handle;

    fresh();
    set("repeat_percent", 100);
    CHECK_EQ(sim->script("Office", "busy"), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 0 0/633 0/633");
    hang_up(handle);
    fresh();
    set("skip_percent", 100);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(45 * MS), 0); /* two steps take at most 20 ms each */
    CHECK(strcmp(status(handle), "0/0") != 0); /* entered, not announced */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "8192");
    hang_up(handle);
    fresh();
    set("silent", 4);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2");
    CHECK_STR(status(handle), "8192/0");
    hang_up(handle);
    {
        static const rasx_sim_step steps[] = { { 5, 0, 0, 0, 0, 0 }, { 5, 1, 0, 0, 0, RASX_SIM_SILENT }, { 5, 8192, 0, 0, 0, 0 } };

        fresh();
        CHECK_EQ(sim->script_steps("Office", steps, 3), 0);
        CHECK_EQ(dial("Office", 1, &handle), 0);
        CHECK_EQ(sim->advance(10 * MS), 0);
        CHECK_STR(status(handle), "1/0");
        CHECK_EQ(sim->advance(5 * MS), 0);
        CHECK_STR(story(1), "0 8192");
        hang_up(handle);
    }
}

TEST(test_s8_24_26_unknown_states_and_codes)
{
    static const rasx_sim_step steps[] = { { 1, 25, 0, 0, 0, 0 }, { 1, 0x1005, 0, 0, 0, 0 }, { 1, 3, 0x80420112, 0, 0, 0 } };
    static const rasx_sim_step done[] = { { 1, 645, 0, 0, 0, 0 }, { 1, 8194, 0, 0, 0, 0 } };
    static const rasx_sim_step extended[] = { { 1, 5, 0, 0, 0, 0 }, { 1, 5, 645, 4711, 0, 0 } };
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;

    fresh();
    CHECK_EQ(sim->script_steps("Office", steps, 3), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(status(handle), "4101/0");
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(1), "25 4101 3/2151809298");
    hang_up(handle);
    fresh();
    CHECK_EQ(sim->script_steps("Office", done, 2), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(1), "645 8194"); /* the DONE bit ends it */
    CHECK_EQ(counters().threads, 0);
    hang_up(handle);
    CHECK_EQ(sim->script_steps("Office", extended, 2), 0);
    forget_record();
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_EQ(record[1].extended_error, 4711);
    hang_up(handle);
}

TEST(test_s8_28_handler_returns_zero)
{
    HRASCONN handle;

    fresh();
    answer_zero_at = 2;
    CHECK_EQ(dial("Bundle", 1, &handle), 0);
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_STR(story(1), "0 0@2 1 1@2 2"); /* for all subentries */
    CHECK_STR(status(handle), "8192/0");
    hang_up(handle);
}

TEST(test_s8_29_30_kinds_and_callback_id)
{
    RASDIALPARAMSW params = make_params("Office", 0);
    HRASCONN handle = NULL;
    uintptr_t big = (uintptr_t)UINT64_C(0xFEDCBA9876543210);

    fresh();
    CHECK_EQ(sim->script(NULL, "busy"), 0);
    params.dwCallbackId = big;
    CHECK_EQ(dial_with(&params, 0, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK(recorded == 2 && record[0].id == big);
    hang_up(handle);
    handle = NULL;
    CHECK_EQ(api->RasDialW(NULL, book, &params, 1, (void *)(uintptr_t)on_func1, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(1001), "0 0/633");
    CHECK(record[2].handle == handle);
    hang_up(handle);
    handle = NULL;
    CHECK_EQ(api->RasDialW(NULL, book, &params, 0, (void *)(uintptr_t)on_func, &handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(1000), "0 0/633");
    hang_up(handle);
}

TEST(test_s8_33_dial_stands_still_while_the_handler_runs)
{
    HRASCONN handle;

    fresh_real();
    block_at = 2;
    CHECK_EQ(sim->knob("Office", "slow_device", 0), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    while (rasx__load(&blocked) == 0)
        rasx__yield();
    for (uint64_t end = rasx__now_ns() + 60 * MS; rasx__now_ns() < end;) /* three of the longest steps */
        rasx__yield();
    CHECK_STR(story(1), "0 1 2");
    CHECK_STR(status(handle), "2/0");
    rasx__store(&unblock, 1);
    while (strcmp(status(handle), "8192/0") != 0)
        rasx__yield();
    while (counters().threads != 0)
        rasx__yield();
    CHECK_STR(story(1), VPN_STORY);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->reset(1), 0);

    fresh(); /* slow device: the dial goes on beside the handler, in virtual time too */
    block_at = 2;
    set("slow_device", 1);
    CHECK_EQ(dial("Modem", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2");
    CHECK_STR(status(handle), "8192/0");
    rasx__store(&unblock, 1);
    while (counters().threads != 0)
        rasx__yield();
    CHECK_STR(story(1), MODEM_STORY); /* still in order */
    hang_up(handle);
    check_empty();
}

TEST(test_s8_34_dial_inside_the_handler)
{
    HRASCONN handle;

    fresh();
    dial_at = 3;
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(done_code, 87);
    CHECK(other_handle == NULL);
    CHECK_STR(story(1), VPN_STORY);
    hang_up(handle);
}

TEST(test_s1_6_other_threads)
{
    HRASCONN handle;

    fresh();
    set("threads", 1);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), VPN_STORY);
    CHECK_EQ(rasx__load(&most_at_once), 1);
    hang_up(handle);
    fresh();
    set("threads", 2);
    rasx__store(&linger, 1); /* handlers wait a little for company */
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(record_count(), 13);
    CHECK_EQ(rasx__load(&most_at_once), 2);
    CHECK_STR(status(handle), "8192/0");
    hang_up(handle);
    check_empty();
}

TEST(test_by_callback)
{
    HRASCONN a, b;

    fresh();
    set("by_callback", 1);
    CHECK_EQ(dial("Nowhere", 1, &a), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(1), "0 0/623");
    CHECK_STR(status(a), "0/623");
    hang_up(a);
    CHECK_EQ(dial("Office", 2, &a), 0);
    CHECK_EQ(dial("Office", 3, &b), 0);
    CHECK(a != b);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(3), "0 0/756");
    CHECK_STR(story(2), VPN_STORY);
    hang_up(b);
    CHECK_STR(status(a), "8192/0");
    CHECK_EQ(sim->ports("vpn", 1), 0);
    CHECK_EQ(dial("VPN 1", 4, &b), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(4), "0 0/633");
    hang_up(b);
    hang_up(a);
    check_empty();
}

/* --- Pauses ------------------------------------------------------------------------------------------------------------ */

TEST(test_s8_37_pause_and_resume)
{
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;
    HRASCONN same;

    fresh();
    CHECK_EQ(sim->script("Office", "retry"), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 87); /* S1.7.5: not paused yet */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2 3 4 5 6 4097");
    CHECK_STR(status(handle), "4097/0");
    same = handle;
    CHECK_EQ(api->RasDialW(NULL, book, &params, 1, (void *)(uintptr_t)on_func1, &handle), 87); /* another notifier */
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK(handle == same);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 87); /* resumed already */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2 3 4 5 6 4097 7 6 10 6 18 14 8192");
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 87);
    hang_up(handle);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 6);

    CHECK_EQ(sim->script("Office", "expired"), 0);
    forget_record();
    handle = NULL;
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2 3 4 5 6 4099 9 6 10 6 18 14 8192");
    hang_up(handle);
    check_empty();
}

TEST(test_s8_39_40_43_hang_up_instead_and_pause_with_error)
{
    static const rasx_sim_step steps[] = { { 1, 6, 0, 0, 0, 0 }, { 1, 4097, 691, 0, 0, 0 }, { 1, 8192, 0, 0, 0, 0 } };
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;

    fresh();
    CHECK_EQ(sim->script("Office", "eap_ui"), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(handle), "4100/0");
    hang_up(handle);
    CHECK_STR(story(1), "0 1 2 3 4 5 4100");
    forget_record();
    CHECK_EQ(sim->script_steps("Office", steps, 3), 0);
    handle = NULL;
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(handle), "4097/691");
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "6 4097/691 8192");
    hang_up(handle);
    check_empty();
}

TEST(test_s8_41_star_as_callback_number)
{
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;

    fresh();
    params.szCallbackNumber[0] = '*';
    CHECK_EQ(dial_with(&params, 0, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2 3 4 5 6 8 8/704");
    hang_up(handle);
    forget_record();
    handle = NULL;
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(status(handle), "4098/0");
    params.szCallbackNumber[0] = '5';
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2 3 4 5 6 8 4098 15 16 17 2 3 4 13 6 10 6 18 14 8192");
    hang_up(handle);
    check_empty();
}

TEST(test_s8_42_several_pauses_until_the_password_is_right)
{
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;

    fresh();
    CHECK_EQ(sim->account("Office", "ada", "right"), 0);
    credentials(&params, "ada", "wrong");
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0); /* the same again */
    CHECK_EQ(sim->advance(1000 * MS), 0);
    credentials(&params, "ada", "right");
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), "0 1 2 3 4 5 6 4097 7 6 4097 7 6 10 6 18 14 8192");
    hang_up(handle);
    check_empty();
}

TEST(test_s4_7_accounts)
{
    static const struct { const char *user, *password; uint32_t code; } tries[] = {
        { "ada", "Grüße 1815", 0 }, { "ADA", "Grüße 1815", 0 }, { "ada", "grüße 1815", 691 }, { "bob", "Grüße 1815", 691 },
        { "ada", "", 691 }, { "", "", 691 }, { "ada", "****************", 0 }, { "bob", "****************", 691 },
        { "ada", "***************", 691 }, { "ada", "*****************", 691 }
    };
    char long_password[257];

    fresh();
    CHECK_EQ(sim->account("Office", "ada", "Grüße 1815"), 0);
    CHECK_EQ(sim->save_credentials("Office", "ada", "Grüße 1815", "DOMAIN"), 0);
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        RASDIALPARAMSW params = make_params("Office", 1);
        HRASCONN handle = NULL;

        credentials(&params, tries[i].user, tries[i].password);
        CHECK_EQ(api->RasDialW(NULL, book, &params, 0, NULL, &handle), tries[i].code);
        hang_up(handle);
    }
    CHECK_EQ(sim->save_credentials("Office", "ada", "old password", NULL), 0);
    {
        RASDIALPARAMSW params = make_params("Office", 1);
        HRASCONN handle = NULL;

        credentials(&params, "ada", "****************");
        CHECK_EQ(api->RasDialW(NULL, book, &params, 0, NULL, &handle), 691);
        hang_up(handle);
        memset(long_password, 'p', 256);
        long_password[256] = '\0';
        CHECK_EQ(sim->account("Office", "ada", long_password), 0); /* S8.59 */
        credentials(&params, "ada", long_password);
        handle = NULL;
        CHECK_EQ(api->RasDialW(NULL, book, &params, 0, NULL, &handle), 0);
        hang_up(handle);
        CHECK_EQ(sim->account("Office", NULL, NULL), 0);
        credentials(&params, "who", "ever");
        handle = NULL;
        CHECK_EQ(api->RasDialW(NULL, book, &params, 0, NULL, &handle), 0);
        hang_up(handle);
    }
    check_empty();
}

/* --- Hang-up, references, drops ---------------------------------------------------------------------------------------- */

TEST(test_s8_44_what_is_said_of_a_gone_handle)
{
    HRASCONN handle;

    fresh();
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    CHECK_EQ(sim->knob("Office", "gone_code", 668), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(MS), 0);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(status(handle), "=668");
    CHECK_STR(status((HRASCONN)(uintptr_t)1), "=6");
    set("gone_code", 668);
    CHECK_STR(status((HRASCONN)(uintptr_t)1), "=6"); /* never was a handle */

    fresh();
    set("never_gone", 1);
    set("closing_state", 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->advance(100000 * MS), 0);
    CHECK_STR(status(handle), "8192/0");
    check_empty();
    CHECK_EQ(api->RasHangUpW(handle), 6);
    CHECK_EQ(dial("Office", 1, &handle), 0); /* it is not in the way */
    set("never_gone", 0);
    hang_up(handle);
}

TEST(test_s4_16_stub_status)
{
    RASCONNSTATUSW s;

    fresh();
    set("status_stub", 1);
    memset(&s, 0xEE, sizeof s);
    CHECK_EQ(api->RasGetConnectStatusW((HRASCONN)(uintptr_t)5, &s), 0);
    CHECK_EQ(s.rasconnstate, 0xEEEEEEEE);
}

TEST(test_s8_35_46_connected_entry_gets_a_reference)
{
    HRASCONN first, second;

    fresh();
    CHECK_EQ(dial("Office", 1, &first), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(dial("OFFICE", 2, &second), 0);
    CHECK(second == first);
    CHECK_EQ(counters().references, 2);
    CHECK_EQ(counters().handles, 1);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(2), "8192");
    set("known_notify", 0);
    CHECK_EQ(dial("Office", 3, &second), 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_STR(story(3), "");
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(api->RasHangUpW(first), 0);
        CHECK_EQ(sim->advance(1000 * MS), 0);
        CHECK_STR(status(first), "8192/0");
    }
    hang_up(first);
    check_empty();
}

TEST(test_s8_47_entry_is_being_dialled)
{
    HRASCONN first, second;

    fresh();
    CHECK_EQ(dial("Office", 1, &first), 0);
    CHECK_EQ(dial("Office", 2, &second), 756);
    CHECK(second == NULL);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(0), VPN_STORY);
    hang_up(first);
}

TEST(test_s8_50_dropped_by_the_other_side)
{
    RASCONNW all[1];
    HRASCONN handle;

    fresh();
    CHECK_EQ(sim->drop(4711, 829), 6);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)handle, 829), 0);
    CHECK_STR(status(handle), "=6"); /* and the reason is lost */
    CHECK_EQ(list(all, 1), 0);
    CHECK_EQ(api->RasHangUpW(handle), 6);
    check_empty();

    CHECK_EQ(sim->script("Office", "drop"), 0); /* a second after Connected, and no thread waits for it */
    CHECK_EQ(dial("Office", 2, &handle), 0);
    while (strcmp(status(handle), "8192/0") != 0)
        CHECK_EQ(sim->advance(MS), 0);
    CHECK_EQ(counters().threads, 0);
    CHECK_EQ(sim->advance(990 * MS), 0);
    CHECK_STR(status(handle), "8192/0");
    CHECK_EQ(sim->advance(10 * MS), 0);
    CHECK_STR(status(handle), "=6");
    check_empty();

    CHECK_EQ(sim->script("Office", NULL), 0); /* while dialling: a failure like any other */
    CHECK_EQ(dial("Office", 3, &handle), 0);
    while (strcmp(story(3), "0 1 2") != 0)
        CHECK_EQ(sim->advance(MS), 0);
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)handle, 809), 0);
    CHECK_EQ(sim->settle(), 0);
    CHECK_STR(story(3), "0 1 2 2/809");
    CHECK_STR(status(handle), "2/809");
    hang_up(handle);
    check_empty();
}

TEST(test_hang_up_of_many_at_different_times)
{
    enum { COUNT = 100 };
    HRASCONN handles[COUNT];
    uint64_t seed = 7;
    char name[32];

    fresh();
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "VPN %d", i);
        CHECK_EQ(sim->knob(name, "hangup_delay_ms", 1 + (int64_t)(test_random(&seed) % 500)), 0);
        CHECK_EQ(dial(name, (uintptr_t)i + 1, &handles[i]), 0);
    }
    CHECK_EQ(sim->advance(MS), 0);
    CHECK_EQ(counters().references, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(api->RasHangUpW(handles[i]), 0);
    for (uint32_t before = COUNT, now; before > 0; before = now) {
        CHECK_EQ(sim->advance(MS), 0);
        now = counters().handles;
        CHECK(now <= before);
    }
    check_empty();
}

/* --- Lists ------------------------------------------------------------------------------------------------------------- */

TEST(test_s8_73_list_of_connections)
{
    RASCONNW all[4];
    RASDIALPARAMSW params = make_params("", 9);
    HRASCONN office, number = NULL;
    uint32_t bytes = 0, count = 0;
    char name[64];

    fresh();
    CHECK_EQ(dial("Office", 1, &office), 0);
    CHECK_EQ(rasx__to_utf16("555 0199", params.szPhoneNumber, RAS_MaxPhoneNumber + 1, NULL), 0);
    CHECK_EQ(dial_with(&params, 0, &number), 0); /* S1.2: without an entry */
    CHECK_EQ(list(all, 4), 0);
    set("list_dialing", 1);
    CHECK_EQ(list(all, 4), 2);
    set("list_dialing", 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(9), MODEM_STORY);
    CHECK_EQ(api->RasEnumConnectionsW(NULL, &bytes, &count), 603);
    CHECK_EQ(bytes, 2 * sizeof *all);
    CHECK_EQ(count, 2);
    CHECK_EQ(list(all, 4), 2);
    CHECK(all[0].hrasconn == office && all[1].hrasconn == number);
    rasx__to_utf8(all[1].szEntryName, 60, name, sizeof name);
    CHECK_STR(name, ".555 0199");
    CHECK_EQ(all[1].szPhonebook[0], 0);
    hang_up(number);
    hang_up(office);
    check_empty();
}

/* What the Connected handler sees (S4.2). */
static uint32_t RASAPI_CALL on_connected(uintptr_t id, uint32_t subentry, HRASCONN handle, uint32_t message, uint32_t state,
                                         uint32_t error, uint32_t extended_error)
{
    (void)id; (void)subentry; (void)message; (void)error; (void)extended_error;
    if (state == 8192) {
        RASCONNW all[2];

        CHECK_EQ(list(all, 2), 1);
        CHECK(all[0].hrasconn == handle);
        CHECK_STR(status(handle), "8192/0");
        done_code = 0;
    }
    return 1;
}

TEST(test_listed_before_the_connected_handler_runs)
{
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;

    fresh();
    CHECK_EQ(api->RasDialW(NULL, book, &params, 2, (void *)(uintptr_t)on_connected, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(done_code, 0);
    hang_up(handle);
}

TEST(test_s8_74_multilink)
{
    static const rasx_sim_step all_fail[] = { { 1, 2, 0, 0, 1, 0 }, { 1, 2, 0, 0, 2, 0 }, { 1, 2, 676, 0, 1, 0 },
                                              { 1, 23, 0, 0, 1, 0 }, { 1, 2, 678, 0, 2, 0 }, { 1, 8192, 0, 0, 0, 0 } };
    HRASCONN handle;

    fresh();
    CHECK_EQ(dial("Bundle", 1, &handle), 0);
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_STR(story(1), "0 0@2 1 1@2 2 2@2 3 3@2 4 4@2 5 5@2 6 6@2 10 10@2 6 6@2 18 18@2 14 14@2 22 22@2 8192");
    CHECK_STR(status(handle), "8192/0");
    hang_up(handle);
    CHECK_EQ(sim->script_steps("Bundle", all_fail, 6), 0);
    forget_record();
    CHECK_EQ(dial("Bundle", 1, &handle), 0);
    CHECK_EQ(sim->advance(3 * MS), 0);
    CHECK_STR(status(handle), "2/0"); /* one link's failure is not the dial's */
    CHECK_EQ(sim->advance(2000 * MS), 0);
    CHECK_STR(story(1), "2 2@2 2/676 23 2/678@2");
    CHECK_STR(status(handle), "2/678");
    hang_up(handle);
    check_empty();
}

/* --- The control table ------------------------------------------------------------------------------------------------- */

static size_t read_file(const char *path, char *text, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t count = 0;

    if (file != NULL) {
        count = fread(text, 1, room - 1, file);
        fclose(file);
    }
    text[count] = '\0';
    return count;
}

TEST(test_faults_calls_and_journal)
{
    static char text[8192];
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;
    char path[1024];
    int lines = 0;

    fresh();
    temp_file(path, sizeof path, "journal");
    CHECK_EQ(sim->journal("/no such folder/journal") != 0, 1);
    CHECK_EQ(sim->journal(path), 0);
    CHECK_EQ(sim->fault("RasNothing", 5, 0, 0), 87);
    CHECK_EQ(sim->fault("RasDialW", 5, 1, 2), 0); /* the second and the third call */
    credentials(&params, "ada", "opensesame");
    CHECK_EQ(dial_with(&params, 0, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(dial_with(&params, 0, &handle), 5);
    CHECK_EQ(dial_with(&params, 0, &handle), 5);
    CHECK_EQ(dial_with(&params, 0, &handle), 87);
    CHECK_EQ(sim->fault("RasHangUp", 668, 0, 0), 0);
    CHECK_EQ(api->RasHangUpW(handle), 668);
    CHECK_EQ(api->RasHangUpW(handle), 668);
    CHECK_EQ(sim->fault("RasHangUp", 0, 0, 0), 0);
    hang_up(handle);
    CHECK_EQ(sim->calls("RasDialW"), 4);
    CHECK_EQ(sim->calls("RasHangUp"), 3);
    CHECK_EQ(sim->calls("RasNothing"), 0);
    CHECK_EQ(sim->journal(NULL), 0);
    CHECK_EQ(dial("Nowhere", 1, &handle), 623);
    CHECK(read_file(path, text, sizeof text) > 0);
    remove(path);
    for (const char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    CHECK_EQ(lines, 8); /* four dials, three hang-ups, one status */
    CHECK(strstr(text, "1 ") == text);
    CHECK(strstr(text, " RasDialW entry=\"Office\" kind=2 h=0x") != NULL);
    CHECK(strstr(text, " RasDialW fault -> 5\n") != NULL);
    CHECK(strstr(text, " resume h=0x") != NULL);
    CHECK(strstr(text, " RasHangUpW h=0x") != NULL);
    CHECK(strstr(text, "opensesame") == NULL);
}

TEST(test_knobs_by_name)
{
    const char *about = NULL;
    int64_t initial = -5;
    uint32_t count = 0;
    HRASCONN handle;

    fresh();
    while (sim->knob_name(count, &about, &initial) != NULL) {
        CHECK(about != NULL && about[0] == 'S');
        count++;
    }
    CHECK(count >= 30);
    CHECK_EQ(sim->knob(NULL, "no such knob", 1), 87);
    set("silent", 1);
    CHECK_EQ(sim->knob("Office", "silent", 0), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(1), VPN_STORY);
    hang_up(handle);
    CHECK_EQ(sim->knob("Office", "silent", -1), 0); /* as the machine again */
    CHECK_EQ(dial("Office", 2, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_STR(story(2), "");
    hang_up(handle);
}

TEST(test_the_same_seed_gives_the_same_run)
{
    static call first[200];
    uint32_t count = 0;

    for (int run = 0; run < 3; run++) {
        HRASCONN handles[5];
        uint64_t begin;
        uint32_t different = 0;
        char name[32];

        fresh();
        sim->seed(run == 2 ? 43 : 42);
        set("repeat_percent", 30);
        set("skip_percent", 30);
        begin = sim->now_ns();
        for (int i = 0; i < 5; i++) {
            snprintf(name, sizeof name, "VPN %d", i);
            CHECK_EQ(dial(name, (uintptr_t)i + 1, &handles[i]), 0);
        }
        CHECK_EQ(sim->advance(1000 * MS), 0);
        if (run == 0) {
            count = record_count();
            CHECK(count < 200);
        }
        for (uint32_t i = 0; i < recorded && i < 200; i++) {
            if (run == 0) {
                first[i] = record[i];
                first[i].time_ns -= begin;
            } else {
                different += record[i].id != first[i].id || record[i].state != first[i].state
                             || record[i].time_ns - begin != first[i].time_ns;
            }
        }
        if (run == 1) {
            CHECK_EQ(recorded, count);
            CHECK_EQ(different, 0);
        }
        if (run == 2)
            CHECK(different > 0 || recorded != count);
    }
}

TEST(test_reset_and_clock)
{
    RASDIALPARAMSW params = make_params("Office", 1);
    HRASCONN handle = NULL;
    HRASCONN paused = NULL;

    fresh_real();
    CHECK_EQ(sim->advance(1), 50);
    CHECK_EQ(sim->settle(), 50);
    fresh();
    CHECK_STR(sim->marker, "ras_ext simulated rasapi32");
    CHECK(sim->rasapi() == api);
    CHECK_EQ(sim->script("Office", "retry"), 0);
    CHECK_EQ(dial_with(&params, RDEOPT_PausedStates, &paused), 0);
    CHECK_EQ(sim->clock(0), RASX_E_STILL_OPEN);
    CHECK_EQ(dial("Home", 2, &handle), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK_EQ(sim->reset(0), RASX_E_STILL_OPEN);
    forget_record();
    CHECK_EQ(sim->reset(1), 0);
    CHECK_EQ(record_count(), 0); /* no handler is called by a reset */
    CHECK_STR(status(handle), "=6");
    CHECK_STR(status(paused), "=6");
    check_empty();
    CHECK_EQ(sim->calls("RasDialW"), 0);
    CHECK_EQ(sim->advance(1), 50);
    CHECK_EQ(sim->reset(0), 0);

    CHECK_EQ(sim->clock(1), 0); /* a running delay keeps what is left of it */
    CHECK_EQ(sim->script("Office", "connect_now"), 0);
    CHECK_EQ(dial("Office", 1, &handle), 0);
    CHECK_EQ(sim->settle(), 0);
    CHECK_EQ(sim->knob("Office", "hangup_delay_ms", 100000000), 0);
    CHECK_EQ(api->RasHangUpW(handle), 0);
    CHECK_EQ(sim->advance(99999999 * MS), 0);
    CHECK_EQ(sim->clock(0), 0);
    while (strcmp(status(handle), "=6") != 0)
        rasx__yield();
    check_empty();
}

static void status_main(void *argument)
{
    blocked_dial *b = argument;
    RASCONNSTATUSW s;

    memset(&s, 0, sizeof s);
    s.dwSize = sizeof s;
    CHECK_EQ(api->RasGetConnectStatusW(b->handle, &s), 0);
    rasx__store(&b->done, 1);
    while (rasx__load(&b->done) != 2)
        rasx__yield();
    b->code = api->RasHangUpW(b->handle);
    rasx__store(&b->done, 3);
}

TEST(test_blocking_status_and_hang_up)
{
    static blocked_dial b;

    fresh();
    memset(&b, 0, sizeof b);
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    CHECK_EQ(dial("Office", 1, &b.handle), 0);
    CHECK_EQ(sim->settle(), 0);
    set("block_status", 1);
    set("block_hangup", 1);
    REQUIRE(rasx__thread_start(status_main, &b) == 0);
    while (sim->calls("RasGetConnectStatusW") == 0)
        rasx__yield();
    CHECK_EQ(rasx__load(&b.done), 0);
    while (rasx__load(&b.done) == 0) {
        sim->release();
        rasx__yield();
    }
    rasx__store(&b.done, 2);
    while (sim->calls("RasHangUpW") == 0)
        rasx__yield();
    CHECK_EQ(counters().references, 1);
    while (rasx__load(&b.done) != 3) {
        sim->release();
        rasx__yield();
    }
    CHECK_EQ(b.code, 0);
    CHECK_EQ(sim->advance(100 * MS), 0);
    check_empty();
}

/* --- Many at once, on the real clock ----------------------------------------------------------------------------------- */

static rasx__a32 connected_count;
static rasx__a32 wrong_order[STRESS];

static uint32_t RASAPI_CALL on_stress(uintptr_t id, uint32_t subentry, HRASCONN handle, uint32_t message, uint32_t state,
                                      uint32_t error, uint32_t extended_error)
{
    (void)subentry; (void)handle; (void)message; (void)extended_error;
    if (error != 0 || id >= STRESS)
        return 1;
    rasx__store(&wrong_order[id], rasx__load(&wrong_order[id]) + 1); /* one thread at a time for a dial */
    if (state == 8192)
        rasx__add(&connected_count, 1);
    return 1;
}

TEST(test_stress_many_dials_at_once)
{
    static rasx_sim_step steps[13];
    static HRASCONN handles[STRESS];
    static const uint32_t states[] = { 0, 1, 2, 3, 4, 5, 6, 10, 6, 18, 14, 24, 8192 };
    uint32_t rounds = (uint32_t)test_load(1);
    uint64_t seed = test_setting("RASX_SEED", 1);
    char name[32];

    fresh_real();
    set("hangup_delay_ms", 2);
    for (uint32_t round = 0; round < rounds; round++) {
        rasx__store(&connected_count, 0);
        for (int i = 0; i < STRESS; i++) {
            RASDIALPARAMSW params;

            rasx__store(&wrong_order[i], 0);
            for (size_t k = 0; k < 13; k++) {
                memset(&steps[k], 0, sizeof steps[k]);
                steps[k].state = states[k];
                steps[k].delay_ms = (uint32_t)(test_random(&seed) % 3);
            }
            snprintf(name, sizeof name, "VPN %d", i);
            CHECK_EQ(sim->script_steps(name, steps, 13), 0);
            params = make_params(name, (uintptr_t)i);
            handles[i] = NULL;
            CHECK_EQ(api->RasDialW(NULL, book, &params, 2, (void *)(uintptr_t)on_stress, &handles[i]), 0);
        }
        while (rasx__load(&connected_count) < STRESS)
            rasx__yield();
        for (int i = 0; i < STRESS; i++) {
            CHECK_EQ(rasx__load(&wrong_order[i]), 13);
            CHECK_STR(status(handles[i]), "8192/0");
        }
        CHECK_EQ(counters().references, STRESS);
        for (int i = 0; i < STRESS; i++)
            CHECK_EQ(api->RasHangUpW(handles[i]), 0);
        while (counters().handles > 0 || counters().threads > 0)
            rasx__yield();
        check_empty();
    }
    CHECK_EQ(sim->reset(0), 0);
}

/* Dials that are hung up at any moment of their life, from several threads, with every nasty behaviour that changes threads. */
static rasx__a32 hang_up_threads;

static void hang_up_main(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;

    for (int i = 0; i < 60; i++) {
        char name[32];
        HRASCONN handle = NULL;
        RASDIALPARAMSW params;
        uint32_t code;

        snprintf(name, sizeof name, "VPN %d", (int)(test_random(&seed) % 8));
        params = make_params(name, 5000);
        code = api->RasDialW(NULL, book, &params, 2, (void *)(uintptr_t)on_stress, &handle);
        CHECK(code == 0 || code == 756);
        for (uint64_t spin = test_random(&seed) % 400; spin > 0; spin--)
            rasx__yield();
        if (handle != NULL && test_random(&seed) % 8 == 0)
            (void)sim->drop((uint64_t)(uintptr_t)handle, 829);
        if (handle != NULL) {
            RASCONNSTATUSW s;

            memset(&s, 0, sizeof s);
            s.dwSize = sizeof s;
            code = api->RasGetConnectStatusW(handle, &s);
            CHECK(code == 0 || code == 6);
            code = api->RasHangUpW(handle);
            CHECK(code == 0 || code == 6); /* 6: dropped */
        }
    }
    rasx__sub(&hang_up_threads, 1);
}

TEST(test_stress_hang_up_at_any_moment)
{
    rasx_sim_step steps[13];

    fresh_real();
    set("hangup_delay_ms", 1);
    for (size_t k = 0; k < 13; k++) {
        memset(&steps[k], 0, sizeof steps[k]);
        steps[k].state = k == 12 ? 8192 : (uint32_t)k;
        steps[k].delay_ms = k % 4 == 3;
    }
    CHECK_EQ(sim->script_steps(NULL, steps, 13), 0);
    for (uint32_t round = 0; round < test_load(6); round++) {
        set("threads", (int64_t)(round % 3));
        set("slow_device", (int64_t)(round % 2));
        set("early", (int64_t)(round % 4));
        set("early_on_caller", (int64_t)(round / 2 % 2));
        set("late", (int64_t)(round % 2));
        set("final_on_hangup", (int64_t)(round % 3));
        set("reuse_handles", 0);
        rasx__store(&hang_up_threads, 4);
        for (uintptr_t i = 0; i < 4; i++)
            if (rasx__thread_start(hang_up_main, (void *)(uintptr_t)(round * 4 + i + 1)) != 0)
                rasx__sub(&hang_up_threads, 1);
        while (rasx__load(&hang_up_threads) > 0)
            rasx__yield();
        while (counters().handles > 0 || counters().threads > 0)
            rasx__yield();
        check_empty();
    }
    CHECK_EQ(sim->reset(0), 0);
}

#define TESTS(X)                                                                                                               \
    X(test_dial_connects_and_hangs_up) X(test_default_scripts) X(test_sequence_fits_the_devices)                               \
    X(test_argument_checks_in_order) X(test_s8_52_every_size_version) X(test_s8_32_synchronous_dial)                           \
    X(test_synchronous_dial_hung_up_from_outside) X(test_s8_01_02_error_with_and_without_handle)                               \
    X(test_s8_04_45_ports_and_redial) X(test_s8_05_notifications_before_return) X(test_s8_07_dial_that_does_not_return)        \
    X(test_s8_10_hang_up_inside_the_handler) X(test_s8_11_notifications_after_hang_up)                                         \
    X(test_s8_12_49_second_hang_up_and_unknown_handles) X(test_s8_13_handle_values) X(test_s8_19_20_21_after_an_error)         \
    X(test_s8_18_22_repeated_skipped_and_silent) X(test_s8_24_26_unknown_states_and_codes)                                     \
    X(test_s8_28_handler_returns_zero) X(test_s8_29_30_kinds_and_callback_id)                                                  \
    X(test_s8_33_dial_stands_still_while_the_handler_runs) X(test_s8_34_dial_inside_the_handler) X(test_s1_6_other_threads)    \
    X(test_by_callback) X(test_s8_37_pause_and_resume) X(test_s8_39_40_43_hang_up_instead_and_pause_with_error)                \
    X(test_s8_41_star_as_callback_number) X(test_s8_42_several_pauses_until_the_password_is_right) X(test_s4_7_accounts)       \
    X(test_s8_44_what_is_said_of_a_gone_handle) X(test_s4_16_stub_status) X(test_s8_35_46_connected_entry_gets_a_reference)    \
    X(test_s8_47_entry_is_being_dialled) X(test_s8_50_dropped_by_the_other_side) X(test_hang_up_of_many_at_different_times)    \
    X(test_s8_73_list_of_connections) X(test_listed_before_the_connected_handler_runs) X(test_s8_74_multilink)                 \
    X(test_faults_calls_and_journal) X(test_knobs_by_name) X(test_the_same_seed_gives_the_same_run) X(test_reset_and_clock)    \
    X(test_blocking_status_and_hang_up) X(test_stress_many_dials_at_once) X(test_stress_hang_up_at_any_moment)
TEST_MAIN(TESTS)
