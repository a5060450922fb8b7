/* test_os.c: the platform layer keeps its promises: atomics, locks, events, threads, files.
 *
 * SPDX-License-Identifier: MIT
 *
 * RASX_STRESS scales the 20,000 rounds of the threaded tests.
 */
#ifndef _WIN32
#define _POSIX_C_SOURCE 200809L /* signals, fork and mkfifo, for the tests of POSIX behaviour */
#endif
#include "../../csrc/os.h"
#include "../../csrc/text.h"
#include "testhelp.h"

#ifndef _WIN32
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#else
#include <wchar.h>
#endif

#define MS UINT64_C(1000000)

static uint32_t rounds(void) { return test_load(20000); }

/* --- Atomics --------------------------------------------------------------------------------------------------------- */

/* "Each operation returns and stores what its comment in os.h says, at the wrap too." */
TEST(test_os_atomic_values)
{
    static rasx__a32 a;
    static rasx__a64 b;
    static rasx__aptr p;
    const uint64_t big = UINT64_C(0xFEDCBA9876543210);
    uint32_t e;
    uint64_t f;
    void *q;
    rasx__store(&a, 0xFFFFFFFFu);
    CHECK_EQ(rasx__load(&a), 0xFFFFFFFFu);
    CHECK_EQ(rasx__add(&a, 2), 0xFFFFFFFFu);
    CHECK_EQ(rasx__load_relaxed(&a), 1);
    CHECK_EQ(rasx__sub(&a, 3), 1);
    CHECK_EQ(rasx__load_seq(&a), 0xFFFFFFFEu);
    CHECK_EQ(rasx__exchange(&a, 0x80000000u), 0xFFFFFFFEu);
    e = 1;
    CHECK_EQ(rasx__cas(&a, &e, 5), 0);
    CHECK_EQ(e, 0x80000000u);
    CHECK_EQ(rasx__cas(&a, &e, 5), 1);
    CHECK_EQ(e, 0x80000000u);
    CHECK_EQ(rasx__load(&a), 5);
    e = 4;
    CHECK_EQ(rasx__cas_relaxed(&a, &e, 6), 0);
    CHECK_EQ(e, 5);
    while (!rasx__cas_relaxed(&a, &e, 6)) CHECK_EQ(e, 5);
    rasx__store_seq(&a, 7);
    CHECK_EQ(rasx__load(&a), 7);
    rasx__store_relaxed(&a, 8);
    CHECK_EQ(rasx__load(&a), 8);

    rasx__store64(&b, big);
    CHECK_EQ(rasx__load64(&b), big);
    CHECK_EQ(rasx__add64(&b, UINT64_C(0x0123456789ABCDF1)), big);
    CHECK_EQ(rasx__load64(&b), 1);
    f = 0;
    CHECK_EQ(rasx__cas64(&b, &f, big), 0);
    CHECK_EQ(f, 1);
    CHECK_EQ(rasx__cas64(&b, &f, big), 1);
    CHECK_EQ(rasx__load64(&b), big);

    CHECK(rasx__load_ptr(&p) == NULL);
    rasx__store_ptr(&p, &a);
    CHECK(rasx__load_ptr_seq(&p) == &a);
    CHECK(rasx__exchange_ptr(&p, &b) == &a);
    q = &a;
    CHECK_EQ(rasx__cas_ptr(&p, &q, &p), 0);
    CHECK(q == &b);
    CHECK_EQ(rasx__cas_ptr(&p, &q, &p), 1);
    CHECK(rasx__load_ptr(&p) == &p);
}

/* --- Threads and locks -------------------------------------------------------------------------------------------------- */

static struct {
    rasx__mutex lock;
    rasx__cond  cond;
    uint32_t    count, baton;  /* under the lock */
    rasx__a32   sum, ended;
    rasx__a64   sum64;
} shared = { RASX_MUTEX_INIT, RASX_COND_INIT, 0, 0, { 0 }, { 0 }, { 0 } };

static void count_up(void *argument)
{
    uint32_t i;
    (void)argument;
    for (i = 0; i < rounds(); i++) {
        rasx__lock(&shared.lock);
        shared.count++;
        rasx__unlock(&shared.lock);
        (void)rasx__add(&shared.sum, 1);
        (void)rasx__add64(&shared.sum64, UINT64_C(0x100000001));
    }
    (void)rasx__add(&shared.ended, 1);
}

static void wait_ended(uint32_t count)
{
    while (rasx__load(&shared.ended) < count) rasx__yield();
    rasx__store(&shared.ended, 0);
}

/* "Locks exclude, and read-modify-writes lose nothing, with four threads." */
TEST(test_os_mutex_and_sums)
{
    uint32_t i;
    for (i = 0; i < 4; i++) REQUIRE(rasx__thread_start(count_up, NULL) == 0);
    wait_ended(4);
    CHECK_EQ(shared.count, 4 * rounds());
    CHECK_EQ(rasx__load(&shared.sum), 4 * rounds());
    CHECK_EQ(rasx__load64(&shared.sum64), 4 * UINT64_C(0x100000001) * rounds());
}

static void pass_baton(void *argument)
{
    const uint32_t id = (uint32_t)(uintptr_t)argument;
    uint32_t i;
    const uint32_t n = rounds() / 10;
    for (i = 0; i < n; i++) {
        rasx__lock(&shared.lock);
        while (shared.baton % 3 != id) rasx__cond_wait(&shared.cond, &shared.lock, 0xFFFFFFFF);
        shared.baton++;
        if (i % 2 == 0) { /* with the lock and without: both are allowed */
            rasx__cond_signal_all(&shared.cond);
            rasx__unlock(&shared.lock);
        } else {
            rasx__unlock(&shared.lock);
            rasx__cond_signal_all(&shared.cond);
        }
    }
    (void)rasx__add(&shared.ended, 1);
}

/* "No signal is lost: three threads pass a baton round with waits that have no time-out." */
TEST(test_os_cond_passes_baton)
{
    uint32_t i;
    shared.baton = 0;
    for (i = 0; i < 3; i++) REQUIRE(rasx__thread_start(pass_baton, (void *)(uintptr_t)i) == 0);
    wait_ended(3);
    CHECK_EQ(shared.baton, 3 * (rounds() / 10));
}

/* "A wait with a bound ends by itself." */
TEST(test_os_cond_times_out)
{
    const uint64_t start = rasx__now_ns();
    rasx__lock(&shared.lock);
    while (rasx__now_ns() - start < 5 * MS) rasx__cond_wait(&shared.cond, &shared.lock, 1);
    rasx__unlock(&shared.lock);
    CHECK(rasx__now_ns() - start >= 5 * MS);
}

/* --- Events --------------------------------------------------------------------------------------------------------------- */

/* "Set stays until a wait takes it; several sets are one; peek leaves it." */
TEST(test_os_event_states)
{
    rasx__event e;
    REQUIRE(rasx__event_init(&e) == 0);
    CHECK_EQ(rasx__event_is_set(&e), 0);
    CHECK_EQ(rasx__event_wait(&e, 0), 0);
    rasx__event_set(&e);
    rasx__event_set(&e);
    CHECK_EQ(rasx__event_is_set(&e), 1);
    CHECK_EQ(rasx__event_peek(&e, RASX_NEVER), 1);
    CHECK_EQ(rasx__event_peek(&e, 0), 1);
    CHECK_EQ(rasx__event_is_set(&e), 1);
    CHECK_EQ(rasx__event_wait(&e, 0), 1);
    CHECK_EQ(rasx__event_is_set(&e), 0);
    CHECK_EQ(rasx__event_wait(&e, 0), 0);
    rasx__event_set(&e);
    CHECK_EQ(rasx__event_wait(&e, RASX_NEVER), 1);
    rasx__event_destroy(&e);
}

/* "A wait that nobody ends takes at least its time, and leaves the event as it was." */
TEST(test_os_event_times_out)
{
    static const uint64_t times[] = { 1, 1000, 100000, 3 * MS, 15 * MS };
    rasx__event e;
    size_t i;
    REQUIRE(rasx__event_init(&e) == 0);
    for (i = 0; i < sizeof times / sizeof *times; i++) {
        const uint64_t start = rasx__now_ns();
        const int result = rasx__event_wait(&e, times[i]);
        CHECK_EQ(result, 0);
        CHECK(rasx__now_ns() - start >= times[i]);
        CHECK_EQ(rasx__event_is_set(&e), 0);
    }
    rasx__event_set(&e); /* nobody sleeps, and a mark left over would lose this */
    CHECK_EQ(rasx__event_wait(&e, RASX_NEVER - 5), 1);
    rasx__event_destroy(&e);
}

static struct { rasx__event there, back; uint32_t value; } ball;

static void return_ball(void *argument)
{
    uint32_t i;
    (void)argument;
    for (i = 0; i < rounds(); i++) {
        while (rasx__event_wait(&ball.there, RASX_NEVER) != 1) {}
        ball.value++; /* no lock: the events order it */
        rasx__event_set(&ball.back);
    }
    (void)rasx__add(&shared.ended, 1);
}

/* "Events hand data over without loss, whether the waiter sleeps already or not, with bounded and unbounded waits." */
TEST(test_os_event_ping_pong)
{
    uint32_t i;
    REQUIRE(rasx__event_init(&ball.there) == 0 && rasx__event_init(&ball.back) == 0);
    REQUIRE(rasx__thread_start(return_ball, NULL) == 0);
    for (i = 0; i < rounds(); i++) {
        CHECK_EQ(ball.value, i);
        rasx__event_set(&ball.there);
        if (i % 16 == 0) rasx__yield();
        while (rasx__event_wait(&ball.back, i % 3 == 0 ? 50000 : RASX_NEVER) != 1) {} /* some run out and start again */
    }
    CHECK_EQ(ball.value, rounds());
    wait_ended(1);
    rasx__event_destroy(&ball.there);
    rasx__event_destroy(&ball.back);
}

#ifndef _WIN32
static rasx__a32 signal_state; /* 0 wait, 1 done */
static pthread_t main_thread;
static rasx__a32 blocked_signals;

static void on_signal(int number) { (void)number; }

static void send_signals(void *argument)
{
    sigset_t set;
    (void)argument;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    rasx__store(&blocked_signals, sigismember(&set, SIGUSR1) == 1 && sigismember(&set, SIGINT) == 1 &&
                                      sigismember(&set, SIGTERM) == 1 && sigismember(&set, SIGSEGV) == 0);
    while (!rasx__load(&signal_state)) { /* the first may come before the wait */
        (void)pthread_kill(main_thread, SIGUSR1);
        rasx__yield();
    }
    (void)rasx__add(&shared.ended, 1);
}
#endif

/* "A signal ends a wait with -1, and started threads have signals blocked." */
TEST(test_os_event_wait_sees_signal)
{
#ifdef _WIN32
    SKIP("POSIX signals");
#else
    struct sigaction action, before;
    rasx__event e;
    REQUIRE(rasx__event_init(&e) == 0);
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    (void)sigemptyset(&action.sa_mask);
    REQUIRE(sigaction(SIGUSR1, &action, &before) == 0);
    main_thread = pthread_self();
    rasx__store(&signal_state, 0);
    REQUIRE(rasx__thread_start(send_signals, NULL) == 0);
    CHECK_EQ(rasx__event_wait(&e, RASX_NEVER), -1);
    CHECK_EQ(rasx__event_is_set(&e), 0);
    rasx__store(&signal_state, 1);
    wait_ended(1);
    CHECK_EQ(rasx__load(&blocked_signals), 1);
    rasx__event_set(&e);
    CHECK_EQ(rasx__event_wait(&e, RASX_NEVER), 1);
    (void)sigaction(SIGUSR1, &before, NULL);
    rasx__event_destroy(&e);
#endif
}

/* --- Time, chance, the process ----------------------------------------------------------------------------------------------- */

TEST(test_os_time)
{
    uint64_t last = rasx__now_ns();
    uint32_t i;
    const uint64_t start = last;
    for (i = 0; i < 10000; i++) {
        const uint64_t t = rasx__now_ns();
        CHECK(t >= last);
        last = t;
    }
    rasx__sleep_ms(0);
    rasx__sleep_ms(3);
    CHECK(rasx__now_ns() - start >= 2 * MS); /* Windows may round a sleep down by a tick */
    CHECK(rasx__process_id() != 0);
}

/* "Random bytes fill the buffer and nothing beside it; wiping zeroes it and nothing beside it." */
TEST(test_os_random_and_wipe)
{
    static unsigned char a[5002], b[5002];
    size_t i, zeros = 0, same = 0;
    a[0] = a[5001] = 0x5A;
    CHECK_EQ(rasx__random(a + 1, 5000), 0);
    CHECK_EQ(rasx__random(b + 1, 5000), 0);
    CHECK_EQ(rasx__random(b, 0), 0);
    for (i = 1; i <= 5000; i++) {
        zeros += a[i] == 0;
        same += a[i] == b[i];
    }
    CHECK(zeros < 100); /* 20 expected; chance of 100 is below 1e-30 */
    CHECK(same < 100);
    CHECK_EQ(a[0], 0x5A);
    CHECK_EQ(a[5001], 0x5A);
    rasx__wipe(a + 1, 5000);
    for (i = 1; i <= 5000; i++) CHECK_EQ(a[i], 0);
    CHECK_EQ(a[0], 0x5A);
    CHECK_EQ(a[5001], 0x5A);
}

static rasx__a32 forked;

static void on_fork(void) { rasx__store(&forked, 1); }

/* "The fork handler runs in the child and not in the parent." */
TEST(test_os_fork_handler)
{
#ifdef _WIN32
    rasx__on_fork_child(on_fork);
    SKIP("no fork here");
#else
    pid_t child;
    int status = 0;
    rasx__on_fork_child(on_fork);
    child = fork();
    REQUIRE(child >= 0);
    if (child == 0) _exit(rasx__load(&forked) == 1 ? 0 : 1);
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQ(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    CHECK_EQ(rasx__load(&forked), 0);
#endif
}

/* --- Files -------------------------------------------------------------------------------------------------------------------- */

/* A path in the temporary folder; the name is not ASCII. */
static const char *temp_path(char *path, size_t room, const char *name)
{
    const char *folder = getenv("TMPDIR");
#ifdef _WIN32
    if (folder == NULL) folder = getenv("TEMP");
#else
    if (folder == NULL) folder = "/tmp";
#endif
    snprintf(path, room, "%s/t\xC3\xA9st_\xE2\x98\x83_%u_%s", folder != NULL ? folder : ".", (unsigned)rasx__process_id(), name);
    return path;
}

static void remove_file(const char *path)
{
#ifdef _WIN32
    char16_t wide[600];
    if (rasx__to_utf16(path, wide, 600, NULL) == 0) (void)_wremove((const wchar_t *)wide);
#else
    (void)remove(path);
#endif
}

/* "append creates and adds, read gives all of it with its id, stat agrees, and the limits hold to the byte." */
TEST(test_os_file_round_trip)
{
    char path[512];
    uint8_t *bytes = NULL;
    size_t count = 99;
    rasx__file_id id, again;
    temp_path(path, sizeof path, "trip");
    remove_file(path);
    CHECK_EQ(rasx__file_stat(path, &id), 2);
    CHECK_EQ(rasx__file_read(path, 100, &bytes, &count, &id), 2);
    CHECK_EQ(rasx__file_append(path, "", 0), 0);
    CHECK_EQ(rasx__file_read(path, 0, &bytes, &count, &id), 0);
    CHECK_EQ(count, 0);
    free(bytes);
    CHECK_EQ(rasx__file_append(path, "one\n", 4), 0);
    CHECK_EQ(rasx__file_append(path, "zwei\r\n", 6), 0);
    REQUIRE(rasx__file_read(path, 10, &bytes, &count, &id) == 0);
    CHECK_EQ(count, 10);
    CHECK(memcmp(bytes, "one\nzwei\r\n", 10) == 0);
    free(bytes);
    CHECK_EQ(id.size, 10);
    CHECK_EQ(rasx__file_stat(path, &again), 0);
    CHECK(again.size == id.size && again.mtime_ns == id.mtime_ns && again.inode == id.inode && again.device == id.device);
    CHECK_EQ(rasx__file_read(path, 9, &bytes, &count, &id), 223);
    CHECK_EQ(rasx__file_append(path, "x", 1), 0);
    CHECK_EQ(rasx__file_stat(path, &again), 0);
    CHECK_EQ(again.size, 11);
    remove_file(path);
    CHECK_EQ(rasx__file_stat(path, &again), 2);
}

/* "What is missing and what is no regular file have codes of their own." */
TEST(test_os_file_errors)
{
    char path[512], inside[600];
    uint8_t *bytes = NULL;
    size_t count = 0;
    rasx__file_id id;
    temp_path(path, sizeof path, "missing");
    snprintf(inside, sizeof inside, "%s/file", path);
    CHECK_EQ(rasx__file_read(inside, 10, &bytes, &count, &id), 3);
    CHECK_EQ(rasx__file_stat(inside, &id), 3);
    CHECK_EQ(rasx__file_append(inside, "x", 1), 3);
    CHECK_EQ(rasx__file_read("", 10, &bytes, &count, &id), 3);
    CHECK_EQ(rasx__file_stat("", &id), 3);
    CHECK_EQ(rasx__file_read(".", 10, &bytes, &count, &id), 5);
    CHECK_EQ(rasx__file_stat(".", &id), 5);
    CHECK_EQ(rasx__file_append(".", "x", 1), 5);
#ifndef _WIN32
    CHECK_EQ(rasx__file_read("/dev/null", 10, &bytes, &count, &id), 5);
    CHECK_EQ(rasx__file_append("/dev/null", "x", 1), 5);
    temp_path(path, sizeof path, "pipe");
    (void)remove(path);
    if (mkfifo(path, 0600) == 0) { /* must not wait for a writer */
        CHECK_EQ(rasx__file_read(path, 10, &bytes, &count, &id), 5);
        CHECK_EQ(rasx__file_append(path, "x", 1), 5);
        CHECK_EQ(rasx__file_stat(path, &id), 5);
        (void)remove(path);
    }
#else
    CHECK_EQ(rasx__file_read("NUL", 10, &bytes, &count, &id), 5);
#endif
    CHECK(bytes == NULL);
}

static char append_path[512];

static void append_lines(void *argument)
{
    const unsigned id = (unsigned)(uintptr_t)argument;
    unsigned i;
    for (i = 0; i < 200; i++) {
        char line[128];
        const int length = snprintf(line, sizeof line, "%u:%04u:%.*s\n", id, i, (int)(i % 60), "############################################################");
        if (rasx__file_append(append_path, line, (size_t)length) != 0) (void)rasx__add(&shared.ended, 100);
    }
    (void)rasx__add(&shared.ended, 1);
}

/* "Lines of several writers do not mix, none is lost, and each writer's stay in order." */
TEST(test_os_file_appends_whole_lines)
{
    uint8_t *bytes = NULL;
    size_t count = 0, at = 0;
    unsigned next[4] = { 0 }, i;
    rasx__file_id id;
    temp_path(append_path, sizeof append_path, "lines");
    remove_file(append_path);
    for (i = 0; i < 4; i++) REQUIRE(rasx__thread_start(append_lines, (void *)(uintptr_t)i) == 0);
    while (rasx__load(&shared.ended) < 4) rasx__yield();
    CHECK_EQ(rasx__exchange(&shared.ended, 0), 4);
    REQUIRE(rasx__file_read(append_path, 1u << 20, &bytes, &count, &id) == 0);
    while (at < count) {
        const unsigned writer = (unsigned)(bytes[at] - '0');
        unsigned hashes = 0;
        REQUIRE(writer < 4 && count - at > 6 && bytes[at + 1] == ':' && bytes[at + 6] == ':');
        CHECK_EQ((bytes[at + 3] - '0') * 100 + (bytes[at + 4] - '0') * 10 + (bytes[at + 5] - '0'), next[writer]);
        for (at += 7; at < count && bytes[at] == '#'; at++) hashes++;
        CHECK_EQ(hashes, next[writer] % 60);
        REQUIRE(at < count && bytes[at] == '\n');
        at++;
        next[writer]++;
    }
    for (i = 0; i < 4; i++) CHECK_EQ(next[i], 200);
    free(bytes);
    remove_file(append_path);
}

static void set_variable(const char *name, const char *value)
{
#ifdef _WIN32
    char text[300];
    snprintf(text, sizeof text, "%s=%s", name, value != NULL ? value : "");
    (void)_putenv(text);
#else
    if (value != NULL) (void)setenv(name, value, 1);
    else (void)unsetenv(name);
#endif
}

/* "The default phone book is where S7.1 (Windows) and the XDG rules (elsewhere) say; a buffer too small is code 3." */
TEST(test_os_default_phonebook)
{
    char path[300], tiny[20];
#ifdef _WIN32
    set_variable("APPDATA", "C:\\users\\ada\\AppData");
    CHECK_EQ(rasx__default_phonebook(path, sizeof path), 0);
    CHECK_STR(path, "C:\\users\\ada\\AppData\\Microsoft\\Network\\Connections\\Pbk\\rasphone.pbk");
    CHECK_EQ(rasx__default_phonebook(path, strlen(path) + 1), 0);
    CHECK_EQ(rasx__default_phonebook(path, strlen(path)), 3);
    CHECK_EQ(rasx__default_phonebook(tiny, sizeof tiny), 3);
    set_variable("APPDATA", NULL);
    CHECK_EQ(rasx__default_phonebook(path, sizeof path), 3);
#else
    set_variable("HOME", "/home/ada");
    set_variable("XDG_CONFIG_HOME", "/somewhere");
    CHECK_EQ(rasx__default_phonebook(path, sizeof path), 0);
    CHECK_STR(path, "/somewhere/ras_ext/rasphone.pbk");
    set_variable("XDG_CONFIG_HOME", "relative/is/void");
    CHECK_EQ(rasx__default_phonebook(path, sizeof path), 0);
    CHECK_STR(path, "/home/ada/.config/ras_ext/rasphone.pbk");
    set_variable("XDG_CONFIG_HOME", NULL);
    CHECK_EQ(rasx__default_phonebook(path, strlen("/home/ada/.config/ras_ext/rasphone.pbk") + 1), 0);
    CHECK_STR(path, "/home/ada/.config/ras_ext/rasphone.pbk");
    CHECK_EQ(rasx__default_phonebook(path, strlen("/home/ada/.config/ras_ext/rasphone.pbk")), 3);
    CHECK_EQ(rasx__default_phonebook(tiny, sizeof tiny), 3);
#endif
}

#define TESTS(X)                                                                                     \
    X(test_os_atomic_values) X(test_os_mutex_and_sums) X(test_os_cond_passes_baton)                  \
    X(test_os_cond_times_out) X(test_os_event_states) X(test_os_event_times_out)                     \
    X(test_os_event_ping_pong) X(test_os_event_wait_sees_signal) X(test_os_time)                     \
    X(test_os_random_and_wipe) X(test_os_fork_handler) X(test_os_file_round_trip)                    \
    X(test_os_file_errors) X(test_os_file_appends_whole_lines) X(test_os_default_phonebook)
TEST_MAIN(TESTS)
