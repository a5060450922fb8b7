/* through_dll.c: stands in for csrc/rasapi32/ in a test program, and takes the RAS of System32's rasapi32.dll instead.
 *
 * SPDX-License-Identifier: MIT
 *
 * So the contract tests run unchanged over the DLL. Without the marker export it is not our DLL that answers, and nothing that a
 * test said would be worth anything: the program ends.
 */
#include "ras_ext.h"
#include "rasapi.h"

#include <stdio.h>
#include <stdlib.h>

const rasapi *rasapi_sim(void) { return rasapi_system(); }

static const void *exported_table(void) { return rasapi_system(); }

const rasx_sim_api *rasx_sim_get_api(void)
{
    const rasx_sim_api *(*get)(void) = (const rasx_sim_api *(*)(void))(uintptr_t)rasapi_system_export("rasx_sim_get_api");

    static rasx_sim_api sim;

    if (get == NULL) {
        printf("FAIL: the rasapi32.dll in System32 is not ours\n");
        exit(1);
    }
    sim = *get();
    sim.rasapi = exported_table;
    return &sim;
}
