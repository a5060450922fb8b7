/* fuzz_scenario.c: any bytes at all for the reader of scenario files, with a control table that only looks at its arguments.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/rasapi32/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define MUST(expr) ((expr) ? (void)0 : broken(__LINE__, #expr))

static void broken(int line, const char *what)
{
    fprintf(stderr, "fuzz_scenario.c:%d: does not hold: %s\n", line, what);
    abort();
}

static uint32_t taken; /* what the control was told */

static uint32_t look(const char *text) /* ends in NUL, is of this length at most, and is UTF-8 */
{
    char16_t units[1024];

    MUST(strlen(text) < 1024 && rasx__to_utf16(text, units, 1024, NULL) == 0);
    taken++;
    return text[0] == '?' ? 87 : text[0] == '!' ? 8 : 0;
}

static void seed(uint64_t value)
{
    MUST(value <= INT64_MAX);
}

static uint32_t script(const char *entry, const char *name)
{
    return look(entry) | look(name);
}

static uint32_t script_steps(const char *entry, const rasx_sim_step *steps, uint32_t count)
{
    MUST(count > 0);
    for (uint32_t i = 0; i < count; i++)
        MUST((steps[i].flags & ~(uint32_t)(RASX_SIM_SILENT | RASX_SIM_DROP)) == 0);
    return look(entry);
}

static uint32_t account(const char *entry, const char *username, const char *password)
{
    return look(entry) | look(username) | look(password);
}

static uint32_t knob(const char *entry, const char *name, int64_t value)
{
    (void)value;
    return (entry != NULL ? look(entry) : 0) | look(name);
}

static uint32_t fault(const char *function, uint32_t code, uint32_t after, uint32_t times)
{
    (void)code, (void)after, (void)times;
    return look(function);
}

static uint32_t ports(const char *type, uint32_t number)
{
    (void)number;
    return look(type);
}

static uint32_t add_device(const char *type, const char *name)
{
    return look(type) | look(name);
}

static uint32_t set_clock(uint32_t is_virtual)
{
    return is_virtual > 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    rasx_sim_api api;
    char message[64];
    char *text = malloc(count + 1);
    uint32_t code, first;

    memset(&api, 0, sizeof api);
    api.seed = seed;
    api.script = script;
    api.script_steps = script_steps;
    api.account = account;
    api.knob = knob;
    api.fault = fault;
    api.ports = ports;
    api.add_device = add_device;
    api.journal = look;
    api.clock = set_clock;
    if (text == NULL)
        return 0;
    memcpy(text, bytes, count);
    text[count] = '\0';
    taken = 0;
    code = sim_scenario_parse(&api, text, count, message, sizeof message);
    first = taken;
    MUST(code == 0 || code == 13);
    MUST(memchr(message, '\0', sizeof message) != NULL && (message[0] == '\0') == (code == 0));
    taken = 0;
    MUST(sim_scenario_parse(&api, text, count, NULL, 0) == code && taken == first); /* nothing is kept in between */
    free(text);
    return 0;
}
