/* test_secret.c: a password leaves no copy in writable memory, neither in UTF-8 nor in UTF-16.
 *
 * SPDX-License-Identifier: MIT
 *
 * The marker is made at run time and kept split in two halves that are only ever combined one character at a time, so that
 * the scanner does not find itself. Every writable mapping of the process is read: heap, stacks of all threads, data.
 */
#include "../../csrc/core.h"
#include "testhelp.h"

#define LENGTH 24

static uint8_t key[LENGTH], masked[LENGTH]; /* the marker is key ^ masked */

static void make_marker(void)
{
    CHECK_EQ(rasx__random(key, sizeof key), 0);
    CHECK_EQ(rasx__random(masked, sizeof masked), 0);
    for (int i = 0; i < LENGTH; i++) masked[i] = (uint8_t)((uint8_t)('A' + (masked[i] % 26)) ^ key[i]);
}

/* `step` bytes apart (1: UTF-8, 2: UTF-16): does the marker stand at p? */
static int stands_at(const uint8_t *p, size_t step)
{
    for (size_t i = 0; i < LENGTH; i++) {
        if (p[i * step] != (uint8_t)(key[i] ^ masked[i])) return 0;
        if (step == 2 && p[i * step + 1] != 0) return 0;
    }
    return 1;
}

static unsigned scan_range(const uint8_t *from, const uint8_t *to)
{
    unsigned found = 0;
    uint8_t first = (uint8_t)(key[0] ^ masked[0]);
    for (const uint8_t *p = from; p + LENGTH * 2 <= to; p++) {
        if (*p != first) continue;
        found += (unsigned)stands_at(p, 1) + (unsigned)stands_at(p, 2);
    }
    return found;
}

/* Copies found in this process, or -1 where the system does not list its mappings. */
static int scan(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned found = 0;
    if (!maps) return -1;
    while (fgets(line, sizeof line, maps)) {
        unsigned long long from, to;
        char rights[8];
        if (sscanf(line, "%llx-%llx %7s", &from, &to, rights) != 3 || rights[0] != 'r' || rights[1] != 'w') continue;
        if (strstr(line, "[vvar]") || strstr(line, "[vsyscall]")) continue;
        found += scan_range((const uint8_t *)(uintptr_t)from, (const uint8_t *)(uintptr_t)to);
    }
    (void)fclose(maps);
    return (int)found;
}

static rasx_dial start(rasx_queue *queue, const char *phonebook, uint32_t options)
{
    rasx_dial dial = 0;
    char password[LENGTH + 1];
    rasx_dial_options o;
    memset(&o, 0, sizeof o);
    for (int i = 0; i < LENGTH; i++) password[i] = (char)(key[i] ^ masked[i]);
    password[LENGTH] = 0;
    o.size = sizeof o;
    o.notifier = RASX_NOTIFIER_FUNC2;
    o.phonebook = phonebook;
    o.entry = "Office VPN";
    o.username = "ada";
    o.password = password;
    o.options = options;
    o.timeout_ms = RASX_FOREVER;
    CHECK_EQ(rasx_dial_start(queue, &o, &dial), 0);
    rasx__wipe(password, sizeof password);
    return dial;
}

/* Drains until an event with this outcome has come (or, for NONE, a paused state). */
static rasx_event until(rasx_queue *queue, uint32_t outcome)
{
    rasx_event event;
    for (;;) {
        uint32_t count = 0, ready;
        CHECK_EQ(rasx_queue_drain(queue, &event, 1, &count), 0);
        if (count == 0) CHECK_EQ(rasx_queue_wait(queue, RASX_FOREVER, 0, &ready), 0);
        else if (outcome == RASX_OUTCOME_NONE ? (event.state & RASCS_PAUSED) && !(event.state & RASCS_DONE) : event.outcome == outcome) return event;
    }
}

static char book[64];

static void write_book(void)
{
    static const char text[] = "[Office VPN]\r\nMEDIA=rastapi\r\nPort=VPN2-0\r\nDevice=WAN Miniport (IKEv2)\r\nDEVICE=vpn\r\nPhoneNumber=vpn.example.net\r\n";
    (void)snprintf(book, sizeof book, "test_secret_%u.pbk", (unsigned)rasx__process_id());
    CHECK_EQ(rasx__file_append(book, text, sizeof text - 1), 0);
}

TEST(test_no_copy_of_a_password_is_left)
{
    rasx_client *client;
    rasx_queue *queue;
    uint32_t result;
    if (TEST_SANITIZED) SKIP("a sanitizer's own terabytes of shadow memory are no place to look for passwords");
    make_marker();
    if (scan() < 0) SKIP("this system does not list a process's mappings");
    char clear[LENGTH]; /* the scanner must be able to find it at all */
    for (int i = 0; i < LENGTH; i++) clear[i] = (char)(key[i] ^ masked[i]);
    CHECK(scan() > 0);
    rasx__wipe(clear, sizeof clear);
    CHECK_EQ(scan(), 0);

    write_book();
    const rasx_sim_api *sim = rasx_sim_get_api();
    CHECK_EQ(sim->reset(0), 0);
    CHECK_EQ(rasx_open("sim", NULL, &client), 0);
    CHECK_EQ(rasx_queue_open(client, NULL, NULL, &queue), 0);

    CHECK_EQ(sim->script("Office VPN", "vpn_ok"), 0); /* after success */
    (void)start(queue, book, 0);
    rasx_event event = until(queue, RASX_OUTCOME_SETTLED);
    CHECK_EQ(scan(), 0);
    CHECK_EQ(rasx_hang_up(client, event.handle, 0, 0, 10000, &result), 0);
    CHECK_EQ(result, RASX_HANGUP_GONE);

    CHECK_EQ(sim->script("Office VPN", "retry"), 0); /* during and after a pause */
    rasx_dial dial = start(queue, book, RDEOPT_PausedStates);
    (void)until(queue, RASX_OUTCOME_NONE);
    CHECK_EQ(scan(), 0);
    CHECK_EQ(rasx_dial_cancel(dial, NULL), 0);
    (void)until(queue, RASX_OUTCOME_SETTLED);
    CHECK_EQ(scan(), 0);

    CHECK_EQ(sim->script("Office VPN", "auth_fail"), 0); /* after a failure */
    (void)start(queue, book, 0);
    event = until(queue, RASX_OUTCOME_FAILED);
    CHECK_EQ(event.error, 691);
    (void)until(queue, RASX_OUTCOME_SETTLED);
    CHECK_EQ(scan(), 0);

    char account[LENGTH + 1]; /* and an account that the machine compares with: kept as a salted hash */
    for (int i = 0; i < LENGTH; i++) account[i] = (char)(key[i] ^ masked[i]);
    account[LENGTH] = 0;
    CHECK_EQ(sim->script("Office VPN", "vpn_ok"), 0);
    CHECK_EQ(sim->account("Office VPN", "ada", account), 0);
    CHECK_EQ(sim->save_credentials("Office VPN", "ada", account, ""), 0);
    rasx__wipe(account, sizeof account);
    CHECK_EQ(scan(), 0);
    (void)start(queue, book, 0);
    event = until(queue, RASX_OUTCOME_SETTLED);
    CHECK(event.handle != 0);
    CHECK_EQ(scan(), 0);
    CHECK_EQ(rasx_hang_up(client, event.handle, 1, 0, 10000, &result), 0);

    CHECK_EQ(rasx_close(client, 10000), 0);
    rasx_queue_close(queue);
    CHECK_EQ(scan(), 0);
    CHECK_EQ(sim->reset(1), 0);
    (void)remove(book);
}

#define TESTS(X) X(test_no_copy_of_a_password_is_left)
TEST_MAIN(TESTS)
