/* process.c: what the library needs once in a process, and what a fork does to it.
 *
 * SPDX-License-Identifier: MIT
 */
#include "core.h"

static rasx__a32   forked;
static rasx__mutex start_lock = RASX_MUTEX_INIT;
static int         started;
static char16_t    pad[257];

static void on_fork_child(void) { rasx__store_seq(&forked, 1); }

int rasx__forked(void) { return rasx__load(&forked) != 0; }

const char16_t *rasx__pad(void) { return started ? pad : NULL; }

uint32_t rasx__start_once(void)
{
    rasx__lock(&start_lock);
    if (!started && rasx__random(pad, sizeof pad) == 0) {
        rasx__on_fork_child(on_fork_child);
        rasx__stay_loaded();
        started = 1;
    }
    int ok = started;
    rasx__unlock(&start_lock);
    return ok ? 0 : 8;
}
