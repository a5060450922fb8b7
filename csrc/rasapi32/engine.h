/* engine.h: what the engine, control.c, notification.c and link_script.c tell each other; nobody else includes it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Locks: the engine's (engine.c) comes before that of notification.c, that before the control's (control.c); none is held while a
 * handler runs or anything waits. A function named here takes the lock of its own file.
 */
#ifndef RASX_ENGINE_H
#define RASX_ENGINE_H

#include "../rasapi.h"
#include "../ras_ext.h"
#include "link.h"
#include "machine.h"

/* --- Scripts ----------------------------------------------------------------------------------------------------------- */

#define SIM_DELAY_ANY 0xFFFFFFFFu /* as delay_ms: 1 to 20 ms, from the dial's own seeded generator */

typedef struct sim_script {
    const char          *name;   /* of a default script; NULL for one made of steps */
    const rasx_sim_step *steps;
    uint32_t             count;
    uint32_t             holders; /* control.c's; default scripts are static and not counted */
} sim_script;

const sim_script *sim_script_named(const char *name);    /* NULL for an unknown name */
const sim_script *sim_script_at(uint32_t index);         /* NULL past the last */
const sim_script *sim_script_take(const char *entry);    /* what the entry shall play; NULL: what fits its device */
void              sim_script_give_back(const sim_script *script);

/* --- Accounts ---------------------------------------------------------------------------------------------------------- */

enum sim_account { SIM_ACCOUNT_NONE, SIM_ACCOUNT_RIGHT, SIM_ACCOUNT_WRONG };
/* Compares a user name and password (arrays of 257, NUL not needed) with the account of the entry. Leaves no copy behind. */
enum sim_account sim_account_check(const char *entry, const char16_t *username, const char16_t *password);

/* --- Chance ------------------------------------------------------------------------------------------------------------ */

uint64_t sim_random_64(void); /* the machine's one seeded generator */
uint64_t sim_dial_chance(const char *entry); /* where the chances of a dial start */

/* The generator of one dial: seeded from the machine's when RasDial is called, so that the threads of several dials do not
 * disturb each other's sequence. */
static inline uint64_t sim_chance(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));

    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* --- The engine, for the control table --------------------------------------------------------------------------------- */

void     sim_engine_knobs(const char *entry, int64_t values[SIM_KNOB_COUNT]); /* control.c: all knobs of an entry at once */
uint32_t sim_engine_reset(uint32_t force);   /* 0 or RASX_E_STILL_OPEN */
void     sim_engine_counters(rasx_sim_counters *counters);
uint32_t sim_engine_in_flight(void);         /* dials that have not been decided, and threads */
void     sim_engine_clock_moved(uint64_t from_ns, uint64_t to_ns); /* keeps what is left of every delay when the clock changes */
uint32_t sim_engine_drop(uint64_t handle, uint32_t reason);
void     sim_engine_release(void);
int      sim_engine_has(uintptr_t handle);   /* a handle that stands for something */
void     sim_engine_keep_time(void);         /* somebody waits for what will fall due (notification.c) */
uint32_t sim_engine_ports(const char *device_type, uint32_t count);

/* --- Scenario files (scenario.c) ---------------------------------------------------------------------------------------- */

/* Sets the machine up from a JSON file (docs/rasapi32-dll.md), on top of what it has been told before. 0; 13 when something in it
 * is wrong, which `message` (may be NULL) tells, and what stands behind it is not set; 2, 3, 5, 8 or 223 for the file itself. */
uint32_t sim_scenario_load(const char *path, char *message, uint32_t room);
/* The same of text that ends in NUL, with any control table. */
uint32_t sim_scenario_parse(const rasx_sim_api *api, const char *bytes, size_t count, char *message, uint32_t room);
/* rasapi32.dll only, before anything else is done: loads the scenario that the environment names, once. 0; 13 for ever when it is
 * wrong: no call may then answer as if nothing were. */
uint32_t sim_scenario_begin(void);

#endif
