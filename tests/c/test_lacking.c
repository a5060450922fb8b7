/* test_lacking.c: a RAS without the functions that this library can do without.
 *
 * SPDX-License-Identifier: MIT
 */
#include "testhelp.h"

#include "clock.h"
#include "core.h"
#include "rasapi.h"

#define NUMBER(ret, name, arguments, required) NUMBER_##name,
enum { RASAPI_FUNCTIONS(NUMBER) FUNCTION_COUNT };

/* Our own RAS without its nth function, if that is an optional one; FUNCTION_COUNT: without any of those. 1 when one is left out. */
static int table_without(rasapi *table, int nth)
{
    int left_out = 0;
    *table = *rasapi_sim();
#define LEAVE_OUT(ret, name, arguments, required)                                                                            \
    if (!(required) && (nth == NUMBER_##name || nth == FUNCTION_COUNT)) {                                                    \
        table->name = NULL;                                                                                                  \
        left_out = 1;                                                                                                        \
    }
    RASAPI_FUNCTIONS(LEAVE_OUT)
#undef LEAVE_OUT
    return left_out;
}

static void dial_and_ask(const rasapi *table)
{
    rasx_client *client = NULL;
    rasx_queue *queue = NULL;
    rasx_dial_options options;
    rasx_dial dial;
    rasx_event events[16];
    uint32_t ready, count, outcome = 0, error = 0, settled = 0;

    CHECK_EQ(rasx__open_table(table, rasx__clock_real(), "/nowhere/book.pbk", &client), 0);
    REQUIRE(client != NULL);
    CHECK_EQ(rasx_queue_open(client, NULL, NULL, &queue), 0);
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.notifier = RASX_NOTIFIER_FUNC2;
    options.entry = "Office VPN"; /* without a user name: the saved ones are asked for, where that can be done */
    options.timeout_ms = 20000;
    CHECK_EQ(rasx_dial_start(queue, &options, &dial), 0);
    while (!settled && rasx_queue_wait(queue, RASX_FOREVER, 0, &ready) == 0) {
        CHECK_EQ(rasx_queue_drain(queue, events, 16, &count), 0);
        for (uint32_t i = 0; i < count; i++) {
            if (events[i].outcome == RASX_OUTCOME_SETTLED) settled = 1;
            else if (events[i].outcome != RASX_OUTCOME_NONE) {
                outcome = events[i].outcome;
                error = events[i].error;
            }
        }
    }
    CHECK_EQ(outcome, RASX_OUTCOME_FAILED);
    CHECK_EQ(error, 621); /* RasDial's own answer: it has been called */
    CHECK_EQ(rasx_validate_entry_name(client, NULL, "Office VPN"), table->RasValidateEntryNameW ? 621 : RASX_E_NOT_AVAILABLE);
    count = 0;
    CHECK_EQ(rasx_list_entries(client, NULL, NULL, &count), 621);
    CHECK_EQ(rasx_close(client, 10000), 0);
    rasx_queue_close(queue);
}

/* Each alone, and all: opening, dialling and listing work; what needs the function says that this system lacks it. */
TEST(test_s8_77_a_missing_export_fails_only_the_call_that_needs_it)
{
    rasapi table;
    int left_out = 0;
    for (int nth = 0; nth <= FUNCTION_COUNT; nth++) {
        if (!table_without(&table, nth)) continue;
        left_out++;
        dial_and_ask(&table);
    }
    CHECK(left_out >= 2);
}

#define TESTS(X) X(test_s8_77_a_missing_export_fails_only_the_call_that_needs_it)
TEST_MAIN(TESTS)
