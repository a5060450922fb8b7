/* test_socket.c: consumers that wait on a socket in an event loop of their own never lose a wake-up.
 *
 * SPDX-License-Identifier: MIT
 *
 * The RAS is a table with nothing behind it: the test itself calls the handler, from threads of its own.
 */
#include "../../csrc/core.h"
#include "testhelp.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BOUND_MS 30000 /* real time after which a wake-up counts as lost */

static rasx__a64   dial_id;
static rasx__event dialled;

static uint32_t RASAPI_CALL quiet_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                       uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    (void)extensions;
    (void)phonebook;
    (void)notifier_type;
    (void)notifier;
    rasx__store64(&dial_id, params->dwCallbackId);
    *connection = (HRASCONN)(uintptr_t)0x77;
    rasx__event_set(&dialled);
    return 0;
}

static rasx__a32 hung_up;

static uint32_t RASAPI_CALL quiet_hang_up(HRASCONN connection)
{
    (void)connection;
    rasx__store(&hung_up, 1);
    return 0;
}

static uint32_t RASAPI_CALL quiet_status(HRASCONN connection, RASCONNSTATUSW *status)
{
    (void)connection;
    status->rasconnstate = RASCS_OpenPort;
    return rasx__load(&hung_up) ? 6 : 0;
}

typedef struct house {
    rasapi       table;
    rasx_client *client;
    rasx_queue  *queue;
    rasx_dial    dial;
    int          ours, theirs; /* we wait on ours; the core sends into theirs */
} house;

static int open_house(house *h, uint32_t timeout_ms)
{
    static int once;
    int pair[2];
    rasx_dial_options o;
    memset(h, 0, sizeof *h);
    memset(&o, 0, sizeof o);
    if (!once) CHECK_EQ(rasx__event_init(&dialled), 0);
    once = 1;
    rasx__store(&hung_up, 0);
    h->table.RasDialW = quiet_dial;
    h->table.RasHangUpW = quiet_hang_up;
    h->table.RasGetConnectStatusW = quiet_status;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return -1;
    CHECK_EQ(fcntl(pair[0], F_SETFL, O_NONBLOCK), 0);
    CHECK_EQ(fcntl(pair[1], F_SETFL, O_NONBLOCK), 0);
    h->ours = pair[0];
    h->theirs = pair[1];
    CHECK_EQ(rasx__open_table(&h->table, rasx__clock_real(), NULL, &h->client), 0);
    CHECK_EQ(rasx_queue_open(h->client, NULL, NULL, &h->queue), 0);
    CHECK_EQ(rasx_queue_set_socket(h->queue, (uint64_t)h->theirs), 0);
    o.size = sizeof o;
    o.notifier = RASX_NOTIFIER_FUNC2;
    o.entry = "Office VPN";
    o.username = "ada";
    o.timeout_ms = timeout_ms;
    o.capacity = 65536;
    CHECK_EQ(rasx_dial_start(h->queue, &o, &h->dial), 0);
    CHECK_EQ(rasx__event_wait(&dialled, RASX_NEVER), 1);
    return 0;
}

static void close_house(house *h)
{
    CHECK_EQ(rasx_close(h->client, 20000), 0);
    rasx_queue_close(h->queue);
    CHECK_EQ(close(h->ours), 0);
    CHECK_EQ(close(h->theirs), 0);
}

/* 1 when a byte came. */
static int wait_readable(const house *h, int timeout_ms)
{
    struct pollfd one = { h->ours, POLLIN, 0 };
    int got;
    do got = poll(&one, 1, timeout_ms);
    while (got < 0 && errno == EINTR);
    return got == 1;
}

static void empty_socket(const house *h)
{
    char bytes[64];
    while (recv(h->ours, bytes, sizeof bytes, 0) > 0) {}
}

static void notify(uint32_t state)
{
    CHECK_EQ(rasx__on_ras_dial_func2((uintptr_t)rasx__load64(&dial_id), 1, (HRASCONN)(uintptr_t)0x77, 0xCCCD, state, 0, 0), 1);
}

/* --- A million pushes --- */

typedef struct pusher { rasx__a64 *pushed; const rasx__a64 *seen; rasx__a32 *done; uint32_t count; uint64_t seed; } pusher;

/* Bursts of 1 to 64; after one in four it waits until the consumer has everything, which is then asleep or about to be. */
static void push_all(void *argument)
{
    const pusher *p = argument;
    uint64_t state = p->seed;
    for (uint32_t left = p->count; left > 0;) {
        uint32_t burst = (uint32_t)(test_random(&state) % 64) + 1;
        if (burst > left) burst = left;
        for (uint32_t i = 0; i < burst; i++) {
            (void)rasx__add64(p->pushed, 1);
            notify(RASCS_AuthNotify);
        }
        left -= burst;
        uint64_t until_ns = rasx__now_ns() + (uint64_t)BOUND_MS * 1000000u;
        int wait = test_random(&state) % 4 == 0;
        while (wait && rasx__load64(p->seen) < rasx__load64(p->pushed) && rasx__now_ns() < until_ns) rasx__yield();
    }
    (void)rasx__add(p->done, 1);
}

TEST(test_a_million_pushes_lose_no_wake_up)
{
    house h;
    rasx_event batch[64];
    rasx__a64 pushed = { 0 }, seen = { 0 };
    rasx__a32 done = { 0 };
    uint64_t state = test_setting("RASX_SEED", 11), bytes = 0;
    uint32_t count = test_load(500000), got, lost = 0;
    REQUIRE(open_house(&h, RASX_FOREVER) == 0);
    pusher one = { &pushed, &seen, &done, count, 1 }, two = { &pushed, &seen, &done, count, 2 };
    CHECK_EQ(rasx__thread_start(push_all, &one), 0);
    CHECK_EQ(rasx__thread_start(push_all, &two), 0);
    for (;;) {
        uint64_t choice = test_random(&state);
        if (rasx__load(&done) == 2 && rasx__load64(&seen) >= rasx__load64(&pushed)) break;
        if (choice % 16 == 0) { /* somebody stops waiting and starts again */
            CHECK_EQ(rasx_queue_set_socket(h.queue, RASX_NO_SOCKET), 0);
            if (choice % 32 == 0) empty_socket(&h);
            CHECK_EQ(rasx_queue_set_socket(h.queue, (uint64_t)h.theirs), 0);
        } else if (!wait_readable(&h, BOUND_MS)) {
            CHECK(rasx__load(&done) == 2 && "a wake-up was lost");
            break;
        }
        empty_socket(&h);
        bytes++;
        do { /* in small bites at times, so that the rest must be found again */
            uint32_t most = (uint32_t)(test_random(&state) % 64) + 1;
            CHECK_EQ(rasx_queue_drain(h.queue, batch, most, &got), 0);
            CHECK_EQ(rasx_dial_lost(h.dial, &lost), 0);
            (void)rasx__add64(&seen, got);
        } while (got > 0);
        REQUIRE(lost == 0); /* bursts of two threads that wait for us fit into the ring */
        if (rasx__load(&done) == 2 && rasx__load64(&seen) == 2u * (uint64_t)count) break;
    }
    CHECK_EQ(rasx__load64(&seen), 2u * (uint64_t)count);
    CHECK(bytes <= rasx__load64(&seen) + count);
    while (rasx__load(&done) != 2) rasx__yield();
    close_house(&h);
}

TEST(test_one_byte_for_each_drain_at_most)
{
    house h;
    char bytes[64];
    rasx_event batch[64];
    uint32_t got;
    REQUIRE(open_house(&h, RASX_FOREVER) == 0);
    CHECK(wait_readable(&h, BOUND_MS)); /* setting a socket rings once: there may have been something */
    empty_socket(&h);
    CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
    for (int i = 0; i < 20; i++) notify(RASCS_AuthNotify);
    CHECK(wait_readable(&h, BOUND_MS));
    CHECK_EQ(recv(h.ours, bytes, sizeof bytes, 0), 1);
    for (int i = 0; i < 20; i++) notify(RASCS_AuthNotify);
    CHECK(!wait_readable(&h, 0));
    CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
    CHECK_EQ(got, 40);
    rasx_queue_wake(h.queue);
    CHECK(wait_readable(&h, BOUND_MS));
    empty_socket(&h);
    CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
    CHECK_EQ(got, 0);
    CHECK_EQ(rasx_queue_set_socket(h.queue, RASX_NO_SOCKET), 0);
    notify(RASCS_AuthNotify);
    CHECK(!wait_readable(&h, 0));
    CHECK_EQ(rasx_queue_set_socket(h.queue, (uint64_t)h.theirs), 0); /* what came meanwhile is told */
    CHECK(wait_readable(&h, BOUND_MS));
    CHECK_EQ(rasx_queue_set_socket(NULL, 0), RASX_E_INVALID);
    close_house(&h);
}

TEST(test_a_full_or_closed_socket_holds_nobody)
{
    house h;
    rasx_event batch[64];
    uint32_t got;
    REQUIRE(open_house(&h, RASX_FOREVER) == 0);
    while (send(h.theirs, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1) {} /* nobody reads */
    for (int i = 0; i < 8; i++) {
        notify(RASCS_AuthNotify);
        CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
        CHECK_EQ(got, 1);
    }
    CHECK_EQ(shutdown(h.ours, SHUT_RD), 0);
    empty_socket(&h);
    for (int i = 0; i < 8; i++) {
        notify(RASCS_AuthNotify);
        CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
        CHECK_EQ(got, 1);
    }
    close_house(&h);
}

TEST(test_time_out_of_a_dial_for_who_waits_on_a_socket)
{
    house h;
    rasx_event batch[64];
    uint32_t got = 0, timeout_ms = 0, ready;
    REQUIRE(open_house(&h, RASX_FOREVER) == 0);
    CHECK_EQ(rasx_queue_timeout(h.queue, &timeout_ms), 0);
    CHECK_EQ(timeout_ms, RASX_FOREVER);
    close_house(&h);
    REQUIRE(open_house(&h, 60000) == 0);
    CHECK_EQ(rasx_queue_timeout(h.queue, &timeout_ms), 0);
    CHECK(timeout_ms > 0 && timeout_ms <= 60000);
    close_house(&h);
    REQUIRE(open_house(&h, 0) == 0);
    for (int settled = 0; !settled;) {
        CHECK_EQ(rasx_queue_timeout(h.queue, &timeout_ms), 0);
        CHECK(timeout_ms == 0 || timeout_ms == RASX_FOREVER);
        CHECK_EQ(rasx_queue_wait(h.queue, 0, 1, &ready), 0);
        CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
        for (uint32_t i = 0; i < got; i++) {
            if (batch[i].outcome == RASX_OUTCOME_FAILED) CHECK_EQ(batch[i].error, 638);
            settled |= batch[i].outcome == RASX_OUTCOME_SETTLED;
        }
        if (!settled) REQUIRE(wait_readable(&h, BOUND_MS));
        empty_socket(&h);
    }
    close_house(&h);
}

#define TESTS(X)                                                                                        \
    X(test_a_million_pushes_lose_no_wake_up) X(test_one_byte_for_each_drain_at_most)                    \
    X(test_a_full_or_closed_socket_holds_nobody) X(test_time_out_of_a_dial_for_who_waits_on_a_socket)
TEST_MAIN(TESTS)
