/* test_window.c: the window form of notification, on Windows (S1.4, S8.31).
 *
 * SPDX-License-Identifier: MIT
 */
#include "testhelp.h"

#include "core.h"

#include <windows.h>

enum { WAIT_MS = 20000 };

static HWND     seen_window; /* what RasDial got */
static uint32_t seen_type;
static uint32_t answers;
static rasx__a32 dials;

/* A RAS that sends to the window from another thread, as one does that runs a worker for each dial; the codes are chosen so that a
 * client that keeps all of lParam, or takes it for signed, is found out. */
static void worker(void *unused)
{
    const UINT message = RegisterWindowMessageA("RasDialEvent");

    (void)unused;
    CHECK(message >= 0xC000u);
    (void)SendMessageW(seen_window, WM_RASDIALEVENT, 8192, 0); /* not the registered number: nothing for us (S8.31) */
    answers += SendMessageW(seen_window, message, 0, 0) == TRUE;
    answers += SendMessageW(seen_window, message, 1, 0) == TRUE;
    CHECK(PostMessageW(seen_window, message, 5, (LPARAM)(int32_t)0x80420112)); /* a RAS that posts is understood too */
}

static uint32_t RASAPI_CALL window_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                        uint32_t type, void *notifier, HRASCONN *connection)
{
    (void)extensions, (void)phonebook, (void)params;
    seen_type = type;
    seen_window = (HWND)notifier;
    *connection = (HRASCONN)(uintptr_t)0x77;
    (void)rasx__add(&dials, 1);
    CHECK_EQ(rasx__thread_start(worker, NULL), 0);
    return 0;
}

static uint32_t RASAPI_CALL gone_hang_up(HRASCONN connection)
{
    CHECK_EQ((uintptr_t)connection, 0x77);
    return 0;
}

static rasx__a32 hung_up;

static uint32_t RASAPI_CALL status(HRASCONN connection, RASCONNSTATUSW *s)
{
    (void)connection;
    s->rasconnstate = 0;
    s->dwError = 0;
    return rasx__load(&hung_up) ? 6 : 0;
}

static uint32_t RASAPI_CALL hang_up(HRASCONN connection)
{
    rasx__store(&hung_up, 1);
    return gone_hang_up(connection);
}

static rasapi table;

static uint32_t collect(rasx_queue *queue, rasx_event *events, uint32_t room)
{
    uint32_t count = 0, ready, n;

    for (;;) {
        if (rasx_queue_wait(queue, WAIT_MS, 0, &ready) != 0 || !ready) break;
        if (rasx_queue_drain(queue, events + count, room - count, &n) != 0) break;
        count += n;
        if (count > 0 && events[count - 1].outcome == RASX_OUTCOME_SETTLED) break;
    }
    return count;
}

TEST(test_s8_31_window_notifier)
{
    rasx_client *client;
    rasx_queue *queue;
    rasx_dial dial;
    rasx_event events[16];
    rasx_dial_options options = { .size = sizeof options, .notifier = RASX_NOTIFIER_WINDOW, .entry = "Office",
                                  .timeout_ms = RASX_FOREVER };
    uint32_t count;

    table.RasDialW = window_dial;
    table.RasHangUpW = hang_up;
    table.RasGetConnectStatusW = status;
    REQUIRE(rasx__open_table(&table, rasx__clock_real(), NULL, &client) == 0);
    REQUIRE(rasx_queue_open(client, NULL, NULL, &queue) == 0);
    REQUIRE(rasx_dial_start(queue, &options, &dial) == 0);
    count = collect(queue, events, 16);
    CHECK_EQ(seen_type, 0xFFFFFFFFu);
    CHECK_EQ(answers, 2);
    REQUIRE(count == 4);
    CHECK_EQ(events[0].state, 0);
    CHECK_EQ(events[1].state, 1);
    CHECK_EQ(events[2].state, 5);
    CHECK_EQ(events[2].error, 0x80420112u);
    CHECK_EQ(events[2].outcome, RASX_OUTCOME_FAILED);
    CHECK_EQ(events[2].subentry, 0);
    CHECK_EQ(events[2].origin, RASX_FROM_NOTIFIER);
    CHECK_EQ(events[3].state, RASX_HANGUP_GONE);
    CHECK(!IsWindow(seen_window)); /* it ended with its thread */
    rasx_queue_close(queue);
    CHECK_EQ(rasx_close(client, WAIT_MS), 0);
}

/* Each dial's window is its own, and the class stands once for all of them. */
TEST(test_many_windows_at_once)
{
    enum { MANY = 50 };
    rasx_client *client;
    rasx_queue *queue;
    static rasx_event events[1024];
    uint32_t count = 0, settled = 0, connected = 0, ready, n;

    REQUIRE(rasx_open("sim", NULL, &client) == 0);
    CHECK_EQ(rasx_sim_get_api()->reset(1), 0);
    REQUIRE(rasx_queue_open(client, NULL, NULL, &queue) == 0);
    for (int i = 0; i < MANY; i++) {
        char number[16];
        rasx_dial dial;
        rasx_dial_options options = { .size = sizeof options, .notifier = RASX_NOTIFIER_WINDOW, .entry = "",
                                      .phone_number = number, .timeout_ms = RASX_FOREVER };

        snprintf(number, sizeof number, "555%d", i);
        REQUIRE(rasx_dial_start(queue, &options, &dial) == 0);
    }
    while (settled < MANY && rasx_queue_wait(queue, WAIT_MS, 0, &ready) == 0 && ready) {
        REQUIRE(rasx_queue_drain(queue, events, 1024, &n) == 0);
        for (uint32_t i = 0; i < n; i++) {
            settled += events[i].outcome == RASX_OUTCOME_SETTLED;
            connected += events[i].outcome == RASX_OUTCOME_CONNECTED;
            if (events[i].outcome != RASX_OUTCOME_SETTLED) count++;
            if (events[i].outcome == RASX_OUTCOME_CONNECTED) {
                uint32_t result;
                CHECK_EQ(rasx_hang_up(client, events[i].handle, 1, 0, WAIT_MS, &result), 0);
            }
        }
    }
    CHECK_EQ(settled, MANY);
    CHECK_EQ(connected, MANY);
    CHECK(count >= 2 * MANY);
    rasx_queue_close(queue);
    CHECK_EQ(rasx_close(client, WAIT_MS), 0);
    CHECK_EQ(rasx_sim_get_api()->reset(1), 0);
}

/* Notifications that come before RasDial has returned reach the window of a thread that is inside RasDial (S8.5). */
TEST(test_s8_5_early_notifications_reach_the_window)
{
    rasx_client *client;
    rasx_queue *queue;
    rasx_dial dial;
    rasx_event events[64];
    rasx_dial_options options = { .size = sizeof options, .notifier = RASX_NOTIFIER_WINDOW, .entry = "", .phone_number = "1",
                                  .timeout_ms = RASX_FOREVER };
    uint32_t count, result;

    for (int on_caller = 0; on_caller < 2; on_caller++) {
        REQUIRE(rasx_open("sim", NULL, &client) == 0);
        CHECK_EQ(rasx_sim_get_api()->reset(1), 0);
        CHECK_EQ(rasx_sim_get_api()->knob(NULL, "early", 1000), 0);
        CHECK_EQ(rasx_sim_get_api()->knob(NULL, "early_on_caller", on_caller), 0);
        REQUIRE(rasx_queue_open(client, NULL, NULL, &queue) == 0);
        REQUIRE(rasx_dial_start(queue, &options, &dial) == 0);
        count = collect(queue, events, 64);
        REQUIRE(count > 2);
        CHECK_EQ(events[count - 2].outcome, RASX_OUTCOME_CONNECTED);
        CHECK_EQ(rasx_hang_up(client, events[count - 1].handle, 1, 0, WAIT_MS, &result), 0);
        rasx_queue_close(queue);
        CHECK_EQ(rasx_close(client, WAIT_MS), 0);
    }
    CHECK_EQ(rasx_sim_get_api()->reset(1), 0);
}

#define TESTS(X) X(test_s8_31_window_notifier) X(test_many_windows_at_once) X(test_s8_5_early_notifications_reach_the_window)
TEST_MAIN(TESTS)
