/* test_core.c: the core over a RAS table that the test itself fills, so that every odd behaviour is exactly placed.
 *
 * SPDX-License-Identifier: MIT
 *
 * No test sleeps: the table's functions wait on events that the test sets, and the test waits on the queue.
 */
#include "../../csrc/core.h"
#include "testhelp.h"

/* --- A RAS implementation made of switches --- */

static struct fake {
    rasx__event  entered;      /* set when RasDial has been entered */
    rasx__event  go;           /* RasDial waits for it when `hold` */
    rasx__a32    hold;
    rasx__a32    dials, hangups, statuses;
    rasx__a32    status_code, status_state, status_error;
    rasx__a32    gone_after_hangup; /* RasHangUp makes the status answer 6 */
    rasx__a32    hangup_code;
    uint32_t     dial_code;
    uint64_t     handle;       /* what *phRasConn becomes */
    uintptr_t    id;           /* dwCallbackId of the latest dial */
    void        *notifier;
    uint32_t     notifier_type;
    int          early;        /* notifications inside RasDial: 1 all of a good dial, 2 an error */
    char16_t     password[257];
    uintptr_t    handle_on_entry;
    uint32_t     resumed;      /* RasDial calls with a handle */
    char16_t     username[257];
} fake;

static rasx__mutex fake_lock = RASX_MUTEX_INIT;

static void tell(uintptr_t id, uint32_t state, uint32_t error)
{
    CHECK_EQ(rasx__on_ras_dial_func2(id, 1, (HRASCONN)(uintptr_t)fake.handle, 0xCCCD, state, error, 7), 1);
}

static uint32_t RASAPI_CALL fake_dial(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                      uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    (void)extensions;
    (void)phonebook;
    rasx__lock(&fake_lock); /* the bank test dials from many threads at once */
    fake.id = params->dwCallbackId;
    fake.notifier = notifier;
    fake.notifier_type = notifier_type;
    fake.handle_on_entry = (uintptr_t)*connection;
    fake.resumed += *connection != NULL;
    memcpy(fake.username, params->szUserName, sizeof fake.username);
    memcpy(fake.password, params->szPassword, sizeof fake.password);
    rasx__unlock(&fake_lock);
    if (fake.early == 1 || fake.early == 3) {
        if (fake.early == 1) tell(params->dwCallbackId, RASCS_OpenPort, 0); /* 3: of a connected entry (S1.8) */
        tell(params->dwCallbackId, RASCS_Connected, 0);
    } else if (fake.early == 2) {
        tell(params->dwCallbackId, RASCS_AuthNotify, 691);
    }
    (void)rasx__add(&fake.dials, 1);
    rasx__event_set(&fake.entered);
    while (rasx__load(&fake.hold)) (void)rasx__event_wait(&fake.go, 50u * 1000000u);
    *connection = (HRASCONN)(uintptr_t)fake.handle;
    return fake.dial_code;
}

static uint32_t RASAPI_CALL fake_hang_up(HRASCONN connection)
{
    (void)connection;
    (void)rasx__add(&fake.hangups, 1);
    if (rasx__load(&fake.hangup_code)) return rasx__load(&fake.hangup_code);
    if (rasx__load(&fake.gone_after_hangup)) rasx__store(&fake.status_code, rasx__load(&fake.gone_after_hangup));
    return 0;
}

static uint32_t RASAPI_CALL fake_status(HRASCONN connection, RASCONNSTATUSW *status)
{
    (void)connection;
    (void)rasx__add(&fake.statuses, 1);
    status->rasconnstate = rasx__load(&fake.status_state);
    status->dwError = rasx__load(&fake.status_error);
    return rasx__load(&fake.status_code);
}

static rasapi table;

static void reset_fake(void)
{
    static int once;
    if (!once) {
        CHECK_EQ(rasx__event_init(&fake.entered), 0);
        CHECK_EQ(rasx__event_init(&fake.go), 0);
        once = 1;
    }
    rasx__store(&fake.hold, 0);
    rasx__store(&fake.dials, 0);
    rasx__store(&fake.hangups, 0);
    rasx__store(&fake.statuses, 0);
    rasx__store(&fake.status_code, 0);
    rasx__store(&fake.status_state, RASCS_OpenPort);
    rasx__store(&fake.status_error, 0);
    rasx__store(&fake.gone_after_hangup, 6);
    rasx__store(&fake.hangup_code, 0);
    fake.dial_code = 0;
    fake.handle = 0x1234567890u & UINTPTR_MAX;
    fake.early = 0;
    fake.resumed = 0;
    (void)rasx__event_wait(&fake.entered, 0);
    (void)rasx__event_wait(&fake.go, 0);
    memset(&table, 0, sizeof table);
    table.RasDialW = fake_dial;
    table.RasHangUpW = fake_hang_up;
    table.RasGetConnectStatusW = fake_status;
}

/* --- A consumer --- */

typedef struct seen {
    rasx_event events[512];
    uint32_t   count, outcomes, settled;
    rasx_event outcome, end;
} seen;

static void collect_ready(rasx_queue *queue, seen *s)
{
    rasx_event batch[64];
    uint32_t got = 0;
    CHECK_EQ(rasx_queue_drain(queue, batch, 64, &got), 0);
    for (uint32_t i = 0; i < got; i++) {
        if (batch[i].outcome == RASX_OUTCOME_SETTLED) {
            s->settled++;
            s->end = batch[i];
            continue;
        }
        if (batch[i].outcome != RASX_OUTCOME_NONE) {
            s->outcomes++;
            s->outcome = batch[i];
        }
        if (s->count < 512) s->events[s->count++] = batch[i];
    }
}

static void until_settled(rasx_queue *queue, seen *s, uint32_t settled)
{
    uint32_t ready;
    while (s->settled < settled) {
        CHECK_EQ(rasx_queue_wait(queue, RASX_FOREVER, 0, &ready), 0);
        collect_ready(queue, s);
    }
}

static void until_outcome(rasx_queue *queue, seen *s)
{
    uint32_t ready;
    while (s->outcomes == 0) {
        CHECK_EQ(rasx_queue_wait(queue, RASX_FOREVER, 0, &ready), 0);
        collect_ready(queue, s);
    }
}

typedef struct house { rasx_client *client; rasx_queue *queue; } house;

static house open_house(void)
{
    house h = { NULL, NULL };
    reset_fake();
    CHECK_EQ(rasx__open_table(&table, rasx__clock_real(), NULL, &h.client), 0);
    CHECK_EQ(rasx_queue_open(h.client, NULL, NULL, &h.queue), 0);
    return h;
}

static void close_house(house h)
{
    rasx_counters left;
    CHECK_EQ(rasx_close(h.client, 10000), 0);
    rasx_queue_close(h.queue);
    rasx_get_counters(&left);
    CHECK_EQ(left.slots, 0);
    CHECK_EQ(left.threads, 0);
    CHECK_EQ(left.queues, 0);
    CHECK_EQ(left.clients, 0);
    CHECK_EQ(left.abandoned, 0);
}

static rasx_dial_options plain(void)
{
    rasx_dial_options o;
    memset(&o, 0, sizeof o);
    o.size = sizeof o;
    o.notifier = RASX_NOTIFIER_FUNC2;
    o.entry = "Office VPN";
    o.username = "ada";
    o.timeout_ms = RASX_FOREVER;
    return o;
}

/* --- Tests --- */

TEST(test_dial_returns_while_ras_dial_blocks)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    seen s = { 0 };
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0); /* would never return if it waited for RasDial */
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    tell(fake.id, RASCS_OpenPort, 0);
    tell(fake.id, RASCS_Connected, 0);
    until_outcome(h.queue, &s); /* S8.5: all of them, Connected too, before RasDial has returned */
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_CONNECTED);
    CHECK_EQ(s.settled, 0);
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(s.count, 2);
    CHECK_EQ(s.end.state, RASX_HANGUP_NONE);
    CHECK_EQ(rasx__load(&fake.hangups), 0);
    CHECK_EQ(s.end.handle, fake.handle);
    uint32_t result;
    CHECK_EQ(rasx_hang_up(h.client, s.end.handle, 0, 0, 1000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
    close_house(h);
}

TEST(test_s8_01_02_03_handle_after_an_error)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    seen first = { 0 }, second = { 0 };
    fake.dial_code = 633;
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &first, 1);
    CHECK_EQ(first.outcome.error, 633);
    CHECK_EQ(first.outcome.origin, RASX_FROM_RETURN);
    CHECK_EQ(rasx__load(&fake.hangups), 1);
    CHECK_EQ(fake.handle_on_entry, 0);
    fake.handle = 0;
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &second, 1);
    CHECK_EQ(second.outcome.error, 633);
    CHECK_EQ(second.end.state, RASX_HANGUP_NONE);
    CHECK_EQ(rasx__load(&fake.hangups), 1);
    CHECK_EQ(fake.handle_on_entry, 0);
    close_house(h);
}

TEST(test_first_error_wins_and_later_events_follow)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    seen s = { 0 };
    fake.early = 2;
    fake.dial_code = 635; /* the error of the notification came first */
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(s.outcomes, 1);
    CHECK_EQ(s.outcome.error, 691);
    CHECK_EQ(s.outcome.extended_error, 0); /* S8.25 */
    CHECK_EQ(s.outcome.state, RASCS_AuthNotify);
    CHECK_EQ(rasx__load(&fake.hangups), 1);
    close_house(h);
}

TEST(test_cancel_settles_at_once_while_ras_dial_blocks)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    uint32_t decided;
    seen s = { 0 };
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    CHECK_EQ(rasx_dial_cancel(dial, &decided), 0);
    CHECK_EQ(decided, 1);
    CHECK_EQ(rasx_dial_cancel(dial, &decided), 0);
    CHECK_EQ(decided, 0);
    until_outcome(h.queue, &s);
    CHECK_EQ(s.outcome.origin, RASX_FROM_CANCEL);
    CHECK_EQ(s.outcome.error, 631);
    CHECK_EQ(rasx__load(&fake.hangups), 0);
    uintptr_t id = fake.id;
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(rasx__load(&fake.hangups), 1);
    CHECK_EQ(s.end.state, RASX_HANGUP_GONE);
    CHECK_EQ(s.outcomes, 1);
    CHECK_EQ(rasx_dial_cancel(dial, &decided), RASX_E_UNKNOWN_DIAL);
    tell(id, RASCS_Connected, 0); /* S8.13: a stale id meets a foreign generation */
    collect_ready(h.queue, &s);
    CHECK_EQ(s.outcomes, 1);
    close_house(h);
}

TEST(test_time_out_while_ras_dial_blocks)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    seen s = { 0 };
    o.timeout_ms = 1;
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_outcome(h.queue, &s);
    CHECK_EQ(s.outcome.origin, RASX_FROM_TIMEOUT);
    CHECK_EQ(s.outcome.error, 638);
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(s.outcomes, 1);
    close_house(h);
}

TEST(test_s8_35_missing_notifications_are_replaced_by_the_status)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    seen s = { 0 };
    rasx__store(&fake.status_state, RASCS_Connected);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_CONNECTED);
    CHECK_EQ(s.outcome.origin, RASX_FROM_POLL);
    CHECK_EQ(s.count, 1);
    uint32_t result;
    CHECK_EQ(rasx_hang_up(h.client, s.end.handle, 0, 0, 1000, &result), 0);
    close_house(h);
}

/* Progress beyond the ring is counted, pauses and the outcome have places of their own. */
TEST(test_outcome_is_never_lost)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    uint32_t lost = 0;
    seen s = { 0 };
    o.capacity = 4;
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    for (uint32_t i = 0; i < 100; i++) tell(fake.id, RASCS_AuthNotify, 0);
    tell(fake.id, RASCS_Connected, 0);
    CHECK_EQ(rasx_dial_lost(dial, &lost), 0);
    until_outcome(h.queue, &s);
    CHECK_EQ(lost + s.count, 101);
    CHECK_EQ(s.outcome.state, RASCS_Connected);
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(s.end.extended_error, lost);
    uint32_t result;
    CHECK_EQ(rasx_hang_up(h.client, s.end.handle, 0, 0, 1000, &result), 0);
    close_house(h);
}

/* Several producers for one dial, one consumer: what is delivered and what is counted as lost is all there was. */
static rasx__a32 storm_left;
static uintptr_t storm_id;
static uint32_t  storm_each;

static void storm(void *number)
{
    for (uint32_t i = 0; i < storm_each; i++) tell(storm_id, i + 1 == storm_each && number ? RASCS_Connected : RASCS_AuthNotify, 0);
    (void)rasx__sub(&storm_left, 1);
}

TEST(test_many_handlers_one_outcome)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    static int yes = 1;
    uint64_t counted = 0;
    uint32_t outcomes = 0, settled = 0, ready, got, lost = 0;
    rasx_event batch[64], end = { 0 };
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    storm_id = fake.id;
    storm_each = test_load(50000);
    rasx__store(&storm_left, 4);
    for (int i = 0; i < 4; i++) CHECK_EQ(rasx__thread_start(storm, i >= 2 ? &yes : NULL), 0);
    int released = 0;
    while (!settled) {
        if (!released && rasx__load(&storm_left) == 0) {
            rasx__store(&fake.hold, 0);
            rasx__event_set(&fake.go);
            released = 1;
        }
        CHECK_EQ(rasx_queue_wait(h.queue, 10, 0, &ready), 0);
        CHECK_EQ(rasx_queue_drain(h.queue, batch, 64, &got), 0);
        for (uint32_t i = 0; i < got; i++) {
            if (batch[i].outcome == RASX_OUTCOME_SETTLED) {
                settled = 1;
                end = batch[i];
                continue;
            }
            counted++;
            outcomes += batch[i].outcome == RASX_OUTCOME_CONNECTED;
        }
    }
    lost = end.extended_error;
    CHECK_EQ(outcomes, 1);
    CHECK_EQ(counted + lost, 4ull * storm_each);
    uint32_t result;
    CHECK_EQ(rasx_hang_up(h.client, end.handle, 0, 0, 1000, &result), 0);
    close_house(h);
}

TEST(test_kinds_0_and_1_through_trampolines)
{
    house h = open_house();
    for (uint32_t kind = 0; kind < 2; kind++) {
        rasx_dial_options o = plain();
        rasx_dial dial;
        seen s = { 0 };
        o.notifier = kind;
        rasx__store(&fake.hold, 1);
        CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
        CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
        CHECK_EQ(fake.notifier_type, kind);
        if (kind == 0) {
            RASDIALFUNC func = (RASDIALFUNC)(uintptr_t)fake.notifier;
            func(0xCCCD, RASCS_OpenPort, 0);
            func(0xCCCD, RASCS_OpenPort, 651);
        } else {
            RASDIALFUNC1 func1 = (RASDIALFUNC1)(uintptr_t)fake.notifier;
            func1((HRASCONN)(uintptr_t)fake.handle, 0xCCCD, RASCS_OpenPort, 0, 0);
            func1((HRASCONN)(uintptr_t)fake.handle, 0xCCCD, RASCS_OpenPort, 645, 99);
        }
        rasx__store(&fake.hold, 0);
        rasx__event_set(&fake.go);
        until_settled(h.queue, &s, 1);
        CHECK_EQ(s.count, 2);
        CHECK_EQ(s.outcome.error, kind == 0 ? 651 : 645);
        CHECK_EQ(s.outcome.extended_error, kind == 0 ? 0 : 99);
        CHECK_EQ(s.events[0].handle, kind == 0 ? 0 : fake.handle);
        rasx__store(&fake.status_code, 0);
    }
    CHECK_EQ(rasx__load(&fake.hangups), 2);
    close_house(h);
}

TEST(test_a_bank_of_32_makes_the_33rd_wait)
{
    house h = open_house();
    rasx_dial dials[33];
    seen s = { 0 };
    rasx_dial_options o = plain();
    o.notifier = RASX_NOTIFIER_FUNC1;
    rasx__store(&fake.hold, 1);
    for (uint32_t i = 0; i < 33; i++) CHECK_EQ(rasx_dial_start(h.queue, &o, &dials[i]), 0);
    while (rasx__load(&fake.dials) < 31) (void)rasx__event_wait(&fake.entered, 50u * 1000000u);
    rasx_dial_cancel(dials[0], NULL); /* works for one that waits as for one that is blocked */
    for (uint32_t i = 1; i < 33; i++) rasx_dial_cancel(dials[i], NULL);
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    while (s.settled < 33) {
        uint32_t ready;
        CHECK_EQ(rasx_queue_wait(h.queue, RASX_FOREVER, 0, &ready), 0);
        collect_ready(h.queue, &s);
    }
    CHECK_EQ(s.outcomes, 33);
    CHECK(rasx__load(&fake.dials) <= 32);
    CHECK_EQ(rasx__load(&fake.dials), rasx__load(&fake.hangups));
    close_house(h);
}

TEST(test_s8_44_hang_up_is_bounded_whatever_the_status_says)
{
    house h = open_house();
    uint32_t result;
    rasx__store(&fake.gone_after_hangup, 668);
    CHECK_EQ(rasx_hang_up(h.client, 99, 0, 0, 1000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
    rasx__store(&fake.gone_after_hangup, 0);
    rasx__store(&fake.status_code, 0);
    rasx__store(&fake.statuses, 0);
    CHECK_EQ(rasx_hang_up(h.client, 99, 0, 0, 200, &result), 0); /* a stub that returns 0 for ever */
    CHECK_EQ(result, RASX_HANGUP_CLOSING);
    CHECK(rasx__load(&fake.statuses) <= 6); /* 50 ms steps: it does not spin */
    rasx__store(&fake.status_code, 1722);
    rasx__store(&fake.statuses, 0);
    CHECK_EQ(rasx_hang_up(h.client, 99, 0, 0, 60000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_CLOSING);
    CHECK_EQ(rasx__load(&fake.statuses), 5);
    rasx__store(&fake.hangup_code, 753); /* S8.49 */
    CHECK_EQ(rasx_hang_up(h.client, 99, 0, 0, 1000, &result), 753);
    CHECK_EQ(rasx_hang_up(h.client, 0, 0, 0, 1000, &result), 6);
    rasx__store(&fake.hangup_code, 668);
    CHECK_EQ(rasx_hang_up(h.client, 99, 0, 0, 1000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
    close_house(h);
}

TEST(test_s8_46_own_references_are_known_at_once)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    rasx_counters counters;
    uint32_t result;
    fake.early = 1;
    for (uint32_t i = 0; i < 2; i++) {
        seen s = { 0 };
        CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
        until_settled(h.queue, &s, 1);
        fake.early = 3;
    }
    rasx_get_counters(&counters);
    CHECK_EQ(counters.references, 2);
    rasx__store(&fake.gone_after_hangup, 0);
    rasx__store(&fake.status_state, RASCS_Connected);
    rasx__store(&fake.statuses, 0);
    CHECK_EQ(rasx_hang_up(h.client, fake.handle, 0, 0, 60000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_SHARED);
    CHECK_EQ(rasx__load(&fake.statuses), 0); /* no waiting */
    rasx__store(&fake.gone_after_hangup, 6);
    CHECK_EQ(rasx_hang_up(h.client, fake.handle, 0, 0, 60000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
    rasx_get_counters(&counters);
    CHECK_EQ(counters.references, 0);
    close_house(h);
}

/* S8.13, S8.50: the other side ended it; the handle value comes again; the old reference must not keep the new one up. */
TEST(test_references_of_a_lost_connection_do_not_outlive_it)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_counters counters;
    rasx_status status;
    rasx_dial dial;
    uint32_t result;
    fake.early = 1;
    for (int i = 0; i < 2; i++) { /* the second dial gets the handle of the first, which nobody hung up */
        seen s = { 0 };
        CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
        until_settled(h.queue, &s, 1);
        rasx_get_counters(&counters);
        CHECK_EQ(counters.references, 1);
    }
    CHECK_EQ(rasx_hang_up(h.client, fake.handle, 0, 0, 1000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
    rasx__store(&fake.status_code, 0);
    seen s = { 0 };
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &s, 1);
    rasx__store(&fake.status_code, 6);
    CHECK_EQ(rasx_get_status(h.client, fake.handle, &status), 6);
    rasx_get_counters(&counters);
    CHECK_EQ(counters.references, 0);
    close_house(h);
}

TEST(test_a_hang_up_before_ras_dial_has_returned_is_counted_once)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    rasx_counters counters;
    uint32_t result;
    seen s = { 0 };
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    tell(fake.id, RASCS_Connected, 0);
    until_outcome(h.queue, &s);
    CHECK_EQ(rasx_hang_up(h.client, s.outcome.handle, 0, 0, 1000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    until_settled(h.queue, &s, 1);
    rasx_get_counters(&counters);
    CHECK_EQ(counters.references, 0);
    CHECK_EQ(rasx__load(&fake.hangups), 1);
    close_house(h);
}

TEST(test_close_is_bounded_and_a_blocked_dial_is_hung_up_later)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    rasx_counters counters;
    rasx__store(&fake.hold, 1);
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    CHECK_EQ(rasx_close(h.client, 1), 258);
    rasx_queue_close(h.queue);
    tell(fake.id, RASCS_Connected, 0); /* late, on a closed queue */
    rasx__store(&fake.hold, 0);
    rasx__event_set(&fake.go);
    do rasx_get_counters(&counters); while (counters.threads || counters.slots);
    CHECK_EQ(rasx__load(&fake.hangups), 1);
    CHECK_EQ(counters.queues, 0);
}

TEST(test_one_consumer_at_a_time)
{
    house h = open_house();
    uint32_t ready;
    rasx__store(&h.queue->consumer, 1); /* as if another thread were inside */
    CHECK_EQ(rasx_queue_wait(h.queue, 0, 0, &ready), RASX_E_BUSY);
    rasx__store(&h.queue->consumer, 0);
    rasx_queue_wake(h.queue);
    CHECK_EQ(rasx_queue_wait(h.queue, RASX_FOREVER, 0, &ready), 0);
    CHECK_EQ(ready, 0);
    CHECK_EQ(rasx_queue_wait(h.queue, 0, 0, &ready), 0);
    close_house(h);
}

static rasx__a32 told;
static void count_event(void *context, const rasx_event *event)
{
    CHECK(context == &told);
    CHECK(event->dial != 0);
    (void)rasx__add(&told, 1);
}

TEST(test_an_embedder_hears_each_event_inside_the_handler)
{
    rasx_client *client;
    rasx_queue *queue;
    rasx_dial dial;
    seen s = { 0 };
    uint32_t result;
    reset_fake();
    rasx__store(&told, 0);
    CHECK_EQ(rasx__open_table(&table, rasx__clock_real(), NULL, &client), 0);
    CHECK_EQ(rasx_queue_open(client, count_event, &told, &queue), 0);
    rasx_dial_options o = plain();
    fake.early = 1;
    CHECK_EQ(rasx_dial_start(queue, &o, &dial), 0);
    until_settled(queue, &s, 1);
    CHECK_EQ(rasx__load(&told), 2);
    CHECK_EQ(rasx_hang_up(client, s.end.handle, 0, 0, 1000, &result), 0);
    CHECK_EQ(rasx_close(client, 1000), 0);
    rasx_queue_close(queue);
}

static int same(const char16_t *wide, const char *text)
{
    size_t i = 0;
    while (text[i] && wide[i] == (unsigned char)text[i]) i++;
    return !text[i] && !wide[i];
}

/* Drains until `count` events have been seen. */
static void until_count(rasx_queue *queue, seen *s, uint32_t count)
{
    uint32_t ready;
    while (s->count < count) {
        CHECK_EQ(rasx_queue_wait(queue, RASX_FOREVER, 0, &ready), 0);
        collect_ready(queue, s);
    }
}

TEST(test_s8_37_40_42_pauses_are_answered_with_the_same_handle_and_notifier)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_answer answer = { .size = sizeof answer, .username = "eve", .password = "second" };
    rasx_dial dial;
    seen s = { 0 };
    o.options = RDEOPT_PausedStates;
    o.password = "first";
    o.domain = "LAB";
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    CHECK_EQ(rasx_dial_resume(dial, &answer), RASX_E_NOT_PAUSED);
    void *notifier = fake.notifier;
    uintptr_t id = fake.id;
    tell(id, RASCS_RetryAuthentication, 691); /* S8.40: not the end, although there is an error */
    until_count(h.queue, &s, 1);
    CHECK_EQ(s.outcomes, 0);
    CHECK_EQ(rasx_dial_resume(dial, &answer), 0);
    CHECK_EQ(rasx_dial_resume(dial, &answer), RASX_E_NOT_PAUSED); /* answered once */
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    CHECK_EQ(fake.handle_on_entry, fake.handle);
    CHECK(fake.notifier == notifier && fake.id == id);
    CHECK(same(fake.username, "eve") && same(fake.password, "second"));
    tell(id, RASCS_AuthRetry, 0);
    tell(id, RASCS_PasswordExpired, 0);
    until_count(h.queue, &s, 3);
    rasx_answer only_password = { .size = sizeof only_password, .password = "third" };
    CHECK_EQ(rasx_dial_resume(dial, &only_password), 0);
    CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
    CHECK(same(fake.username, "eve") && same(fake.password, "third")); /* what was said before stays */
    CHECK_EQ(fake.resumed, 2);
    tell(id, RASCS_Connected, 0);
    until_settled(h.queue, &s, 1);
    CHECK_EQ(s.outcome.outcome, RASX_OUTCOME_CONNECTED);
    uint32_t result;
    CHECK_EQ(rasx_hang_up(h.client, s.end.handle, 0, 0, 1000, &result), 0);
    CHECK_EQ(rasx__load(&fake.dials), 3);
    close_house(h);
}

TEST(test_s8_39_a_pause_can_be_given_up_and_is_bounded)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_answer answer = { .size = sizeof answer };
    for (int i = 0; i < 3; i++) { /* cancelled; answered and cancelled at once; left alone */
        rasx_dial dial;
        seen s = { 0 };
        o.options = RDEOPT_PausedStates;
        o.pause_timeout_ms = i == 2 ? 1 : 0;
        rasx__store(&fake.status_code, 0);
        CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
        CHECK_EQ(rasx__event_wait(&fake.entered, RASX_NEVER), 1);
        tell(fake.id, RASCS_RetryAuthentication, 0);
        if (i == 1) CHECK_EQ(rasx_dial_resume(dial, &answer), 0);
        if (i < 2) CHECK_EQ(rasx_dial_cancel(dial, NULL), 0);
        until_settled(h.queue, &s, 1);
        CHECK_EQ(s.outcome.error, i < 2 ? 631 : 703);
        CHECK_EQ(s.outcome.origin, i < 2 ? RASX_FROM_CANCEL : RASX_FROM_TIMEOUT);
        CHECK_EQ(rasx_dial_resume(dial, &answer), RASX_E_UNKNOWN_DIAL);
        (void)rasx__event_wait(&fake.entered, 0);
    }
    CHECK_EQ(rasx__load(&fake.hangups), 3);
    close_house(h);
}

TEST(test_structures_of_older_and_newer_callers)
{
    house h = open_house();
    struct { rasx_dial_options known; uint64_t more[4]; } newer;
    rasx_dial_options o = plain();
    rasx_dial dial;
    seen s = { 0 };
    memset(&newer, 0xEE, sizeof newer);
    newer.known = o;
    newer.known.size = sizeof newer;
    fake.early = 2;
    CHECK_EQ(rasx_dial_start(h.queue, &newer.known, &dial), 0);
    until_settled(h.queue, &s, 1);
    o.size = (uint32_t)(offsetof(rasx_dial_options, pause_timeout_ms) + sizeof o.pause_timeout_ms); /* without padding */
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &s, 2);
    o.size--;
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), RASX_E_INVALID);
    close_house(h);
}

TEST(test_s8_58_59_limits_and_the_password_in_the_call)
{
    house h = open_house();
    rasx_dial_options o = plain();
    rasx_dial dial;
    char text[1100];
    memset(text, 'x', sizeof text);
    text[257] = 0;
    o.entry = text;
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), RASX_E_INVALID);
    o = plain();
    o.password = text;
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), RASX_E_INVALID);
    o.password = "\xC3\x28"; /* not UTF-8 */
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), RASX_E_INVALID);
    o = plain();
    o.domain = "a domain that is too long";
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), RASX_E_INVALID);
    text[256] = 0;
    o = plain();
    o.password = text;
    fake.early = 2;
    seen s = { 0 };
    CHECK_EQ(rasx_dial_start(h.queue, &o, &dial), 0);
    until_settled(h.queue, &s, 1);
    for (int i = 0; i < 256; i++) CHECK_EQ(fake.password[i], 'x');
    CHECK_EQ(fake.password[256], 0);
    rasx__wipe(fake.password, sizeof fake.password);
    close_house(h);
}

/* One record for each hang-up that was started: what became of it. */
static rasx_event end_of_call(rasx_queue *queue, uint64_t handle, uint32_t all, uint32_t resume_ms, uint32_t timeout_ms)
{
    rasx_dial call = 0;
    uint32_t decided = 7, paused = 7;
    seen s = { 0 };
    CHECK_EQ(rasx_hang_up_start(queue, handle, all, resume_ms, timeout_ms, &call), 0);
    CHECK(call != 0);
    (void)rasx_dial_cancel(call, &decided); /* it is no dial */
    CHECK(decided == 0 || decided == 7);
    (void)rasx_dial_paused(call, &paused);
    CHECK(paused == 0 || paused == 7);
    until_settled(queue, &s, 1);
    CHECK_EQ(s.count, 0);
    CHECK_EQ(s.outcomes, 0);
    CHECK_EQ(s.end.dial, call);
    return s.end;
}

TEST(test_hang_up_on_a_thread_of_its_own)
{
    house h = open_house();
    rasx_dial call;
    rasx_event end = end_of_call(h.queue, fake.handle, 0, 0, 5000);
    CHECK_EQ(end.state, RASX_HANGUP_GONE);
    CHECK_EQ(end.error, 0);
    CHECK_EQ(rasx__load(&fake.hangups), 1);

    rasx__store(&fake.status_code, 0); /* goes down, but slowly: first it is still closing, then somebody goes on waiting */
    rasx__store(&fake.gone_after_hangup, 0);
    rasx__store(&fake.status_state, RASCS_Disconnected);
    end = end_of_call(h.queue, fake.handle, 0, 0, 60);
    CHECK_EQ(end.state, RASX_HANGUP_CLOSING);
    CHECK_EQ(rasx__load(&fake.hangups), 2);
    rasx__store(&fake.status_code, 6);
    end = end_of_call(h.queue, fake.handle, 0, 60, 5000);
    CHECK_EQ(end.state, RASX_HANGUP_GONE);
    CHECK_EQ(rasx__load(&fake.hangups), 2); /* not another RasHangUp */

    rasx__store(&fake.hangup_code, 753);
    end = end_of_call(h.queue, fake.handle, 0, 0, 5000);
    CHECK_EQ(end.error, 753);

    CHECK_EQ(rasx_hang_up_start(h.queue, 0, 0, 0, 5000, &call), 6);
    CHECK_EQ(rasx_hang_up_start(NULL, 1, 0, 0, 5000, &call), RASX_E_INVALID);
    close_house(h);
}

TEST(test_closing_ends_the_looking_of_a_hang_up)
{
    house h = open_house();
    rasx_dial call;
    rasx__store(&fake.gone_after_hangup, 0);
    rasx__store(&fake.status_state, RASCS_Disconnected); /* never gone */
    CHECK_EQ(rasx_hang_up_start(h.queue, fake.handle, 0, 0, RASX_FOREVER, &call), 0);
    while (rasx__load(&fake.statuses) == 0) rasx__yield();
    CHECK_EQ(rasx_hang_up_start(h.queue, fake.handle, 0, 1, RASX_FOREVER, &call), 0);
    close_house(h); /* bounded, and nothing is left */
    CHECK_EQ(rasx__load(&fake.hangups), 1);
}

#define TESTS(X)                                                                                                             \
    X(test_dial_returns_while_ras_dial_blocks) X(test_s8_01_02_03_handle_after_an_error)                                     \
    X(test_first_error_wins_and_later_events_follow) X(test_cancel_settles_at_once_while_ras_dial_blocks)                    \
    X(test_time_out_while_ras_dial_blocks) X(test_s8_35_missing_notifications_are_replaced_by_the_status)                    \
    X(test_outcome_is_never_lost) X(test_many_handlers_one_outcome) X(test_kinds_0_and_1_through_trampolines)                \
    X(test_a_bank_of_32_makes_the_33rd_wait) X(test_s8_44_hang_up_is_bounded_whatever_the_status_says)                       \
    X(test_s8_46_own_references_are_known_at_once) X(test_references_of_a_lost_connection_do_not_outlive_it)                \
    X(test_a_hang_up_before_ras_dial_has_returned_is_counted_once)                                                           \
    X(test_close_is_bounded_and_a_blocked_dial_is_hung_up_later)              \
    X(test_one_consumer_at_a_time) X(test_an_embedder_hears_each_event_inside_the_handler)                                   \
    X(test_s8_37_40_42_pauses_are_answered_with_the_same_handle_and_notifier)                                                \
    X(test_s8_39_a_pause_can_be_given_up_and_is_bounded) X(test_s8_58_59_limits_and_the_password_in_the_call)            \
    X(test_structures_of_older_and_newer_callers) X(test_hang_up_on_a_thread_of_its_own) X(test_closing_ends_the_looking_of_a_hang_up)
TEST_MAIN(TESTS)
