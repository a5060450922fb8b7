/* test_notification.c: relays, the contract of RasConnectionNotification (S4.13), and the watch of the core over it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Dials are synchronous ones of the four entries of office.pbk in tests/data, or in the folder RASX_TEST_DATA, on the virtual clock
 * where time matters. What must be signalled is waited for: on Windows it may travel through a thread of the system.
 */
#include "testhelp.h"

#include "../../csrc/core.h"
#include "../../csrc/rasapi32/engine.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#endif

#define MS UINT64_C(1000000)
#define LONG_NS (20000 * MS) /* real time for what must happen */
#define ALL ((HRASCONN)(uintptr_t)-1)
#define EVERYTHING (RASCN_Connection | RASCN_Disconnection | RASCN_BandwidthAdded | RASCN_BandwidthRemoved)

static const rasapi *api;
static const rasx_sim_api *sim;
static char16_t book[1024];

static void fresh(int is_virtual)
{
    const char *folder = getenv("RASX_TEST_DATA");
    char path[1024];

    api = rasapi_sim();
    sim = rasx_sim_get_api();
    CHECK_EQ(sim->reset(1), 0);
    snprintf(path, sizeof path, "%s/office.pbk", folder != NULL ? folder : "tests/data");
    CHECK_EQ(rasx__to_utf16(path, book, sizeof book / sizeof *book, NULL), 0);
    if (is_virtual) CHECK_EQ(sim->clock(1), 0);
    else CHECK_EQ(sim->script(NULL, "connect_now"), 0);
}

static HRASCONN dial(const char *entry)
{
    RASDIALPARAMSW params;
    HRASCONN handle = NULL;

    memset(&params, 0, sizeof params);
    params.dwSize = (uint32_t)sizeof params;
    CHECK_EQ(rasx__to_utf16(entry, params.szEntryName, 257, NULL), 0);
    CHECK_EQ(api->RasDialW(NULL, book, &params, 0, NULL, &handle), 0);
    return handle;
}

typedef struct ear { rasx__event event; void *handle; } ear;

static void open_ear(ear *e)
{
    CHECK_EQ(rasx__event_init(&e->event), 0);
    e->handle = rasx__relay_open(&e->event);
    CHECK(e->handle != NULL);
}

static void close_ear(ear *e)
{
    rasx__relay_close(e->handle);
    rasx__event_destroy(&e->event);
}

static uint32_t listen_to(const ear *e, HRASCONN handle, uint32_t flags)
{
    return api->RasConnectionNotificationW(handle, e->handle, flags);
}

static int heard(ear *e) { return rasx__event_wait(&e->event, LONG_NS) == 1; }
static int silent(ear *e) { return rasx__event_wait(&e->event, 0) == 0; }

static void hang_up(HRASCONN handle) { CHECK_EQ(api->RasHangUpW(handle), 0); }

/* --- Relays ------------------------------------------------------------------------------------------------------------ */

/* "A signal reaches the event, twice as well as once; several before the waiter looks are one." */
TEST(test_relay_signals)
{
    ear e;
    uint64_t held;
    open_ear(&e);
    held = rasx__relay_hold(e.handle);
    CHECK(held != 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(rasx__relay_signal(held), 1);
        CHECK(heard(&e));
    }
    rasx__relay_drop(held);
#ifdef _WIN32 /* as another RAS does it */
    for (int i = 0; i < 2; i++) {
        CHECK(SetEvent((HANDLE)e.handle));
        CHECK(heard(&e));
    }
#endif
    close_ear(&e);
}

/* "After closing, nothing writes to the target, also when the relay's place has been given to another." */
TEST(test_relay_closed_touches_nothing)
{
    rasx__event *target = malloc(sizeof *target);
    ear other;
    void *handle;
    uint64_t held;
    REQUIRE(target != NULL && rasx__event_init(target) == 0);
    handle = rasx__relay_open(target);
    REQUIRE(handle != NULL);
    held = rasx__relay_hold(handle);
    rasx__relay_close(handle);
    rasx__event_destroy(target);
    free(target); /* AddressSanitizer would tell */
    (void)rasx__relay_signal(held);
    open_ear(&other);
    (void)rasx__relay_signal(held);
    rasx__relay_drop(held);
    close_ear(&other);
    rasx__relay_close(NULL);
}

/* "Handles that are none are refused; places run out without harm and come back." */
TEST(test_relay_places)
{
    enum { SOME = 2000 };
    static void *handles[SOME];
    static rasx__event event;
    uint32_t opened = 0;
    CHECK_EQ(rasx__event_init(&event), 0);
    CHECK_EQ(rasx__relay_hold(NULL), 0);
    for (; opened < SOME && (handles[opened] = rasx__relay_open(&event)) != NULL;) opened++;
    CHECK(opened >= 256 && opened < SOME);
    for (uint32_t i = 0; i < opened; i++) {
        for (uint32_t k = i + 1; k < opened; k++) if (handles[k] == handles[i]) CHECK(handles[k] != handles[i]);
    }
    for (uint32_t i = 0; i < opened; i++) rasx__relay_close(handles[i]);
    for (uint32_t i = 0; i < 3; i++) {
        void *again = rasx__relay_open(&event);
        CHECK(again != NULL);
        rasx__relay_close(again);
    }
    rasx__event_destroy(&event);
}

static struct { rasx__a32 stop, running; uint64_t held[64]; rasx__mutex lock; } storm = { { 0 }, { 0 }, { 0 }, RASX_MUTEX_INIT };

static void signal_always(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; !rasx__load(&storm.stop); i++) {
        rasx__lock(&storm.lock);
        if (storm.held[i % 64]) (void)rasx__relay_signal(storm.held[i % 64]);
        rasx__unlock(&storm.lock);
    }
    (void)rasx__sub(&storm.running, 1);
}

/* "Opening and closing while others signal: no access to what is gone (the sanitizers look on)." */
TEST(test_relay_storm)
{
    uint32_t rounds = test_load(2000);
    rasx__store(&storm.running, 2);
    CHECK_EQ(rasx__thread_start(signal_always, NULL), 0);
    CHECK_EQ(rasx__thread_start(signal_always, NULL), 0);
    for (uint32_t i = 0; i < rounds; i++) {
        ear *e = malloc(sizeof *e);
        if (e == NULL) break;
        open_ear(e);
        rasx__lock(&storm.lock);
        if (storm.held[i % 64]) rasx__relay_drop(storm.held[i % 64]);
        storm.held[i % 64] = rasx__relay_hold(e->handle);
        rasx__unlock(&storm.lock);
        close_ear(e);
        free(e);
    }
    rasx__store(&storm.stop, 1);
    while (rasx__load(&storm.running) > 0) rasx__yield();
    for (uint32_t i = 0; i < 64; i++) if (storm.held[i]) rasx__relay_drop(storm.held[i]);
}

/* --- RasConnectionNotification ------------------------------------------------------------------------------------------- */

/* S4.13: 87 without event or flags, 6 for an unknown handle, 0x80070057 for INVALID_HANDLE_VALUE as the event (measured). */
TEST(test_wrong_arguments)
{
    ear e;
    fresh(1);
    open_ear(&e);
    CHECK_EQ(api->RasConnectionNotificationW(ALL, NULL, EVERYTHING), 87);
    CHECK_EQ(listen_to(&e, ALL, 0), 87);
    CHECK_EQ(listen_to(&e, ALL, 0x80000000u), 87);
    CHECK_EQ(listen_to(&e, ALL, EVERYTHING | 0x80u), 87);
    CHECK_EQ(api->RasConnectionNotificationW(ALL, (void *)(uintptr_t)-1, EVERYTHING), 0x80070057u);
    CHECK_EQ(listen_to(&e, NULL, EVERYTHING), 6);
    CHECK_EQ(listen_to(&e, (HRASCONN)(uintptr_t)0x1230, EVERYTHING), 6);
    CHECK_EQ(sim->calls("RasConnectionNotificationW"), 7);
    CHECK_EQ(sim->fault("RasConnectionNotificationW", 711, 0, 1), 0);
    CHECK_EQ(listen_to(&e, ALL, EVERYTHING), 711);
    CHECK_EQ(listen_to(&e, ALL, EVERYTHING), 0);
    CHECK(silent(&e)); /* registering sets nothing (measured, S4.2) */
    close_ear(&e);
#ifndef _WIN32 /* there the handle of a closed relay still is an event, kept for the next */
    CHECK_EQ(listen_to(&e, ALL, EVERYTHING), 6);
#endif
}

/* S4.13: Connection when it is up, Disconnection when the handle is gone, not when RasHangUp is called; links of a bundle. */
TEST(test_up_and_gone)
{
    ear up, down, links;
    HRASCONN handle;
    fresh(1);
    open_ear(&up);
    open_ear(&down);
    open_ear(&links);
    CHECK_EQ(listen_to(&up, ALL, RASCN_Connection), 0);
    CHECK_EQ(listen_to(&down, ALL, RASCN_Disconnection), 0);
    CHECK_EQ(listen_to(&links, ALL, RASCN_BandwidthAdded), 0);
    handle = dial("Office VPN");
    CHECK(heard(&up));
    CHECK(silent(&down));
    CHECK(silent(&links));
    hang_up(handle);
    CHECK_EQ(sim->advance(99 * MS), 0);
    CHECK(silent(&down));
    CHECK_EQ(sim->advance(1 * MS), 0);
    CHECK(heard(&down));
    CHECK(silent(&up));
    handle = dial("Branch Multilink");
    CHECK(heard(&up));
    CHECK(heard(&links));
    hang_up(handle);
    CHECK_EQ(sim->advance(100 * MS), 0);
    CHECK(heard(&down));
    close_ear(&up);
    close_ear(&down);
    close_ear(&links);
}

/* S4.13: a registration for one connection hears of that one only, and ends with its handle, whose value may come again (S8.13). */
TEST(test_one_connection)
{
    ear e;
    HRASCONN office, home;
    fresh(1);
    CHECK_EQ(sim->knob(NULL, "reuse_handles", 1), 0);
    open_ear(&e);
    office = dial("Office VPN");
    home = dial("Home PPPoE");
    CHECK_EQ(listen_to(&e, office, EVERYTHING), 0);
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)home, 829), 0);
    CHECK(silent(&e));
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)office, 829), 0);
    CHECK(heard(&e));
    home = dial("Home PPPoE");
    CHECK(home == office);
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)home, 829), 0);
    CHECK(silent(&e));
    close_ear(&e);
}

/* S8.72: several happenings before the caller wakes are one signal; no registration is used up by a signal. */
TEST(test_s8_72_coalesced)
{
    ear e;
    fresh(1);
    open_ear(&e);
    CHECK_EQ(listen_to(&e, ALL, EVERYTHING), 0);
    for (int i = 0; i < 3; i++) {
        HRASCONN handle = dial("Office VPN");
        CHECK_EQ(sim->drop((uint64_t)(uintptr_t)handle, 829), 0);
        CHECK(heard(&e));
        CHECK(silent(&e));
    }
    close_ear(&e);
}

/* "What falls due by itself is announced although nobody calls RAS, on the real clock too." */
TEST(test_link_that_breaks_by_itself)
{
    static const rasx_sim_step steps[] = { { 0, RASCS_Connected, 0, 0, 1, 0 }, { 30, 0, 829, 0, 1, RASX_SIM_DROP } };
    rasx_sim_counters left;
    ear e;
    fresh(0);
    open_ear(&e);
    CHECK_EQ(listen_to(&e, ALL, RASCN_Disconnection), 0);
    CHECK_EQ(sim->script_steps(NULL, steps, 2), 0);
    (void)dial("Office VPN");
    CHECK(heard(&e));
    sim->counters(&left);
    CHECK_EQ(left.handles, 0);
    close_ear(&e);
    CHECK_EQ(sim->reset(0), 0); /* its thread has ended, or ends at once */
}

/* "Registered while a connection is already counting down: the same." */
TEST(test_registered_late)
{
    ear e;
    HRASCONN handle;
    fresh(1);
    CHECK_EQ(sim->script(NULL, "drop"), 0);
    handle = dial("Office VPN");
    open_ear(&e);
    CHECK_EQ(listen_to(&e, handle, RASCN_Disconnection), 0);
    CHECK_EQ(sim->clock(0), 0); /* the clock can be changed although somebody keeps time */
    CHECK_EQ(sim->clock(1), 0);
    CHECK_EQ(sim->advance(1000 * MS), 0);
    CHECK(heard(&e));
    close_ear(&e);
}

/* S4.13 [DotRas #105]: with watch_fires_once 1 a renewed registration signals again; with 2 it never does. */
TEST(test_watch_fires_once)
{
    for (int mode = 1; mode <= 2; mode++) {
        ear e;
        fresh(0);
        CHECK_EQ(sim->knob(NULL, "watch_fires_once", mode), 0);
        open_ear(&e);
        CHECK_EQ(listen_to(&e, ALL, RASCN_Connection), 0);
        (void)dial("Office VPN");
        CHECK(heard(&e));
        (void)dial("Home PPPoE");
        CHECK(silent(&e));
        CHECK_EQ(listen_to(&e, ALL, RASCN_Connection), 0);
        (void)dial("Modem Backup");
        if (mode == 1) CHECK(heard(&e));
        else CHECK(silent(&e));
        close_ear(&e);
    }
}

/* "Knobs watch_spurious and watch_silent: signals for nothing, and none for something." */
TEST(test_spurious_and_silent)
{
    ear e;
    fresh(0);
    CHECK_EQ(sim->knob(NULL, "watch_spurious", 1), 0);
    open_ear(&e);
    CHECK_EQ(listen_to(&e, ALL, RASCN_BandwidthRemoved), 0);
    (void)dial("Office VPN");
    CHECK(heard(&e));
    close_ear(&e);
    fresh(0);
    CHECK_EQ(sim->knob(NULL, "watch_silent", 1), 0);
    open_ear(&e);
    CHECK_EQ(listen_to(&e, ALL, EVERYTHING), 0);
    (void)dial("Office VPN");
    CHECK(silent(&e));
    close_ear(&e);
}

/* "Closed events are forgotten, a flood of registrations pushes out the oldest, a reset drops all." */
TEST(test_many_registrations)
{
    enum { FLOOD = 1100 };
    ear first, last;
    fresh(0);
    open_ear(&first);
    CHECK_EQ(listen_to(&first, ALL, RASCN_Connection), 0);
    for (uint32_t i = 0; i < FLOOD; i++) {
        ear e;
        open_ear(&e);
        CHECK_EQ(listen_to(&e, ALL, RASCN_Disconnection), 0);
        close_ear(&e);
    }
    open_ear(&last);
    CHECK_EQ(listen_to(&last, ALL, RASCN_Connection), 0);
    (void)dial("Office VPN");
    CHECK(heard(&last));
    CHECK(sim_notify_anybody());
    CHECK_EQ(sim->reset(1), 0);
    CHECK(!sim_notify_anybody());
    close_ear(&first);
    close_ear(&last);
}

/* --- The watch ----------------------------------------------------------------------------------------------------------- */

static rasx_client *open_sim(void)
{
    rasx_client *client = NULL;
    CHECK_EQ(rasx_open("sim", NULL, &client), 0);
    return client;
}

static uint32_t wait_for(rasx_watch *watch, uint32_t timeout_ms)
{
    uint32_t changed, code = 0;
    uint64_t end_ns = rasx__now_ns() + LONG_NS;
    for (changed = 0; changed == 0 && code == 0 && rasx__now_ns() < end_ns && timeout_ms > 0;) {
        uint64_t before_ns = sim->now_ns();
        code = rasx_watch_wait(watch, timeout_ms, 0, &changed);
        uint64_t passed_ms = (sim->now_ns() - before_ns) / MS;
        timeout_ms -= passed_ms < timeout_ms ? (uint32_t)passed_ms : timeout_ms;
    }
    CHECK_EQ(code, 0);
    return changed;
}

/* "It says `changed` for a connection that comes and one that goes, and has registered again before it says so." */
TEST(test_watch_renews_before_it_tells)
{
    rasx_client *client;
    rasx_watch *watch;
    HRASCONN handle;
    fresh(0);
    CHECK_EQ(sim->knob(NULL, "watch_fires_once", 1), 0);
    client = open_sim();
    CHECK_EQ(rasx_watch_open(client, 3600000, &watch), 0);
    CHECK_EQ(sim->calls("RasConnectionNotificationW"), 1);
    handle = dial("Office VPN");
    CHECK_EQ(wait_for(watch, 20000), 1);
    CHECK_EQ(sim->calls("RasConnectionNotificationW"), 2);
    CHECK_EQ(sim->drop((uint64_t)(uintptr_t)handle, 829), 0); /* before the caller has listed anything */
    CHECK_EQ(wait_for(watch, 20000), 1);
    CHECK_EQ(sim->calls("RasConnectionNotificationW"), 3);
    rasx_watch_close(watch);
    CHECK_EQ(rasx_close(client, 1000), 0);
}

static void check_polls(rasx_client *client, uint32_t poll_ms, uint64_t expected_ms)
{
    rasx_watch *watch;
    uint64_t start_ns;
    CHECK_EQ(rasx_watch_open(client, poll_ms, &watch), 0);
    for (int i = 0; i < 3; i++) {
        start_ns = sim->now_ns();
        CHECK_EQ(wait_for(watch, 60000), 1);
        CHECK_EQ(sim->now_ns() - start_ns, expected_ms * MS);
    }
    start_ns = sim->now_ns();
    CHECK_EQ(wait_for(watch, (uint32_t)expected_ms / 2), 0); /* and not earlier */
    CHECK_EQ(sim->now_ns() - start_ns, expected_ms / 2 * MS);
    rasx_watch_close(watch);
}

/* "It says `changed` every 2 s of the client's clock when nothing is signalled, also without the function and when that fails." */
TEST(test_watch_polls)
{
    rasx_client *client;
    rasapi table;
    fresh(1);
    client = open_sim();
    check_polls(client, 0, 2000);
    check_polls(client, 500, 500);
    CHECK_EQ(sim->fault("RasConnectionNotificationW", 711, 0, 0), 0);
    check_polls(client, 0, 2000);
    CHECK_EQ(rasx_close(client, 1000), 0);
    table = *api;
    table.RasConnectionNotificationW = NULL;
    CHECK_EQ(rasx__open_table(&table, sim->clock_object(), NULL, &client), 0);
    check_polls(client, 0, 2000);
    CHECK_EQ(rasx_close(client, 1000), 0);
}

/* "After a signal it looks once more soon, because a list may lag behind; then the usual pace." */
TEST(test_watch_looks_again_soon)
{
    rasx_client *client;
    rasx_watch *watch;
    uint64_t start_ns;
    fresh(1);
    client = open_sim();
    CHECK_EQ(rasx_watch_open(client, 0, &watch), 0);
    rasx_watch_wake(watch);
    CHECK_EQ(wait_for(watch, 60000), 1);
    start_ns = sim->now_ns();
    CHECK_EQ(wait_for(watch, 60000), 1);
    CHECK_EQ(sim->now_ns() - start_ns, 250 * MS);
    CHECK_EQ(wait_for(watch, 60000), 1);
    CHECK_EQ(sim->now_ns() - start_ns, 2250 * MS);
    rasx_watch_close(watch);
    CHECK_EQ(rasx_close(client, 1000), 0);
}

static struct { rasx_watch *watch; rasx__a32 code, over; } consumer;

static void consume(void *unused)
{
    uint32_t changed, code;
    (void)unused;
    do
        code = rasx_watch_wait(consumer.watch, RASX_FOREVER, 1, &changed);
    while (code == 0 || code == RASX_E_BUSY); /* busy: start_consumer is looking */
    rasx__store(&consumer.code, code);
    rasx__store(&consumer.over, 1);
}

static void start_consumer(rasx_watch *watch)
{
    uint32_t changed;
    consumer.watch = watch;
    rasx__store(&consumer.over, 0);
    CHECK_EQ(rasx__thread_start(consume, NULL), 0);
    while (rasx_watch_wait(watch, 0, 1, &changed) != RASX_E_BUSY) rasx__yield(); /* one waiter at a time */
}

/* "Closing the watch, and closing its client, ends a wait on another thread; after that the watch says CLOSED." */
TEST(test_watch_closed_from_another_thread)
{
    rasx_client *client;
    rasx_watch *watch;
    uint32_t changed;
    fresh(0);
    client = open_sim();
    CHECK_EQ(rasx_watch_open(client, 0, &watch), 0);
    start_consumer(watch);
    rasx_watch_close(watch);
    while (!rasx__load(&consumer.over)) rasx__yield();
    CHECK_EQ(rasx__load(&consumer.code), RASX_E_CLOSED);

    CHECK_EQ(rasx_watch_open(client, 20, &watch), 0);
    start_consumer(watch);
    CHECK_EQ(rasx_close(client, 1000), 0);
    while (!rasx__load(&consumer.over)) rasx__yield();
    CHECK_EQ(rasx__load(&consumer.code), RASX_E_CLOSED);
    CHECK_EQ(rasx_watch_wait(watch, 0, 0, &changed), RASX_E_CLOSED);
    rasx_watch_close(watch);
}

TEST(test_watch_wrong_arguments)
{
    rasx_client *client;
    rasx_watch *watch;
    uint32_t changed;
    fresh(0);
    client = open_sim();
    CHECK_EQ(rasx_watch_open(NULL, 0, &watch), RASX_E_INVALID);
    CHECK_EQ(rasx_watch_open(client, 0, NULL), RASX_E_INVALID);
    CHECK_EQ(rasx_watch_wait(NULL, 0, 0, &changed), RASX_E_INVALID);
    CHECK_EQ(rasx_watch_open(client, 0, &watch), 0);
    CHECK_EQ(rasx_watch_wait(watch, 0, 0, NULL), RASX_E_INVALID);
    rasx_watch_close(watch);
    rasx_watch_close(NULL);
    rasx_watch_wake(NULL);
    CHECK_EQ(rasx_close(client, 1000), 0);
    CHECK(rasx_get_api()->watch_open == rasx_watch_open && rasx_get_api()->watch_close == rasx_watch_close);
}

/* "Connections come and go on other threads: every change is followed by a wake-up, and the last look sees the final list." */
static struct { rasx__a32 left; } commotion;

static void come_and_go(void *argument)
{
    uint32_t rounds = test_load(60);
    for (uint32_t i = 0; i < rounds; i++) {
        HRASCONN handle = dial(argument);
        CHECK_EQ(sim->drop((uint64_t)(uintptr_t)handle, 829), 0);
    }
    (void)dial(argument);
    (void)rasx__sub(&commotion.left, 1);
}

TEST(test_watch_in_commotion)
{
    static char office[] = "Office VPN", home[] = "Home PPPoE";
    rasx_client *client;
    rasx_watch *watch;
    uint32_t up = 0;
    fresh(0);
    CHECK_EQ(sim->knob(NULL, "watch_fires_once", 1), 0);
    client = open_sim();
    CHECK_EQ(rasx_watch_open(client, 3600000, &watch), 0);
    rasx__store(&commotion.left, 2);
    CHECK_EQ(rasx__thread_start(come_and_go, office), 0);
    CHECK_EQ(rasx__thread_start(come_and_go, home), 0);
    while (up != 2 || rasx__load(&commotion.left) != 0) {
        if (wait_for(watch, 20000) != 1) {
            (void)test_fail(__FILE__, __LINE__, "a change was not told");
            break;
        }
        up = 0;
        (void)rasx_list_connections(client, NULL, &up);
    }
    CHECK_EQ(up, 2);
    while (rasx__load(&commotion.left) != 0) rasx__yield();
    rasx_watch_close(watch);
    CHECK_EQ(rasx_close(client, 1000), 0);
    CHECK_EQ(sim->reset(1), 0);
}

#define TESTS(X)                                                                                                              \
    X(test_relay_signals) X(test_relay_closed_touches_nothing) X(test_relay_places) X(test_relay_storm)                       \
    X(test_wrong_arguments) X(test_up_and_gone) X(test_one_connection) X(test_s8_72_coalesced)                                \
    X(test_link_that_breaks_by_itself) X(test_registered_late) X(test_watch_fires_once) X(test_spurious_and_silent)           \
    X(test_many_registrations) X(test_watch_renews_before_it_tells) X(test_watch_polls) X(test_watch_looks_again_soon)        \
    X(test_watch_closed_from_another_thread) X(test_watch_wrong_arguments) X(test_watch_in_commotion)
TEST_MAIN(TESTS)
