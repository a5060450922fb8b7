/* test_pitfalls.c: the pitfalls of docs/ras-semantics.md, section 8, that only C can show: what happens inside the native handler.
 *
 * SPDX-License-Identifier: MIT
 *
 * The core runs over the simulated machine with the functions in between replaced where a test must see or change a call. All
 * on the virtual clock: "five seconds" are five seconds of the machine's clock, and nothing waits for real time.
 */
#include "../../csrc/core.h"
#include "testhelp.h"

#define MS UINT64_C(1000000)
#define VPN_STORY "0 1 2 3 4 5 6 10 6 18 14 24 8192"

static const rasapi *api;
static const rasx_sim_api *sim;

/* --- The phone book ---------------------------------------------------------------------------------------------------------- */

static char     book_path[1024];
static char16_t book[1024];

static void write_book(void)
{
    static const char *const names[] = { "Office", "Home", "Modem" };
    const char *folder = getenv("TMPDIR");
    FILE *file;

    if (book_path[0] != '\0') return;
    if (folder == NULL) folder = getenv("TEMP");
    if (folder == NULL) folder = "/tmp";
    snprintf(book_path, sizeof book_path, "%s/rasx-pitfalls-%lu.pbk", folder, (unsigned long)rasx__process_id());
    CHECK_EQ(rasx__to_utf16(book_path, book, sizeof book / sizeof *book, NULL), 0);
    file = fopen(book_path, "wb");
    REQUIRE(file != NULL);
    for (int i = 0; i < 3; i++) {
        fprintf(file, "[%s]\r\nType=2\r\n\r\nMEDIA=rastapi\r\nPort=VPN2-0\r\nDevice=WAN Miniport (IKEv2)\r\n\r\nDEVICE=vpn\r\n"
                      "PhoneNumber=vpn.example.net\r\n\r\n", names[i]);
    }
    fclose(file);
}

/* --- The house: a client over a copy of the machine's table, and what its events were -------------------------------------------- */

enum { MOST = 256 };

static struct house {
    rasx_client *client;
    rasx_queue  *queue;
    rasx_event   events[MOST];
    uint32_t     count, settled;
} house;

static rasapi table;

static void open_house(rasx_event_func on_event)
{
    api = rasapi_sim();
    sim = rasx_sim_get_api();
    write_book();
    CHECK_EQ(sim->reset(1), 0);
    CHECK_EQ(sim->clock(1), 0);
    memset(&house, 0, sizeof house);
    table = *api;
    CHECK_EQ(rasx__open_table(&table, sim->clock_object(), book_path, &house.client), 0);
    CHECK_EQ(rasx_queue_open(house.client, on_event, &house, &house.queue), 0);
}

static void close_house(void)
{
    rasx_counters left;

    if (house.client != NULL) CHECK_EQ(rasx_close(house.client, 10000), 0);
    rasx_queue_close(house.queue);
    do rasx_get_counters(&left); while (left.abandoned != 0); /* a handler of the machine may be about to leave */
    CHECK_EQ(left.slots, 0);
    CHECK_EQ(left.threads, 0);
    CHECK_EQ(left.queues, 0);
    CHECK_EQ(left.clients, 0);
    CHECK_EQ(sim->reset(1), 0);
    remove(book_path);
    book_path[0] = '\0';
}

static rasx_dial start(const char *entry, uint32_t timeout_ms)
{
    rasx_dial_options o;
    rasx_dial dial = 0;

    memset(&o, 0, sizeof o);
    o.size = sizeof o;
    o.notifier = RASX_NOTIFIER_FUNC2;
    o.entry = entry;
    o.timeout_ms = timeout_ms;
    CHECK_EQ(rasx_dial_start(house.queue, &o, &dial), 0);
    return dial;
}

/* Waits for something, which drives the virtual clock, and drains it. */
static void consume(void)
{
    rasx_event batch[64];
    uint32_t got = 0, ready;

    CHECK_EQ(rasx_queue_wait(house.queue, RASX_FOREVER, 0, &ready), 0);
    CHECK_EQ(rasx_queue_drain(house.queue, batch, 64, &got), 0);
    for (uint32_t i = 0; i < got; i++) {
        house.settled += batch[i].outcome == RASX_OUTCOME_SETTLED;
        if (house.count < MOST) house.events[house.count++] = batch[i];
    }
}

static void until_settled(uint32_t dials)
{
    while (house.settled < dials) consume();
}

static const rasx_event *outcome_of(rasx_dial dial)
{
    static const rasx_event none;
    const rasx_event *found = &none;

    for (uint32_t i = 0; i < house.count; i++) {
        const rasx_event *e = &house.events[i];

        if (e->dial != dial || e->outcome == RASX_OUTCOME_NONE || e->outcome == RASX_OUTCOME_SETTLED) continue;
        CHECK(found == &none); /* exactly one */
        found = e;
    }
    CHECK(found != &none);
    return found;
}

static const rasx_event *settled_of(rasx_dial dial)
{
    static const rasx_event none;

    for (uint32_t i = 0; i < house.count; i++)
        if (house.events[i].dial == dial && house.events[i].outcome == RASX_OUTCOME_SETTLED) return &house.events[i];
    CHECK(0 && "settled");
    return &none;
}

/* "0 1 2 2/678": what was drained of a dial, without its last record. */
static const char *story(rasx_dial dial)
{
    static char text[2048];
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < house.count && used + 40 < sizeof text; i++) {
        const rasx_event *e = &house.events[i];

        if (e->dial != dial || e->outcome == RASX_OUTCOME_SETTLED) continue;
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u", used == 0 ? "" : " ", e->state);
        if (e->error != 0) used += (size_t)snprintf(text + used, sizeof text - used, "/%u", e->error);
    }
    return text;
}

static void hang_up(rasx_dial dial)
{
    uint32_t result = 0;

    CHECK_EQ(rasx_hang_up(house.client, settled_of(dial)->handle, 0, 0, 10000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
}

static uint64_t time_of(rasx_dial dial, uint32_t state)
{
    for (uint32_t i = 0; i < house.count; i++)
        if (house.events[i].dial == dial && house.events[i].state == state) return house.events[i].time_ns;
    CHECK(0 && "the state was announced");
    return 0;
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

/* --- S8.3, S8.30: what RasDial is given ------------------------------------------------------------------------------------------ */

enum { DIALS = 100 };

static uintptr_t given_ids[DIALS];
static uint32_t  given, given_handles;

static uint32_t RASAPI_CALL watched_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                         uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    if (given < DIALS) given_ids[given++] = params->dwCallbackId;
    given_handles += *connection != NULL;
    return api->RasDialW(extensions, phonebook, params, notifier_type, notifier, connection);
}

TEST(test_s8_03_handle_variable_is_null_at_each_dial)
{
    open_house(NULL);
    given = given_handles = 0;
    table.RasDialW = watched_dial;
    for (uint32_t i = 0; i < 10; i++) { /* one after the other in the same slot, after successes and after failures */
        rasx_dial dial;

        CHECK_EQ(sim->script("Office", i % 2 == 0 ? "connect_now" : "auth_fail"), 0);
        dial = start("Office", RASX_FOREVER);
        until_settled(i + 1);
        if (i % 2 == 0) hang_up(dial);
    }
    CHECK_EQ(given, 10);
    CHECK_EQ(given_handles, 0);
    close_house();
}

static uintptr_t heard_id;
static uint32_t  heard;

static uint32_t RASAPI_CALL hear_id(uintptr_t id, uint32_t subentry, HRASCONN connection, uint32_t message, uint32_t state,
                                    uint32_t error, uint32_t extended_error)
{
    (void)subentry;
    (void)connection;
    (void)message;
    (void)state;
    (void)error;
    (void)extended_error;
    heard_id = id;
    heard++;
    return 1;
}

TEST(test_s8_30_callback_id_is_pointer_sized_and_may_be_zero)
{
    static const uint64_t ids[] = { 0, 1, UINT64_C(0xFFFFFFFF), UINT64_C(0x100000000), UINT64_C(0xFEDCBA9876543210), UINT64_MAX };

    open_house(NULL);
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) { /* the machine hands any value through */
        RASDIALPARAMSW params = make_params("Office", (uintptr_t)ids[i]);
        HRASCONN handle = NULL;

        heard = 0;
        CHECK_EQ(api->RasDialW(NULL, book, &params, 2, (void *)(uintptr_t)hear_id, &handle), 0);
        CHECK_EQ(sim->advance(100 * MS), 0);
        CHECK_EQ(heard, 1);
        CHECK_EQ(heard_id, (uintptr_t)ids[i]);
        CHECK_EQ(api->RasHangUpW(handle), 0);
        CHECK_EQ(sim->advance(200 * MS), 0);
    }
    given = given_handles = 0;
    table.RasDialW = watched_dial;
    for (uint32_t i = 0; i < DIALS; i++) {
        rasx_dial dial = start("Office", RASX_FOREVER);

        house.count = 0;
        until_settled(i + 1);
        CHECK_EQ(outcome_of(dial)->outcome, RASX_OUTCOME_CONNECTED);
        hang_up(dial);
    }
    CHECK_EQ(given, DIALS);
    for (uint32_t i = 0; i < DIALS; i++) { /* ours use the upper half, and none comes twice */
        CHECK(sizeof(uintptr_t) == 4 || (uint64_t)given_ids[i] > UINT32_MAX);
        for (uint32_t j = 0; j < i; j++) CHECK(given_ids[i] != given_ids[j]);
    }
    close_house();
}

/* --- S8.28: a handler that returns 0 ------------------------------------------------------------------------------------------------ */

static uint32_t muted_calls;

/* What the core's own handler does, and then the return value that it never gives. */
static uint32_t RASAPI_CALL mute(uintptr_t id, uint32_t subentry, HRASCONN connection, uint32_t message, uint32_t state,
                                 uint32_t error, uint32_t extended_error)
{
    CHECK_EQ(rasx__on_ras_dial_func2(id, subentry, connection, message, state, error, extended_error), 1);
    muted_calls++;
    return 0;
}

static uint32_t RASAPI_CALL muting_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                        uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    CHECK(notifier == (void *)(uintptr_t)rasx__on_ras_dial_func2);
    return api->RasDialW(extensions, phonebook, params, notifier_type, (void *)(uintptr_t)mute, connection);
}

TEST(test_s8_28_after_a_return_of_zero_the_status_tells_the_outcome)
{
    static const struct { const char *script; uint32_t outcome, error; } cases[] = {
        { "vpn_ok", RASX_OUTCOME_CONNECTED, 0 }, { "multilink2", RASX_OUTCOME_CONNECTED, 0 },
        { "auth_fail", RASX_OUTCOME_FAILED, 691 }, { "unreachable", RASX_OUTCOME_FAILED, 868 }
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rasx_dial dial;

        open_house(NULL);
        table.RasDialW = muting_dial;
        muted_calls = 0;
        CHECK_EQ(sim->script("Office", cases[i].script), 0);
        dial = start("Office", RASX_FOREVER);
        until_settled(1);
        CHECK_EQ(muted_calls, 1); /* no subentry is heard of again */
        CHECK_EQ(outcome_of(dial)->outcome, cases[i].outcome);
        CHECK_EQ(outcome_of(dial)->error, cases[i].error);
        CHECK_EQ(outcome_of(dial)->origin, RASX_FROM_POLL);
        CHECK_EQ(house.count, 3); /* OpenPort, the outcome, SETTLED */
        CHECK_EQ(sim->calls("RasHangUpW"), cases[i].error == 0 ? 0 : 1);
        if (cases[i].error == 0) hang_up(dial);
        close_house();
    }
}

TEST(test_s8_28_our_handler_never_returns_zero)
{
    static const uint64_t ids[] = { 0, 1, UINT64_C(0xFFFFFFFF), UINT64_C(0x100000000), UINT64_MAX, UINT64_C(0x1FFFFFFFF) };
    rasx_dial dial;

    open_house(NULL);
    CHECK_EQ(sim->script(NULL, "connect_now"), 0);
    dial = start("Office", RASX_FOREVER);
    until_settled(1);
    CHECK_EQ(rasx__on_ras_dial_func2((uintptr_t)dial, 1, NULL, 0, 8193, 691, 0), 1); /* released: a foreign generation */
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) /* ids that no dial of ours has */
        CHECK_EQ(rasx__on_ras_dial_func2((uintptr_t)ids[i], 1, NULL, 0, 8193, 691, 0), 1);
    hang_up(dial);
    CHECK_STR(story(dial), "8192");
    close_house();
}

/* --- S8.32: a synchronous dial --------------------------------------------------------------------------------------------------------- */

TEST(test_s8_32_notifier_type_says_nothing_without_a_notifier)
{
    static const uint32_t types[] = { 0, 1, 2, 3, 17, 0x7FFFFFFF, 0xCCCCCCCC, 0xDEADBEEF, 0xFFFFFFFE, 0xFFFFFFFF };

    open_house(NULL);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        RASDIALPARAMSW params = make_params("Office", 0);
        RASCONNSTATUSW status;
        HRASCONN handle = NULL;
        int notified = 0;

        CHECK_EQ(api->RasDialW(NULL, book, &params, types[i], NULL, &handle), 0);
        memset(&status, 0, sizeof status);
        status.dwSize = sizeof status;
        CHECK_EQ(api->RasGetConnectStatusW(handle, &status), 0);
        CHECK_EQ(status.rasconnstate, RASCS_Connected);
        CHECK_EQ(api->RasHangUpW(handle), 0);
        CHECK_EQ(sim->advance(200 * MS), 0);
        handle = NULL; /* with a notifier the type counts */
        if (types[i] > 2 && types[i] != 0xFFFFFFFF)
            CHECK_EQ(api->RasDialW(NULL, book, &params, types[i], &notified, &handle), 87);
    }
    close_house();
}

/* --- S8.33: a handler that takes five seconds --------------------------------------------------------------------------------------------- */

static rasx__event never_set;
static rasx_dial   slow_one;
static uint64_t    blocked_from_ns, blocked_until_ns;
static uint32_t    state_while_blocked;

/* Waits on the machine's clock inside the native handler, at ConnectDevice, and looks at the connection at the end of it. */
static void take_five_seconds(void *context, const rasx_event *event)
{
    rasx_clock *clock = sim->clock_object();
    rasx_status status;

    CHECK(context == &house);
    if (event->dial != slow_one || event->state != RASCS_ConnectDevice) return;
    blocked_from_ns = clock->now(clock);
    while (clock->now(clock) < blocked_from_ns + 5000 * MS)
        (void)clock->wait(clock, &never_set, blocked_from_ns + 5000 * MS, 0);
    blocked_until_ns = clock->now(clock);
    memset(&status, 0, sizeof status);
    CHECK_EQ(rasx_get_status(house.client, event->handle, &status), 0); /* allowed in a handler (S1.5) */
    state_while_blocked = status.state;
}

TEST(test_s8_33_the_dial_stands_still_while_the_handler_runs)
{
    static int once;
    rasx_dial other;

    if (!once++) CHECK_EQ(rasx__event_init(&never_set), 0);
    open_house(take_five_seconds);
    slow_one = start("Office", RASX_FOREVER);
    other = start("Home", RASX_FOREVER);
    until_settled(2);
    CHECK_EQ(blocked_until_ns - blocked_from_ns, 5000 * MS);
    CHECK_EQ(state_while_blocked, RASCS_ConnectDevice);
    CHECK_STR(story(slow_one), VPN_STORY);
    CHECK(time_of(slow_one, RASCS_DeviceConnected) > blocked_until_ns);
    CHECK_STR(story(other), VPN_STORY); /* another dial goes on meanwhile */
    CHECK(time_of(other, RASCS_Connected) < blocked_until_ns);
    hang_up(slow_one);
    hang_up(other);
    close_house();
}

TEST(test_s8_33_a_slow_device_goes_on_while_the_handler_runs)
{
    static int once;
    rasx_dial dial;

    if (!once++) CHECK_EQ(rasx__event_init(&never_set), 0);
    open_house(take_five_seconds);
    CHECK_EQ(sim->knob(NULL, "slow_device", 1), 0);
    slow_one = dial = start("Modem", RASX_FOREVER);
    until_settled(1);
    CHECK_EQ(outcome_of(dial)->outcome, RASX_OUTCOME_CONNECTED);
    while (sim->reset(0) != 0) { /* still in use: the handler and what it held back, then the connection */
        rasx_sim_counters held;
        uint32_t result;

        sim->counters(&held);
        if (held.threads == 0) CHECK_EQ(rasx_hang_up(house.client, outcome_of(dial)->handle, 0, 0, 10000, &result), 0);
        rasx__yield();
    }
    CHECK_EQ(state_while_blocked, RASCS_Connected);
    close_house();
}

/* --- S8.34, S8.10: calls from inside the handler ---------------------------------------------------------------------------------------------- */

static uint32_t  inner_code, inner_at;
static rasx_dial inner, outer;
static HRASCONN  inner_handle;

/* RasDial itself, which the vendor forbids there: the machine refuses it. */
static uint32_t RASAPI_CALL dial_inside(uintptr_t id, uint32_t subentry, HRASCONN connection, uint32_t message, uint32_t state,
                                        uint32_t error, uint32_t extended_error)
{
    if (state == RASCS_PortOpened) {
        RASDIALPARAMSW params = make_params("Home", 0);

        inner_code = api->RasDialW(NULL, book, &params, 2, (void *)(uintptr_t)hear_id, &inner_handle);
    }
    return rasx__on_ras_dial_func2(id, subentry, connection, message, state, error, extended_error);
}

static uint32_t RASAPI_CALL dialing_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                         uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    (void)notifier;
    return api->RasDialW(extensions, phonebook, params, notifier_type, (void *)(uintptr_t)dial_inside, connection);
}

TEST(test_s8_34_ras_dial_inside_the_handler_is_refused)
{
    rasx_dial dial;

    open_house(NULL);
    table.RasDialW = dialing_dial;
    inner_code = 0;
    inner_handle = NULL;
    dial = start("Office", RASX_FOREVER);
    until_settled(1);
    CHECK_EQ(inner_code, 87);
    CHECK(inner_handle == NULL);
    CHECK_STR(story(dial), VPN_STORY);
    hang_up(dial);
    close_house();
}

/* rasx_dial_start calls RasDial on another thread, so it may be called there, whoever announces: RAS, a time-out, a cancel. */
static void start_inside(void *context, const rasx_event *event)
{
    rasx_counters counters;
    rasx_dial_options o;

    (void)context;
    if (event->dial == inner || event->state != inner_at || inner_code != UINT32_MAX) return;
    memset(&o, 0, sizeof o);
    o.size = sizeof o;
    o.notifier = RASX_NOTIFIER_FUNC2;
    o.entry = "Home";
    o.timeout_ms = RASX_FOREVER;
    inner_code = 0;
    inner_code = rasx_dial_start(house.queue, &o, &inner);
    rasx_get_counters(&counters); /* takes the core's lock, which nobody may hold here */
}

static void begin_inside(uint32_t at)
{
    open_house(start_inside);
    inner = 0;
    inner_code = UINT32_MAX;
    inner_at = at;
}

TEST(test_s8_34_a_dial_started_inside_the_handler_is_a_dial_like_others)
{
    static const uint32_t at[] = { RASCS_OpenPort, RASCS_AuthNotify, RASCS_Connected };

    for (int i = 0; i < 3; i++) {
        begin_inside(at[i]);
        outer = start("Office", RASX_FOREVER);
        until_settled(2);
        CHECK_EQ(inner_code, 0);
        CHECK_STR(story(outer), VPN_STORY);
        CHECK_STR(story(inner), VPN_STORY);
        hang_up(outer);
        hang_up(inner);
        close_house();
    }
}

TEST(test_s8_34_a_dial_started_when_another_times_out_or_is_cancelled)
{
    static const rasx_sim_step nothing[] = { { 0, 0, 0, 0, 1, 0 } };
    uint32_t decided;

    begin_inside(RASCS_Disconnected);
    CHECK_EQ(sim->script_steps("Office", nothing, 1), 0);
    outer = start("Office", 700); /* decided by the consumer, or by the dial's thread */
    until_settled(2);
    CHECK_EQ(inner_code, 0);
    CHECK_EQ(outcome_of(outer)->error, 638);
    CHECK_STR(story(inner), VPN_STORY);
    hang_up(inner);
    close_house();

    begin_inside(RASCS_Disconnected);
    CHECK_EQ(sim->script_steps("Office", nothing, 1), 0);
    outer = start("Office", RASX_FOREVER);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_EQ(rasx_dial_cancel(outer, &decided), 0);
    CHECK_EQ(decided, 1);
    until_settled(2);
    CHECK_EQ(inner_code, 0);
    CHECK_EQ(outcome_of(outer)->error, 631);
    CHECK_STR(story(inner), VPN_STORY);
    hang_up(inner);
    close_house();

    begin_inside(RASCS_Disconnected); /* the consumer finds the time-out while RasDial blocks */
    CHECK_EQ(sim->script_steps("Office", nothing, 1), 0);
    CHECK_EQ(sim->knob("Office", "block_dial", 1), 0);
    outer = start("Office", 700);
    while (inner_code == UINT32_MAX) consume();
    CHECK_EQ(inner_code, 0);
    sim->release();
    until_settled(2);
    CHECK_EQ(outcome_of(outer)->origin, RASX_FROM_TIMEOUT);
    CHECK_STR(story(inner), VPN_STORY);
    hang_up(inner);
    close_house();

    begin_inside(RASCS_Disconnected); /* closing refuses new ones, and does not deadlock */
    CHECK_EQ(sim->script_steps("Office", nothing, 1), 0);
    outer = start("Office", RASX_FOREVER);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK_EQ(rasx_close(house.client, 10000), 0);
    CHECK_EQ(inner_code, RASX_E_CLOSED);
    house.client = NULL;
    close_house();
}

/* RasHangUp is allowed in the handler and works after its return (S1.5). */
static void hang_up_inside(void *context, const rasx_event *event)
{
    (void)context;
    if (event->state != inner_at || inner_code != UINT32_MAX || event->handle == 0) return;
    inner_code = api->RasHangUpW((HRASCONN)(uintptr_t)event->handle);
}

TEST(test_s8_10_hang_up_inside_the_handler_ends_the_dial)
{
    static const uint32_t at[] = { RASCS_OpenPort, RASCS_ConnectDevice, RASCS_Connected };

    for (int64_t final = 0; final < 3; final++) {
        for (int i = 0; i < 3; i++) {
            rasx_dial dial;

            open_house(hang_up_inside);
            inner_code = UINT32_MAX;
            inner_at = at[i];
            CHECK_EQ(sim->knob(NULL, "final_on_hangup", final), 0);
            dial = start("Office", RASX_FOREVER);
            until_settled(1); /* a last notification may come or not: the status tells it then */
            CHECK_EQ(inner_code, 0);
            CHECK_EQ(outcome_of(dial)->outcome, i == 2 ? RASX_OUTCOME_CONNECTED : RASX_OUTCOME_FAILED);
            if (i == 2) {
                hang_up(dial); /* gone already, which is no error */
            } else {
                CHECK_EQ(outcome_of(dial)->origin, final == 0 ? RASX_FROM_POLL : RASX_FROM_NOTIFIER);
                CHECK_EQ(outcome_of(dial)->error, final == 2 ? 631 : final == 1 ? 668 : outcome_of(dial)->error);
                CHECK_EQ(settled_of(dial)->state, RASX_HANGUP_GONE);
            }
            close_house();
        }
    }
}

#define TESTS(X)                                                                                                              \
    X(test_s8_03_handle_variable_is_null_at_each_dial) X(test_s8_10_hang_up_inside_the_handler_ends_the_dial)                 \
    X(test_s8_28_after_a_return_of_zero_the_status_tells_the_outcome) X(test_s8_28_our_handler_never_returns_zero)            \
    X(test_s8_30_callback_id_is_pointer_sized_and_may_be_zero) X(test_s8_32_notifier_type_says_nothing_without_a_notifier)    \
    X(test_s8_33_the_dial_stands_still_while_the_handler_runs) X(test_s8_33_a_slow_device_goes_on_while_the_handler_runs)     \
    X(test_s8_34_ras_dial_inside_the_handler_is_refused) X(test_s8_34_a_dial_started_inside_the_handler_is_a_dial_like_others) \
    X(test_s8_34_a_dial_started_when_another_times_out_or_is_cancelled)
TEST_MAIN(TESTS)
