/* test_threads.c: every call of the public interface from several threads at once, on the simulated machine and the real clock.
 *
 * SPDX-License-Identifier: MIT
 *
 * What docs/free-threading.md calls shared is shared here, so that ThreadSanitizer sees it: clients, queues, slots, rings,
 * references, watches, the machine's settings, its list of connections and its cache of phone books. The threads draw what they do
 * from seeds; how they interleave is up to the system.
 */
#include "testhelp.h"

#include "../../csrc/os.h"
#include "../../csrc/ras_ext.h"

enum { DIALLERS = 3, MOST = 64 };

static const rasx_sim_api *sim;
static char book[1024];
static rasx_client *shared;    /* of all threads */
static rasx_queue *common;     /* everybody dials on it; one thread drains it */
static rasx__a32 running;      /* threads that have not ended */
static rasx__a32 dialling;     /* of these, those that dial */
static rasx__a32 started, decided, settled; /* on the common queue */
static rasx__a64 ids[MOST];    /* some of the dials, for everybody to touch; many of them are over */

static const char *const entries[] = { "Office VPN", "Home PPPoE", "Modem Backup", "Branch Multilink" };

static void set_up(void)
{
    const char *folder = getenv("RASX_TEST_DATA");

    snprintf(book, sizeof book, "%s/office.pbk", folder != NULL ? folder : "tests/data");
    sim = rasx_sim_get_api();
    CHECK_EQ(sim->reset(1), 0);
    CHECK_EQ(sim->knob(NULL, "hangup_delay_ms", 1), 0);
}

static rasx_dial_options options_for(uint64_t *seed)
{
    rasx_dial_options options;

    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.entry = entries[test_random(seed) % 4];
    options.notifier = (uint32_t)(test_random(seed) % 3);
    options.timeout_ms = RASX_FOREVER;
    options.hangup_timeout_ms = 20000;
    options.options = test_random(seed) % 4 == 0 ? 2 : 0; /* RDEOPT_PausedStates */
    options.pause_timeout_ms = 5;
    options.username = "ada";
    options.password = "lovelace";
    return options;
}

/* Takes what a queue has; hangs up what has connected. Returns how many dials have settled. */
static uint32_t drain(rasx_queue *queue, uint64_t *seed)
{
    rasx_event events[32];
    uint32_t count = 0, ended = 0, result;

    do {
        CHECK_EQ(rasx_queue_drain(queue, events, 32, &count), 0);
        for (uint32_t i = 0; i < count; i++) {
            rasx__store64(&ids[test_random(seed) % MOST], events[i].dial);
            if (events[i].outcome == RASX_OUTCOME_SETTLED)
                ended++;
            if (events[i].outcome == RASX_OUTCOME_CONNECTED || events[i].outcome == RASX_OUTCOME_FAILED)
                rasx__add(&decided, 1);
            if (events[i].outcome == RASX_OUTCOME_CONNECTED && events[i].handle != 0)
                (void)rasx_hang_up(shared, events[i].handle, 0, 0, (uint32_t)(test_random(seed) % 4), &result);
        }
    } while (count > 0);
    return ended;
}

static void dial_main(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    uint32_t rounds = test_load(60) < 20 ? 20 : test_load(60), own_started = 0, own_settled = 0;
    rasx_queue *own = NULL;
    rasx_dial dial;
    uint32_t ready;

    CHECK_EQ(rasx_queue_open(shared, NULL, NULL, &own), 0);
    for (uint32_t i = 0; i < rounds && own != NULL; i++) {
        rasx_dial_options options = options_for(&seed);

        if (rasx_dial_start(own, &options, &dial) == 0)
            own_started++;
        options = options_for(&seed);
        if (rasx_dial_start(common, &options, &dial) == 0) {
            rasx__add(&started, 1);
            rasx__store64(&ids[test_random(&seed) % MOST], dial);
        }
        own_settled += drain(own, &seed);
    }
    while (own != NULL && own_settled < own_started) {
        CHECK_EQ(rasx_queue_wait(own, 50, 0, &ready), 0);
        own_settled += drain(own, &seed);
    }
    rasx_queue_close(own);
    rasx__sub(&dialling, 1);
    rasx_queue_wake(common);
    rasx__sub(&running, 1);
}

static void drain_main(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    uint32_t ready;

    while (rasx__load(&dialling) > 0 || rasx__load(&settled) < rasx__load(&started)) {
        CHECK_EQ(rasx_queue_wait(common, 50, 0, &ready), 0);
        rasx__add(&settled, drain(common, &seed));
    }
    rasx__sub(&running, 1);
}

/* Touches dials that are anybody's and may be over, and asks for everything that can be asked. */
static void meddle_main(void *argument)
{
    static rasx_connection connections[2][256];
    static rasx_entry list[2][16];
    const uintptr_t which = (uintptr_t)argument % 2;
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    rasx_counters counters;
    rasx_sim_counters held;
    rasx_status status;
    char text[512];

    while (rasx__load(&dialling) > 0) {
        const rasx_dial dial = rasx__load64(&ids[test_random(&seed) % MOST]);
        uint32_t value = 0, count = 256;
        rasx_answer answer;
        uint64_t link;

        memset(&answer, 0, sizeof answer);
        answer.size = sizeof answer;
        answer.username = "ada";
        answer.password = "other";
        switch (test_random(&seed) % 10) {
        case 0: (void)rasx_dial_cancel(dial, &value); break;
        case 1: (void)rasx_dial_resume(dial, &answer); break;
        case 2: (void)rasx_dial_paused(dial, &value); break;
        case 3: (void)rasx_dial_lost(dial, &value); break;
        case 4: rasx_queue_wake(common); break;
        case 5:
            if (rasx_list_connections(shared, connections[which], &count) == 0 && count > 0 && count <= 256) {
                (void)rasx_get_status(shared, connections[which][0].handle, &status);
                (void)rasx_link_handle(shared, connections[which][0].handle, 1, &link);
            }
            break;
        case 6:
            count = 16;
            CHECK_EQ(rasx_list_entries(shared, book, list[which], &count), 0);
            CHECK_EQ(count, 4);
            break;
        case 7: rasx_get_counters(&counters); break;
        case 8: sim->counters(&held); break;
        default: CHECK_EQ(rasx_error_text(shared, 691, text, sizeof text), 0); break;
        }
    }
    rasx__sub(&running, 1);
}

static void settings_main(void *argument)
{
    static const char *const scripts[] = { "connect_now", "vpn_ok", "auth_fail", "retry" };
    rasx_sim_step steps[2];
    uint64_t seed = (uint64_t)(uintptr_t)argument;

    memset(steps, 0, sizeof steps);
    steps[1].state = 8192;
    while (rasx__load(&dialling) > 0) {
        const char *entry = entries[test_random(&seed) % 4];

        steps[1].delay_ms = (uint32_t)(test_random(&seed) % 3);
        if (test_random(&seed) % 2 == 0)
            CHECK_EQ(sim->script_steps(entry, steps, 2), 0);
        else
            CHECK_EQ(sim->script(entry, scripts[test_random(&seed) % 3 + (test_random(&seed) % 8 == 0)]), 0);
        CHECK_EQ(sim->knob(entry, "early", (int64_t)(test_random(&seed) % 3)), 0);
        CHECK_EQ(sim->knob(NULL, "threads", (int64_t)(test_random(&seed) % 3)), 0);
        CHECK_EQ(sim->save_credentials(entry, "ada", "lovelace", NULL), 0);
        CHECK_EQ(sim->fault("RasGetEntryPropertiesW", 87, 3, 1), 0);
        sim->seed(test_random(&seed));
        rasx__sleep_ms(1); /* load, not order: the machine is for the dials */
    }
    rasx__sub(&running, 1);
}

/* Clients and watches that come and go beside the others. */
static void visit_main(void *argument)
{
    uint64_t seed = (uint64_t)(uintptr_t)argument;

    while (rasx__load(&dialling) > 0) {
        rasx_client *client = NULL;
        rasx_queue *queue = NULL;
        rasx_watch *watch = NULL;
        rasx_dial dial;
        uint32_t changed;
        rasx_dial_options options = options_for(&seed);

        CHECK_EQ(rasx_open("sim", book, &client), 0);
        CHECK_EQ(rasx_watch_open(client, 10, &watch), 0);
        CHECK_EQ(rasx_queue_open(client, NULL, NULL, &queue), 0);
        (void)rasx_dial_start(queue, &options, &dial);
        (void)rasx_watch_wait(watch, 2, 0, &changed);
        if (test_random(&seed) % 2 == 0)
            (void)drain(queue, &seed);
        rasx_watch_close(watch);
        rasx_queue_close(queue); /* with a dial in flight */
        (void)rasx_close(client, (uint32_t)(test_random(&seed) % 20));
    }
    rasx__sub(&running, 1);
}

static void start(void (*body)(void *), uintptr_t seed)
{
    int code;

    rasx__add(&running, 1);
    code = rasx__thread_start(body, (void *)seed);
    CHECK_EQ(code, 0);
    if (code != 0)
        rasx__sub(&running, 1);
}

TEST(test_everything_from_everywhere)
{
    const uintptr_t seed = (uintptr_t)test_setting("RASX_SEED", 1);
    rasx_counters counters;
    rasx_sim_counters held;
    uint64_t until;

    set_up();
    CHECK_EQ(rasx_open("sim", book, &shared), 0);
    CHECK_EQ(rasx_queue_open(shared, NULL, NULL, &common), 0);
    rasx__store(&dialling, DIALLERS);
    for (uintptr_t i = 0; i < DIALLERS; i++)
        start(dial_main, seed * 100 + i);
    start(drain_main, seed * 100 + 10);
    start(meddle_main, seed * 100 + 20);
    start(meddle_main, seed * 100 + 21);
    start(settings_main, seed * 100 + 30);
    start(visit_main, seed * 100 + 40);
    while (rasx__load(&running) > 0)
        rasx__sleep_ms(1);
    CHECK(rasx__load(&started) > 0);
    CHECK_EQ(rasx__load(&settled), rasx__load(&started));
    CHECK(rasx__load(&decided) >= rasx__load(&started)); /* those of the threads' own queues count too */
    rasx_queue_close(common);
    (void)rasx_close(shared, 20000);
    until = rasx__now_ns() + UINT64_C(60000000000);
    do {
        rasx_get_counters(&counters);
        rasx__sleep_ms(1);
    } while ((counters.threads | counters.slots | counters.queues | counters.clients) != 0 && rasx__now_ns() < until);
    CHECK_EQ(counters.threads, 0);
    CHECK_EQ(counters.slots, 0);
    CHECK_EQ(counters.queues, 0);
    CHECK_EQ(counters.clients, 0);
    CHECK_EQ(sim->reset(1), 0);
    sim->counters(&held);
    CHECK_EQ(held.handles, 0);
    CHECK_EQ(held.threads, 0);
}

#define TESTS(X) X(test_everything_from_everywhere)
TEST_MAIN(TESTS)
