/* scenario.c: sets the simulated machine up from a scenario file, the JSON that ras_ext.sim.Machine.load reads too.
 *
 * SPDX-License-Identifier: MIT
 *
 * One pass: what is read is set at once, through the control table. There is nothing that nests, so nothing here recurses. In
 * rasapi32.dll, and nowhere else, the environment may name a scenario, for programs that cannot call the control table
 * (docs/rasapi32-dll.md).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../text.h"
#include "engine.h"

enum {
    TEXT_ROOM = 1024,
    MESSAGE_ROOM = 512,
    PATH_ROOM = 4096,
    MOST_STEPS = 4096
};
#define MOST_BYTES (UINT64_C(1) << 20)

typedef struct reader {
    const char         *at; /* the text ends in NUL, which stops everything */
    uint32_t            line;
    int                 failed;
    char                message[MESSAGE_ROOM];
    const rasx_sim_api *api;
} reader;

typedef struct state_name {
    const char *name;
    uint32_t    state;
} state_name;

static const state_name states[] = {
    { "OpenPort", 0 }, { "PortOpened", 1 }, { "ConnectDevice", 2 }, { "DeviceConnected", 3 }, { "AllDevicesConnected", 4 },
    { "Authenticate", 5 }, { "AuthNotify", 6 }, { "AuthRetry", 7 }, { "AuthCallback", 8 }, { "AuthChangePassword", 9 },
    { "AuthProject", 10 }, { "AuthLinkSpeed", 11 }, { "AuthAck", 12 }, { "ReAuthenticate", 13 }, { "Authenticated", 14 },
    { "PrepareForCallback", 15 }, { "WaitForModemReset", 16 }, { "WaitForCallback", 17 }, { "Projected", 18 },
    { "StartAuthentication", 19 }, { "CallbackComplete", 20 }, { "LogonNetwork", 21 }, { "SubEntryConnected", 22 },
    { "SubEntryDisconnected", 23 }, { "ApplySettings", 24 }, { "Interactive", 4096 }, { "RetryAuthentication", 4097 },
    { "CallbackSetByCaller", 4098 }, { "PasswordExpired", 4099 }, { "InvokeEapUI", 4100 }, { "Connected", 8192 },
    { "Disconnected", 8193 }
};

/* The first complaint is kept: what follows comes from it. Returns 0. */
static int fail(reader *r, const char *format, ...)
{
    va_list arguments;
    int used;

    if (r->failed)
        return 0;
    r->failed = 1;
    used = snprintf(r->message, sizeof r->message, "line %lu: ", (unsigned long)r->line);
    va_start(arguments, format);
    (void)vsnprintf(r->message + used, sizeof r->message - (size_t)used, format, arguments);
    va_end(arguments);
    return 0;
}

/* --- JSON -------------------------------------------------------------------------------------------------------------- */

static void blank(reader *r)
{
    for (; *r->at == ' ' || *r->at == '\t' || *r->at == '\r' || *r->at == '\n'; r->at++)
        r->line += *r->at == '\n';
}

static int take(reader *r, char c)
{
    blank(r);
    if (r->failed || *r->at != c)
        return 0;
    r->at++;
    return 1;
}

static int need(reader *r, char c)
{
    return take(r, c) || fail(r, "expected %c", c);
}

static int unit(reader *r, uint32_t *value) /* four hexadecimal digits */
{
    *value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        const char c = *r->at;
        const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;

        if (digit < 0)
            return fail(r, "\\u needs four hexadecimal digits");
        *value = *value << 4 | (uint32_t)digit;
    }
    return 1;
}

/* After \u: one character, from two units where it takes two. Writes at most four bytes and tells how many; 0 on failure. */
static size_t character(reader *r, char bytes[4])
{
    uint32_t code, low;

    if (!unit(r, &code))
        return 0;
    if (code >= 0xD800 && code < 0xDC00 && r->at[0] == '\\' && r->at[1] == 'u') {
        r->at += 2;
        if (!unit(r, &low))
            return 0;
        code = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00) : 0xD800;
    }
    if (code == 0 || (code >= 0xD800 && code < 0xE000)) {
        (void)fail(r, "a text contains a NUL character or an unpaired surrogate");
        return 0;
    }
    if (code < 0x80) {
        bytes[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        bytes[0] = (char)(0xC0 | code >> 6);
        bytes[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        bytes[0] = (char)(0xE0 | code >> 12);
        bytes[1] = (char)(0x80 | (code >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    bytes[0] = (char)(0xF0 | code >> 18);
    bytes[1] = (char)(0x80 | (code >> 12 & 0x3F));
    bytes[2] = (char)(0x80 | (code >> 6 & 0x3F));
    bytes[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

static int text(reader *r, char out[TEXT_ROOM])
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    char16_t units[TEXT_ROOM];
    size_t used = 0;

    out[0] = '\0';
    if (!take(r, '"'))
        return fail(r, "expected a text in quotes");
    while (*r->at != '"') {
        char bytes[4];
        size_t count = 1;

        if ((unsigned char)*r->at < 0x20)
            return fail(r, "a text does not end on its line");
        bytes[0] = *r->at++;
        if (bytes[0] == '\\') {
            const char *found = *r->at != '\0' ? strchr(letters, *r->at) : NULL;

            if (found != NULL) {
                bytes[0] = meant[found - letters];
                r->at++;
            } else if (*r->at == 'u') {
                r->at++;
                count = character(r, bytes);
            } else {
                return fail(r, "\\ is followed by what JSON does not know");
            }
        }
        if (r->failed)
            return 0;
        if (used + count >= TEXT_ROOM)
            return fail(r, "a text is longer than %d bytes", TEXT_ROOM - 1);
        memcpy(out + used, bytes, count);
        used += count;
    }
    r->at++;
    out[used] = '\0';
    return rasx__to_utf16(out, units, TEXT_ROOM, NULL) == 0 || fail(r, "a text is not UTF-8");
}

static int integer(reader *r, int64_t least, int64_t most, int64_t *value)
{
    uint64_t number = 0;
    int negative, digits = 0;

    blank(r);
    negative = take(r, '-');
    for (; *r->at >= '0' && *r->at <= '9'; r->at++) {
        const uint64_t digit = (uint64_t)(*r->at - '0');

        if (number > (UINT64_MAX - digit) / 10)
            return fail(r, "a number is too large");
        number = number * 10 + digit;
        digits++;
    }
    if (digits == 0 || *r->at == '.' || *r->at == 'e' || *r->at == 'E')
        return fail(r, "expected an integer");
    if (negative ? number > (uint64_t)INT64_MAX + 1 : number > (uint64_t)INT64_MAX)
        return fail(r, "a number is too large");
    *value = !negative || number == 0 ? (int64_t)number : -(int64_t)(number - 1) - 1;
    return (*value >= least && *value <= most) || fail(r, "a number is out of its range");
}

static int number(reader *r, uint32_t *value)
{
    int64_t wide = 0;

    if (!integer(r, 0, UINT32_MAX, &wide))
        return 0;
    *value = (uint32_t)wide;
    return 1;
}

static int word(reader *r, const char *expected)
{
    const size_t count = strlen(expected);

    blank(r);
    if (r->failed || strncmp(r->at, expected, count) != 0)
        return 0;
    r->at += count;
    return 1;
}

static int boolean(reader *r, int *value)
{
    *value = word(r, "true");
    return *value || word(r, "false") || fail(r, "expected true or false");
}

/* Goes through an object whose { has been taken, or an array: 1 for each element (and its key), 0 after the last. */
static int element(reader *r, int *count, char *key)
{
    if (take(r, key != NULL ? '}' : ']') || r->failed)
        return 0;
    if ((*count)++ > 0 && !need(r, ','))
        return 0;
    return key == NULL || (text(r, key) && need(r, ':'));
}

/* --- What a scenario says ---------------------------------------------------------------------------------------------- */

static int set(reader *r, uint32_t code, const char *what, const char *name)
{
    if (code == 0)
        return 1;
    return code == 87 ? fail(r, "there is no %s \"%s\"", what, name) : fail(r, "%s \"%s\": error %lu", what, name, (unsigned long)code);
}

static void read_knobs(reader *r, const char *entry)
{
    char key[TEXT_ROOM];
    int64_t value = 0;

    if (!need(r, '{'))
        return;
    for (int n = 0; element(r, &n, key);)
        if (integer(r, INT64_MIN, INT64_MAX, &value))
            (void)set(r, r->api->knob(entry, key, value), "knob", key);
}

static void read_state(reader *r, uint32_t *state)
{
    char name[TEXT_ROOM];

    blank(r);
    if (*r->at != '"') {
        (void)number(r, state);
        return;
    }
    if (!text(r, name))
        return;
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (strcmp(states[i].name, name) == 0) {
            *state = states[i].state;
            return;
        }
    }
    (void)fail(r, "there is no state \"%s\"", name);
}

static void read_step(reader *r, rasx_sim_step *step)
{
    char key[TEXT_ROOM];
    int has_state = 0, on = 0;

    memset(step, 0, sizeof *step);
    step->state = 8193;
    if (!need(r, '{'))
        return;
    for (int n = 0; element(r, &n, key);) {
        if (strcmp(key, "state") == 0) {
            read_state(r, &step->state);
            has_state = 1;
        } else if (strcmp(key, "delay_ms") == 0) {
            (void)number(r, &step->delay_ms);
        } else if (strcmp(key, "error") == 0) {
            (void)number(r, &step->error);
        } else if (strcmp(key, "extended_error") == 0) {
            (void)number(r, &step->extended_error);
        } else if (strcmp(key, "subentry") == 0) {
            (void)number(r, &step->subentry);
        } else if (strcmp(key, "silent") == 0 || strcmp(key, "drop") == 0) {
            const uint32_t flag = key[0] == 's' ? RASX_SIM_SILENT : RASX_SIM_DROP;

            if (boolean(r, &on) && on)
                step->flags |= flag;
        } else {
            (void)fail(r, "a step has the unknown key \"%s\"", key);
        }
    }
    if (!has_state && !(step->flags & RASX_SIM_DROP))
        (void)fail(r, "a step has neither \"state\" nor \"drop\"");
}

static void read_script(reader *r, const char *entry)
{
    char name[TEXT_ROOM];
    rasx_sim_step *steps = NULL;
    uint32_t used = 0, room = 0;

    blank(r);
    if (*r->at == '"') {
        if (text(r, name))
            (void)set(r, r->api->script(entry, name), "script", name);
        return;
    }
    if (!need(r, '['))
        return;
    for (int n = 0; element(r, &n, NULL);) {
        if (used == MOST_STEPS) {
            (void)fail(r, "a script has more than %d steps", MOST_STEPS);
            break;
        }
        if (used == room) {
            const uint32_t more = room == 0 ? 16 : 2 * room;
            rasx_sim_step *larger = realloc(steps, more * sizeof *steps);

            if (larger == NULL) {
                (void)fail(r, "no memory");
                break;
            }
            steps = larger;
            room = more;
        }
        read_step(r, &steps[used++]);
    }
    if (used == 0)
        (void)fail(r, "a script has no steps");
    if (!r->failed)
        (void)set(r, r->api->script_steps(entry, steps, used), "entry", entry);
    free(steps);
}

/* An object of texts: each key once, all of them. out[i] belongs to keys[i]. */
static int read_texts(reader *r, const char *what, const char *const *keys, int count, char (*out)[TEXT_ROOM])
{
    char key[TEXT_ROOM];
    int found = 0;

    if (!need(r, '{'))
        return 0;
    for (int n = 0; element(r, &n, key);) {
        int i;

        for (i = 0; i < count && strcmp(keys[i], key) != 0; i++) {}
        if (i == count)
            return fail(r, "%s has the unknown key \"%s\"", what, key);
        if (!text(r, out[i]))
            return 0;
        found |= 1 << i;
    }
    return found == (1 << count) - 1 || fail(r, "%s lacks a key", what);
}

static void read_accounts(reader *r)
{
    static const char *const keys[] = { "entry", "username", "password" };
    char out[3][TEXT_ROOM];

    if (!need(r, '['))
        return;
    for (int n = 0; element(r, &n, NULL);)
        if (read_texts(r, "an account", keys, 3, out))
            (void)set(r, r->api->account(out[0], out[1], out[2]), "account", out[0]);
    rasx__wipe(out, sizeof out);
}

static void read_devices(reader *r)
{
    static const char *const keys[] = { "type", "name" };
    char out[2][TEXT_ROOM];

    if (!need(r, '['))
        return;
    for (int n = 0; element(r, &n, NULL);)
        if (read_texts(r, "a device", keys, 2, out))
            (void)set(r, r->api->add_device(out[0], out[1]), "device", out[1]);
}

static void read_fault(reader *r)
{
    char key[TEXT_ROOM], function[TEXT_ROOM] = "";
    uint32_t code = 0, after = 0, times = 0;
    int has_code = 0;

    if (!need(r, '{'))
        return;
    for (int n = 0; element(r, &n, key);) {
        if (strcmp(key, "function") == 0) {
            (void)text(r, function);
        } else if (strcmp(key, "code") == 0) {
            has_code = number(r, &code);
        } else if (strcmp(key, "after") == 0) {
            (void)number(r, &after);
        } else if (strcmp(key, "times") == 0) {
            (void)number(r, &times);
        } else {
            (void)fail(r, "a fault has the unknown key \"%s\"", key);
        }
    }
    if (function[0] == '\0' || !has_code)
        (void)fail(r, "a fault lacks \"function\" or \"code\"");
    if (!r->failed)
        (void)set(r, r->api->fault(function, code, after, times), "API function", function);
}

static void read_ports(reader *r)
{
    char key[TEXT_ROOM];
    uint32_t count = 0;

    if (!need(r, '{'))
        return;
    for (int n = 0; element(r, &n, key);)
        if (number(r, &count))
            (void)set(r, r->api->ports(key, count), "device type", key);
}

static void read_entries(reader *r)
{
    char entry[TEXT_ROOM], key[TEXT_ROOM];

    if (!need(r, '{'))
        return;
    for (int n = 0; element(r, &n, entry);) {
        if (!need(r, '{'))
            return;
        for (int k = 0; element(r, &k, key);) {
            if (strcmp(key, "script") == 0)
                read_script(r, entry);
            else if (strcmp(key, "knobs") == 0)
                read_knobs(r, entry);
            else
                (void)fail(r, "an entry has the unknown key \"%s\"", key);
        }
    }
}

static void read_clock(reader *r)
{
    char kind[TEXT_ROOM];

    if (!text(r, kind))
        return;
    if (strcmp(kind, "real") != 0 && strcmp(kind, "virtual") != 0)
        (void)fail(r, "the clock is \"real\" or \"virtual\", not \"%s\"", kind);
    else
        (void)set(r, r->api->clock(kind[0] == 'v'), "clock", kind);
}

static void read_value(reader *r, const char *key)
{
    char path[TEXT_ROOM];
    int64_t seed = 0;

    if (strcmp(key, "clock") == 0) {
        read_clock(r);
    } else if (strcmp(key, "seed") == 0) {
        if (integer(r, 0, INT64_MAX, &seed))
            r->api->seed((uint64_t)seed);
    } else if (strcmp(key, "journal") == 0) {
        if (text(r, path))
            (void)set(r, r->api->journal(path), "journal", path);
    } else if (strcmp(key, "knobs") == 0) {
        read_knobs(r, NULL);
    } else if (strcmp(key, "faults") == 0) {
        if (need(r, '['))
            for (int n = 0; element(r, &n, NULL);)
                read_fault(r);
    } else if (strcmp(key, "accounts") == 0) {
        read_accounts(r);
    } else if (strcmp(key, "ports") == 0) {
        read_ports(r);
    } else if (strcmp(key, "devices") == 0) {
        read_devices(r);
    } else if (strcmp(key, "entries") == 0) {
        read_entries(r);
    } else {
        (void)fail(r, "the scenario has the unknown key \"%s\"", key);
    }
}

static void tell(char *message, uint32_t room, const char *what)
{
    if (message != NULL && room > 0)
        (void)snprintf(message, room, "%s", what);
}

uint32_t sim_scenario_parse(const rasx_sim_api *api, const char *bytes, size_t count, char *message, uint32_t room)
{
    char key[TEXT_ROOM];
    reader r;

    memset(&r, 0, sizeof r);
    r.at = bytes;
    r.line = 1;
    r.api = api;
    if (count >= 3 && memcmp(bytes, "\xEF\xBB\xBF", 3) == 0)
        r.at += 3;
    if (need(&r, '{'))
        for (int n = 0; element(&r, &n, key);)
            read_value(&r, key);
    blank(&r);
    if (!r.failed && (size_t)(r.at - bytes) != count)
        (void)fail(&r, "something follows the scenario");
    tell(message, room, r.message);
    return r.failed ? 13 : 0;
}

uint32_t sim_scenario_load(const char *path, char *message, uint32_t room)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    rasx__file_id id;
    uint32_t code = path == NULL ? 87 : rasx__file_read(path, MOST_BYTES, &bytes, &count, &id);

    tell(message, room, code == 0 ? "" : "the file cannot be read");
    if (code != 0)
        return code;
    code = sim_scenario_parse(rasx_sim_get_api(), (const char *)bytes, count, message, room);
    rasx__wipe(bytes, count); /* it may hold passwords */
    free(bytes);
    return code;
}

/* --- rasapi32.dll ------------------------------------------------------------------------------------------------------ */

uint32_t sim_scenario_begin(void)
{
    static rasx__mutex lock = RASX_MUTEX_INIT;
    static rasx__a32 state; /* 0: not looked yet; 1: nothing wrong; 2: the scenario is wrong */

    if (rasx__load(&state) == 0) {
        char path[PATH_ROOM], complaint[PATH_ROOM + 16], line[MESSAGE_ROOM + 8], message[MESSAGE_ROOM];

        rasx__lock(&lock);
        if (rasx__load(&state) == 0) {
            const int named = rasx__environment("RASX_SIM_SCENARIO", path, sizeof path);
            const uint32_t code = named == 0 ? 0 : named < 0 ? 3 : sim_scenario_load(path, message, sizeof message);

            if (code != 0 && named > 0) {
                const int used = snprintf(line, sizeof line, "%s\n", message);

                (void)snprintf(complaint, sizeof complaint, "%s.error.txt", path);
                (void)rasx__file_append(complaint, line, (size_t)used);
            }
            rasx__store(&state, code == 0 ? 1 : 2);
        }
        rasx__unlock(&lock);
    }
    return rasx__load(&state) == 2 ? 13 : 0;
}
