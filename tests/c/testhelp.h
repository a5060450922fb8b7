/* testhelp.h: what every C test program shares. Include it in exactly one source file per program.
 *
 * SPDX-License-Identifier: MIT
 *
 *     TEST(test_sum) { CHECK_EQ(1 + 1, 2); }
 *     #define TESTS(X) X(test_sum)
 *     TEST_MAIN(TESTS)
 *
 * `prog --list` names the tests, `prog NAME...` runs those, `prog` runs all. Exit status: 0 passed, 1 failed, 77 all skipped.
 * A failed check is counted and the test goes on (REQUIRE returns from the function it stands in), so checks may stand in
 * helpers and threads too. Nothing depends on assert, so NDEBUG changes nothing.
 */
#ifndef RASX_TESTHELP_H
#define RASX_TESTHELP_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST(name) static void name(void)
#define CHECK(expr) ((void)((expr) ? 1 : test_fail(__FILE__, __LINE__, #expr)))
#define REQUIRE(expr) do { if (!(expr)) { (void)test_fail(__FILE__, __LINE__, #expr); return; } } while (0)
/* Integers of any type, compared as 64-bit values (-1 equals no 32-bit unsigned). */
#define CHECK_EQ(a, b) test_equal(__FILE__, __LINE__, #a " == " #b, (uint64_t)(a), (uint64_t)(b))
#define CHECK_STR(a, b) test_same_text(__FILE__, __LINE__, #a " == " #b, (a), (b)) /* NUL-terminated, NULL allowed */
#define SKIP(reason) do { test_skipped = (reason); return; } while (0)

/* 1 in a build with AddressSanitizer or ThreadSanitizer. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TEST_SANITIZED 1
#endif
#endif
#ifndef TEST_SANITIZED
#define TEST_SANITIZED 0
#endif

typedef struct test_case { const char *name; void (*run)(void); } test_case;
static const char  *test_name = "";   /* the test that runs */
static const char  *test_skipped;     /* why it was skipped */
static volatile int test_failures;    /* of this test; exact enough when threads fail at once */

static inline int test_fail(const char *file, int line, const char *what) {
    int nth = test_failures;
    test_failures = nth + 1;
    if (nth < 20) { /* enough to understand; a stress test can fail a million times */
        printf("%s %s: %s:%d: %s\n", nth == 0 ? "FAIL" : "also", test_name, file, line, what);
        fflush(stdout);
    }
    return 0;
}

static inline void test_equal(const char *file, int line, const char *what, uint64_t a, uint64_t b) {
    char text[512];
    if (a == b) return;
    snprintf(text, sizeof text, "%s: %lld (0x%llx) against %lld (0x%llx)", what, (long long)a, (unsigned long long)a,
             (long long)b, (unsigned long long)b);
    (void)test_fail(file, line, text);
}

static inline void test_same_text(const char *file, int line, const char *what, const char *a, const char *b) {
    char text[1024];
    if (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0)) return;
    snprintf(text, sizeof text, "%s: \"%s\" against \"%s\"", what, a != NULL ? a : "(null)", b != NULL ? b : "(null)");
    (void)test_fail(file, line, text);
}

/* A number from the environment: RASX_STRESS (see test_load), RASX_SEED. */
static inline uint64_t test_setting(const char *variable, uint64_t otherwise) {
    const char *text = getenv(variable);
    return text != NULL && *text != '\0' ? (uint64_t)strtoull(text, NULL, 0) : otherwise;
}

/* How much a stress test does: RASX_STRESS per cent of its usual load, at least 1. The long runs raise it, sanitizers lower it. */
static inline uint32_t test_load(uint32_t usual) {
    uint64_t load = (uint64_t)usual * test_setting("RASX_STRESS", 100) / 100;
    return load == 0 ? 1 : load > UINT32_MAX ? UINT32_MAX : (uint32_t)load;
}

/* splitmix64: a seeded generator that is the same on every platform. */
static inline uint64_t test_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static inline int test_main(int argc, char **argv, const test_case *cases, size_t count) {
    size_t i, failed = 0, skipped = 0, run = 0;
    int a;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (i = 0; i < count; i++) printf("%s\n", cases[i].name);
        return 0;
    }
    for (a = 1; a < argc; a++) {
        for (i = 0; i < count && strcmp(argv[a], cases[i].name) != 0; i++) {}
        if (i == count) { printf("FAIL %s: no such test\n", argv[a]); return 1; }
    }
    for (i = 0; i < count; i++) {
        int wanted = argc < 2;
        for (a = 1; a < argc; a++) wanted |= strcmp(argv[a], cases[i].name) == 0;
        if (!wanted) continue;
        test_name = cases[i].name;
        test_skipped = NULL;
        test_failures = 0;
        cases[i].run();
        run++;
        if (test_failures > 0) failed++;
        else if (test_skipped != NULL) { skipped++; printf("skip %s: %s\n", test_name, test_skipped); }
        else printf("ok %s\n", test_name);
        fflush(stdout);
    }
    return failed > 0 ? 1 : run > 0 && skipped == run ? 77 : 0;
}

#define TEST_ROW(name) { #name, name },
#define TEST_MAIN(tests)                                                             \
    static const test_case test_cases[] = { tests(TEST_ROW) };                       \
    int main(int argc, char **argv) {                                                \
        return test_main(argc, argv, test_cases, sizeof test_cases / sizeof *test_cases); \
    }

#endif
