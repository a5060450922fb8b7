/* control.c: the control table of the simulated machine: scripts, knobs, faults, accounts, devices, journal, clock; and the
 * bracket around every API function.
 *
 * SPDX-License-Identifier: MIT
 *
 * One lock guards the settings; it is a leaf: nothing is called under it. The journal has its own, so that the order of its lines
 * is that of their numbers. Passwords are kept as salted hashes only, and what the hashing touched is wiped.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../text.h"
#include "engine.h"
#include "enumerate.h"
#include "functions.h"

enum {
    BUCKETS = 4096,
    HASH_BYTES = 32,
    LINE_BYTES = 4096,
    TYPE_ROOM = 52,
    NAME_ROOM = 388,
    PATH_ROOM = 4096
};

typedef struct saved {
    char16_t username[RAS_MaxUserName + 1];
    char16_t domain[RAS_MaxDomain + 1];
    uint8_t  hash[HASH_BYTES];
    int      has_password;
} saved;

typedef struct account {
    char16_t username[RAS_MaxUserName + 1];
    uint8_t  hash[HASH_BYTES];
} account;

typedef struct setting { /* what was chosen for one entry, or for the machine */
    struct setting   *next;
    char             *entry;
    const sim_script *script;
    account          *account;
    saved            *saved;
    int64_t          *knobs; /* of an entry; -1: as the machine */
} setting;

typedef struct fault {
    uint32_t code, after, times;
    int      on, endless;
} fault;

typedef struct added_device {
    char type[TYPE_ROOM];
    char name[NAME_ROOM];
} added_device;

static rasx__mutex   lock = RASX_MUTEX_INIT;
static setting      *settings[BUCKETS];
static setting       machine;             /* the entry NULL; its knobs are the next array */
static int64_t       machine_knobs[SIM_KNOB_COUNT];
static int           started;
static fault         faults[SIM_FUNCTION_COUNT];
static uint64_t      random_state;
static uint64_t      seed_value = 1;
static uint64_t      seeded_ns;           /* when it was given, on the machine's clock */
static added_device *added;
static uint32_t      added_count;
static uint8_t       salt[16];
static rasx__a32     call_counts[SIM_FUNCTION_COUNT];

static rasx__mutex journal_lock = RASX_MUTEX_INIT;
static rasx__a32   journal_on;
static char        journal_path[PATH_ROOM];
static uint64_t    journal_lines;

#define KNOB_ROW(name, initial, about) { #name, about, initial },
static const struct { const char *name, *about; int64_t initial; } knobs[] = { SIM_KNOBS(KNOB_ROW) };
#define FUNCTION_ROW(ret, name, arguments, required) #name,
static const char *const functions[] = { RASAPI_FUNCTIONS(FUNCTION_ROW) };

/* Under the lock, first of all: the machine as it is at the beginning. */
static void start(void)
{
    if (started)
        return;
    started = 1;
    for (int i = 0; i < SIM_KNOB_COUNT; i++)
        machine_knobs[i] = knobs[i].initial;
    random_state = seed_value = 1;
    seeded_ns = sim_clock()->now(sim_clock());
    if (rasx__random(salt, sizeof salt) != 0)
        memset(salt, 0x5A, sizeof salt);
}

static void take_lock(void)
{
    rasx__lock(&lock);
    start();
}

/* --- Settings by entry (names without ASCII case, as in phone books) --------------------------------------------------- */

static int lower(int c)
{
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static int same_name(const char *a, const char *b)
{
    for (; *a != '\0' && lower(*a) == lower(*b); a++, b++) {}
    return *a == *b;
}

static setting **bucket_of(const char *entry)
{
    uint32_t h = 2166136261u;

    for (; *entry != '\0'; entry++)
        h = (h ^ (uint32_t)lower(*entry)) * 16777619u;
    return &settings[(h ^ h >> 16) % BUCKETS];
}

static setting *find_setting(const char *entry)
{
    setting *s;

    if (entry == NULL)
        return &machine;
    for (s = *bucket_of(entry); s != NULL && !same_name(s->entry, entry); s = s->next) {}
    return s;
}

static setting *make_setting(const char *entry)
{
    setting *s = find_setting(entry);
    setting **bucket;

    if (s != NULL)
        return s;
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->entry = malloc(strlen(entry) + 1);
    if (s->entry == NULL) {
        free(s);
        return NULL;
    }
    memcpy(s->entry, entry, strlen(entry) + 1);
    bucket = bucket_of(entry);
    s->next = *bucket;
    *bucket = s;
    return s;
}

static int64_t knob_value(const setting *s, int knob)
{
    return s != NULL && s->knobs != NULL && s->knobs[knob] != -1 ? s->knobs[knob] : machine_knobs[knob];
}

int64_t sim_knob(const char *entry, enum sim_knob knob)
{
    int64_t value;

    take_lock();
    value = knob_value(entry == NULL ? NULL : find_setting(entry), (int)knob);
    rasx__unlock(&lock);
    return value;
}

void sim_engine_knobs(const char *entry, int64_t values[SIM_KNOB_COUNT])
{
    const setting *s;

    take_lock();
    s = find_setting(entry);
    for (int i = 0; i < SIM_KNOB_COUNT; i++)
        values[i] = knob_value(s, i);
    rasx__unlock(&lock);
}

static uint32_t set_knob(const char *entry, const char *name, int64_t value)
{
    uint32_t code = 0;
    int i;

    for (i = 0; i < SIM_KNOB_COUNT && (name == NULL || strcmp(knobs[i].name, name) != 0); i++) {}
    if (i == SIM_KNOB_COUNT)
        return 87;
    take_lock();
    if (entry == NULL) {
        machine_knobs[i] = value == -1 ? knobs[i].initial : value;
    } else {
        setting *s = make_setting(entry);

        if (s != NULL && s->knobs == NULL) {
            s->knobs = malloc(SIM_KNOB_COUNT * sizeof *s->knobs);
            for (int k = 0; s->knobs != NULL && k < SIM_KNOB_COUNT; k++)
                s->knobs[k] = -1;
        }
        if (s == NULL || s->knobs == NULL)
            code = 8;
        else
            s->knobs[i] = value;
    }
    rasx__unlock(&lock);
    return code;
}

static const char *get_knob_name(uint32_t index, const char **about, int64_t *initial)
{
    if (index >= SIM_KNOB_COUNT)
        return NULL;
    if (about != NULL)
        *about = knobs[index].about;
    if (initial != NULL)
        *initial = knobs[index].initial;
    return knobs[index].name;
}

/* --- Scripts ----------------------------------------------------------------------------------------------------------- */

static void drop_script(const sim_script *script) /* under the lock */
{
    sim_script *own = (sim_script *)(uintptr_t)script;

    if (script == NULL || script->name != NULL || --own->holders > 0)
        return; /* default scripts are static */
    free(own);
}

static uint32_t choose(const char *entry, const sim_script *script)
{
    setting *s;

    take_lock();
    s = make_setting(entry);
    if (s == NULL) {
        drop_script(script);
    } else {
        drop_script(s->script);
        s->script = script;
    }
    rasx__unlock(&lock);
    return s == NULL ? 8 : 0;
}

/* name NULL: no own script any more. */
static uint32_t set_script(const char *entry, const char *name)
{
    const sim_script *script = name == NULL ? NULL : sim_script_named(name);

    return name != NULL && script == NULL ? 87 : choose(entry, script);
}

static uint32_t set_script_steps(const char *entry, const rasx_sim_step *steps, uint32_t count)
{
    rasx_sim_step *copy;
    sim_script *script;

    if (steps == NULL && count > 0)
        return 87;
    for (uint32_t i = 0; i < count; i++)
        if ((steps[i].flags & ~(uint32_t)(RASX_SIM_SILENT | RASX_SIM_DROP)) != 0)
            return 87;
    if (count > UINT32_MAX / 2 / sizeof *steps)
        return 8;
    script = calloc(1, sizeof *script + count * sizeof *steps);
    if (script == NULL)
        return 8;
    copy = (rasx_sim_step *)(void *)(script + 1);
    if (count > 0)
        memcpy(copy, steps, count * sizeof *steps);
    script->steps = copy;
    script->count = count;
    script->holders = 1;
    return choose(entry, script);
}

static const char *get_script_name(uint32_t index)
{
    const sim_script *script = sim_script_at(index);

    return script == NULL ? NULL : script->name;
}

const sim_script *sim_script_take(const char *entry)
{
    const sim_script *script;
    setting *s;

    take_lock();
    s = find_setting(entry);
    script = s != NULL && s->script != NULL ? s->script : machine.script;
    if (script != NULL && script->name == NULL)
        ((sim_script *)(uintptr_t)script)->holders++;
    rasx__unlock(&lock);
    return script;
}

void sim_script_give_back(const sim_script *script)
{
    take_lock();
    drop_script(script);
    rasx__unlock(&lock);
}

/* --- Accounts: a salted SHA-256 (FIPS 180-4) of the password's UTF-16 units -------------------------------------------- */

static const uint32_t sha_rounds[64] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5, 0xD807AA98, 0x12835B01,
    0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174, 0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC,
    0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA, 0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147,
    0x06CA6351, 0x14292967, 0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070, 0x19A4C116, 0x1E376C08,
    0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3, 0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208,
    0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2
};

typedef struct sha {
    uint32_t h[8];
    uint32_t w[64];
    uint8_t  block[64];
    uint32_t used;
    uint64_t bytes;
} sha;

static uint32_t turn(uint32_t x, int by)
{
    return x >> by | x << (32 - by);
}

static void sha_block(sha *s)
{
    uint32_t v[8];

    for (int i = 0; i < 16; i++)
        s->w[i] = (uint32_t)s->block[4 * i] << 24 | (uint32_t)s->block[4 * i + 1] << 16 | (uint32_t)s->block[4 * i + 2] << 8
                  | s->block[4 * i + 3];
    for (int i = 16; i < 64; i++)
        s->w[i] = s->w[i - 16] + s->w[i - 7] + (turn(s->w[i - 15], 7) ^ turn(s->w[i - 15], 18) ^ s->w[i - 15] >> 3)
                  + (turn(s->w[i - 2], 17) ^ turn(s->w[i - 2], 19) ^ s->w[i - 2] >> 10);
    memcpy(v, s->h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t a = v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_rounds[i]
                     + s->w[i];
        uint32_t b = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += a;
        v[0] = a + b;
    }
    for (int i = 0; i < 8; i++)
        s->h[i] += v[i];
    s->used = 0;
}

static void sha_byte(sha *s, uint8_t byte)
{
    s->block[s->used++] = byte;
    s->bytes++;
    if (s->used == sizeof s->block)
        sha_block(s);
}

/* Reads up to a NUL or RAS_MaxPassword + 1 units. */
static void hash_password(const char16_t *password, uint8_t hash[HASH_BYTES])
{
    static const uint32_t begin[8] = { 0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB,
                                       0x5BE0CD19 };
    uint64_t bits;
    sha s;

    memset(&s, 0, sizeof s);
    memcpy(s.h, begin, sizeof begin);
    for (size_t i = 0; i < sizeof salt; i++)
        sha_byte(&s, salt[i]);
    for (size_t i = 0; i <= RAS_MaxPassword && password[i] != 0; i++) {
        sha_byte(&s, (uint8_t)(password[i] & 0xFF));
        sha_byte(&s, (uint8_t)(password[i] >> 8));
    }
    bits = 8 * s.bytes;
    sha_byte(&s, 0x80);
    while (s.used != 56)
        sha_byte(&s, 0);
    for (int i = 56; i >= 0; i -= 8)
        sha_byte(&s, (uint8_t)(bits >> i));
    for (int i = 0; i < HASH_BYTES; i++)
        hash[i] = (uint8_t)(s.h[i / 4] >> (24 - 8 * (i % 4)));
    rasx__wipe(&s, sizeof s);
}

/* The hash of a UTF-8 password. 0, or 87 for one that RASDIALPARAMS cannot hold. */
static uint32_t hash_utf8(const char *password, uint8_t hash[HASH_BYTES])
{
    char16_t units[RAS_MaxPassword + 1];
    uint32_t code = rasx__to_utf16(password, units, RAS_MaxPassword + 1, NULL) != 0 ? 87 : 0;

    if (code == 0)
        hash_password(units, hash);
    rasx__wipe(units, sizeof units);
    return code;
}

/* username NULL: the entry takes any credentials again. */
static uint32_t set_account(const char *entry, const char *username, const char *password)
{
    account *a = NULL;
    uint32_t code = 0;
    setting *s;

    take_lock();
    if (username != NULL) {
        a = calloc(1, sizeof *a);
        code = a == NULL ? 8 : rasx__to_utf16(username, a->username, RAS_MaxUserName + 1, NULL) != 0 ? 87
                             : hash_utf8(password == NULL ? "" : password, a->hash);
    }
    s = code == 0 ? make_setting(entry) : NULL;
    if (s == NULL) {
        free(a);
        code = code == 0 ? 8 : code;
    } else {
        free(s->account);
        s->account = a;
    }
    rasx__unlock(&lock);
    return code;
}

/* All three NULL: nothing is saved any more. password NULL: none is saved. */
static uint32_t set_saved(const char *entry, const char *username, const char *password, const char *domain)
{
    saved *v = NULL;
    uint32_t code = 0;
    setting *s;

    take_lock();
    if (username != NULL || password != NULL || domain != NULL) {
        v = calloc(1, sizeof *v);
        if (v == NULL)
            code = 8;
        else if (rasx__to_utf16(username == NULL ? "" : username, v->username, RAS_MaxUserName + 1, NULL) != 0
                 || rasx__to_utf16(domain == NULL ? "" : domain, v->domain, RAS_MaxDomain + 1, NULL) != 0)
            code = 87;
        else if (password != NULL)
            code = hash_utf8(password, v->hash);
        if (code == 0)
            v->has_password = password != NULL;
    }
    s = code == 0 ? make_setting(entry) : NULL;
    if (s == NULL) {
        free(v);
        code = code == 0 ? 8 : code;
    } else {
        free(s->saved);
        s->saved = v;
    }
    rasx__unlock(&lock);
    return code;
}

static const saved *find_saved(const char *entry) /* under the lock */
{
    const setting *s = find_setting(entry);

    return s != NULL && s->saved != NULL ? s->saved : machine.saved;
}

int sim_saved_credentials(const char *entry, char16_t username[257], char16_t domain[16], int *has_password)
{
    const saved *v;

    take_lock();
    v = find_saved(entry);
    if (v != NULL) {
        memcpy(username, v->username, sizeof v->username);
        memcpy(domain, v->domain, sizeof v->domain);
        *has_password = v->has_password;
    }
    rasx__unlock(&lock);
    return v != NULL;
}

/* 16 asterisks and no more stand for the saved password (S4.7). */
static int is_placeholder(const char16_t *password)
{
    int i;

    for (i = 0; i < 16 && password[i] == '*'; i++) {}
    return i == 16 && password[16] == 0;
}

/* User names compare without ASCII case (assumed), passwords exactly. Both names are arrays of 257. */
static int same_user(const char16_t *a, const char16_t *b)
{
    int i;

    for (i = 0; i < RAS_MaxUserName && a[i] != 0 && lower(a[i]) == lower(b[i]); i++) {}
    return a[i] == b[i];
}

/* Arrays of 257, and of 16 for the domain. A value of the machine's own becomes the entry's. */
uint32_t sim_change_credentials(const char *entry, const char16_t *username, const char16_t *password, int forget,
                                const char16_t *domain)
{
    saved *v = calloc(1, sizeof *v);
    const saved *before;
    setting *s;

    take_lock();
    s = v != NULL ? make_setting(entry) : NULL;
    if (s != NULL) {
        before = find_saved(entry);
        if (before != NULL)
            *v = *before;
        if (username != NULL)
            memcpy(v->username, username, sizeof v->username);
        if (domain != NULL)
            memcpy(v->domain, domain, sizeof v->domain);
        if (password != NULL && !is_placeholder(password)) {
            hash_password(password, v->hash);
            v->has_password = 1;
        }
        if (forget)
            v->has_password = 0;
        free(s->saved);
        s->saved = v;
    } else {
        free(v);
    }
    rasx__unlock(&lock);
    return s != NULL ? 0 : 8;
}

enum sim_account sim_account_check(const char *entry, const char16_t *username, const char16_t *password)
{
    enum sim_account result = SIM_ACCOUNT_NONE;
    uint8_t hash[HASH_BYTES];
    const account *a;
    setting *s;

    take_lock();
    s = find_setting(entry);
    a = s != NULL && s->account != NULL ? s->account : machine.account;
    if (a != NULL) {
        const saved *v = is_placeholder(password) ? find_saved(entry) : NULL;

        if (v != NULL && v->has_password)
            memcpy(hash, v->hash, sizeof hash);
        else
            hash_password(password, hash);
        result = same_user(a->username, username) && memcmp(a->hash, hash, sizeof hash) == 0 ? SIM_ACCOUNT_RIGHT
                                                                                              : SIM_ACCOUNT_WRONG;
        rasx__wipe(hash, sizeof hash);
    }
    rasx__unlock(&lock);
    return result;
}

/* --- Chance, devices, clock -------------------------------------------------------------------------------------------- */

uint64_t sim_random_64(void)
{
    uint64_t value;

    take_lock();
    value = sim_chance(&random_state);
    rasx__unlock(&lock);
    return value;
}

uint32_t sim_random_below(uint32_t bound)
{
    return bound == 0 ? 0 : (uint32_t)((sim_random_64() >> 32) * bound >> 32);
}

/* Two dials that start at the same virtual instant do so on threads of their own, in any order; so on a virtual clock their
 * chances come from the entry and the time, which are the same in every replay. */
uint64_t sim_dial_chance(const char *entry)
{
    uint64_t state = UINT64_C(0xCBF29CE484222325);

    if (!rasx__clock_is_virtual(sim_clock()))
        return sim_random_64();
    for (; *entry != '\0'; entry++)
        state = (state ^ (unsigned char)lower((unsigned char)*entry)) * UINT64_C(0x100000001B3);
    take_lock();
    state ^= sim_clock()->now(sim_clock()) - seeded_ns;
    (void)sim_chance(&state);
    state ^= seed_value;
    rasx__unlock(&lock);
    return sim_chance(&state);
}

static void set_seed(uint64_t seed)
{
    take_lock();
    random_state = seed_value = seed;
    seeded_ns = sim_clock()->now(sim_clock());
    rasx__unlock(&lock);
}

static const char *const devices[][2] = {
    { RASDT_Vpn, "WAN Miniport (IKEv2)" }, { RASDT_Vpn, "WAN Miniport (L2TP)" }, { RASDT_Vpn, "WAN Miniport (PPTP)" },
    { RASDT_Vpn, "WAN Miniport (SSTP)" }, { RASDT_PPPoE, "WAN Miniport (PPPOE)" }, { RASDT_Modem, "Standard Modem" }
};
enum { DEVICE_COUNT = sizeof devices / sizeof *devices };

int sim_device(uint32_t index, char type[52], char name[388])
{
    int found = 1;

    memset(type, 0, TYPE_ROOM);
    memset(name, 0, NAME_ROOM);
    take_lock();
    if (index < DEVICE_COUNT) {
        memcpy(type, devices[index][0], strlen(devices[index][0]));
        memcpy(name, devices[index][1], strlen(devices[index][1]));
    } else if (index - DEVICE_COUNT < added_count) {
        memcpy(type, added[index - DEVICE_COUNT].type, TYPE_ROOM);
        memcpy(name, added[index - DEVICE_COUNT].name, NAME_ROOM);
    } else {
        found = 0;
    }
    rasx__unlock(&lock);
    return found;
}

static uint32_t add_device(const char *type, const char *name)
{
    added_device *more;

    if (type == NULL || name == NULL || strlen(type) >= TYPE_ROOM || strlen(name) >= NAME_ROOM)
        return 87;
    take_lock();
    more = realloc(added, (added_count + 1) * sizeof *added);
    if (more != NULL) {
        added = more;
        memset(&added[added_count], 0, sizeof *added);
        memcpy(added[added_count].type, type, strlen(type));
        memcpy(added[added_count++].name, name, strlen(name));
    }
    rasx__unlock(&lock);
    return more == NULL ? 8 : 0;
}

rasx_clock *sim_clock(void)
{
    return rasx__clock_machine();
}

static uint32_t switch_clock(uint32_t is_virtual)
{
    rasx_clock *clock = sim_clock();
    uint64_t from_ns;

    if (sim_engine_in_flight() > 0)
        return RASX_E_STILL_OPEN;
    from_ns = clock->now(clock);
    if (rasx__clock_set_virtual(clock, is_virtual != 0) != 0)
        return RASX_E_STILL_OPEN;
    sim_engine_clock_moved(from_ns, clock->now(clock));
    take_lock();
    seeded_ns = clock->now(clock);
    rasx__unlock(&lock);
    return 0;
}

static uint32_t set_clock(uint32_t is_virtual)
{
    uint32_t code = switch_clock(is_virtual);

    sim_engine_keep_time(); /* that it was stopped for */
    return code;
}

static uint32_t advance(uint64_t ns)
{
    if (!rasx__clock_is_virtual(sim_clock()))
        return 50;
    return rasx__clock_advance(sim_clock(), ns) != 0 ? 1460 : 0;
}

static uint32_t settle(void)
{
    return advance(0);
}

static uint64_t now_ns(void)
{
    return sim_clock()->now(sim_clock());
}

static void *clock_object(void)
{
    return sim_clock();
}

/* --- Faults and journal ------------------------------------------------------------------------------------------------ */

/* A function by name, with or without its W. */
static int find_function(const char *name)
{
    for (int i = 0; name != NULL && i < SIM_FUNCTION_COUNT; i++) {
        size_t units = strlen(name);

        if (strncmp(functions[i], name, units) == 0
            && (functions[i][units] == '\0' || strcmp(functions[i] + units, "W") == 0))
            return i;
    }
    return -1;
}

/* Code 0 takes the fault away. */
static uint32_t set_fault(const char *function, uint32_t code, uint32_t after, uint32_t times)
{
    int i = find_function(function);

    if (i < 0)
        return 87;
    take_lock();
    faults[i].on = code != 0;
    faults[i].code = code;
    faults[i].after = after;
    faults[i].times = times;
    faults[i].endless = times == 0;
    rasx__unlock(&lock);
    return 0;
}

/* One line: number, milliseconds of the machine's clock, function, arguments, code. Control characters in names become '?', so that a
 * line stays a line. */
static void write_line(enum sim_function function, uint32_t code, const char *format, va_list arguments)
{
    char line[LINE_BYTES];
    int room = LINE_BYTES - 32; /* for the code */
    int used;
    int more;

    rasx__lock(&journal_lock);
    used = snprintf(line, (size_t)room, "%llu %llu %s ", (unsigned long long)++journal_lines,
                    (unsigned long long)(now_ns() / 1000000u), functions[function]);
    more = vsnprintf(line + used, (size_t)(room - used), format, arguments);
    used = more < 0 ? used : more >= room - used ? room - 1 : used + more;
    for (int i = 0; i < used; i++)
        if ((unsigned char)line[i] < 0x20)
            line[i] = '?';
    used += snprintf(line + used, (size_t)(LINE_BYTES - used), " -> %lu\n", (unsigned long)code);
    if (journal_path[0] != '\0')
        rasx__file_append(journal_path, line, (size_t)used);
    rasx__unlock(&journal_lock);
}

uint32_t sim_leave(enum sim_function function, uint32_t code, const char *format, ...)
{
    if (rasx__load(&journal_on) != 0) {
        va_list arguments;

        va_start(arguments, format);
        write_line(function, code, format, arguments);
        va_end(arguments);
    }
    return code;
}

int sim_enter(enum sim_function function, uint32_t *code)
{
    fault *f = &faults[function];
    int faulted = 0;

    *code = 0;
#ifdef RASX_SIM_DLL
    if ((*code = sim_scenario_begin()) != 0)
        return 1;
#endif
    rasx__add(&call_counts[function], 1);
    take_lock();
    if (f->on && f->after > 0) {
        f->after--;
    } else if (f->on) {
        faulted = 1;
        *code = f->code;
        f->on = f->endless || --f->times > 0;
    }
    rasx__unlock(&lock);
    if (faulted)
        (void)sim_leave(function, *code, "fault");
    return faulted;
}

static uint32_t set_journal(const char *path)
{
    uint32_t code = 0;

    if (path != NULL && strlen(path) >= PATH_ROOM)
        return 3;
    if (path != NULL)
        code = rasx__file_append(path, "", 0);
    if (code != 0)
        return code;
    rasx__lock(&journal_lock);
    memset(journal_path, 0, sizeof journal_path);
    if (path != NULL)
        memcpy(journal_path, path, strlen(path));
    journal_lines = 0;
    rasx__store(&journal_on, path != NULL);
    rasx__unlock(&journal_lock);
    return 0;
}

static uint32_t calls(const char *function)
{
    int i = find_function(function);

    return i < 0 ? 0 : rasx__load(&call_counts[i]);
}

/* --- Reset ------------------------------------------------------------------------------------------------------------- */

static void forget(setting *s)
{
    drop_script(s->script);
    free(s->account);
    free(s->saved);
    free(s->knobs);
    free(s->entry);
    memset(s, 0, sizeof *s);
}

static uint32_t reset(uint32_t force)
{
    uint32_t code = sim_engine_reset(force);

    if (code != 0)
        return code;
    sim_notify_reset();
    take_lock();
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (settings[i] != NULL) {
            setting *s = settings[i];

            settings[i] = s->next;
            forget(s);
            free(s);
        }
    }
    forget(&machine);
    memset(faults, 0, sizeof faults);
    free(added);
    added = NULL;
    added_count = 0;
    started = 0;
    start();
    for (int i = 0; i < SIM_FUNCTION_COUNT; i++)
        rasx__store(&call_counts[i], 0);
    rasx__unlock(&lock);
    sim_enumerate_reset();
    (void)set_journal(NULL);
    return rasx__clock_set_virtual(sim_clock(), 0) != 0 ? RASX_E_STILL_OPEN : 0;
}

/* --- The tables -------------------------------------------------------------------------------------------------------- */

#define TABLE_ROW(ret, name, arguments, required) sim_##name,
static const rasapi table = { RASAPI_FUNCTIONS(TABLE_ROW) };

const rasapi *rasapi_sim(void)
{
    return &table;
}

static const void *rasapi_table(void)
{
    return &table;
}

static const rasx_sim_api api = {
    sizeof(rasx_sim_api), RASX_ABI, "ras_ext simulated rasapi32", reset, set_seed, set_script, set_script_steps, get_script_name,
    set_account, set_saved, set_knob, get_knob_name, set_fault, sim_engine_ports, add_device, sim_engine_drop, sim_engine_release,
    set_journal, calls, sim_engine_counters, set_clock, advance, settle, now_ns, clock_object, rasapi_table,
    sim_scenario_load
};

const rasx_sim_api *rasx_sim_get_api(void)
{
    return &api;
}
