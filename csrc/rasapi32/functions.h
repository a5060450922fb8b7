/* functions.h: our implementation of each API function, one prototype a function, made from the one list of the seam.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RASX_FUNCTIONS_H
#define RASX_FUNCTIONS_H

#include "../rasapi.h"

#define SIM_PROTOTYPE(ret, name, arguments, required) ret RASAPI_CALL sim_##name arguments;
RASAPI_FUNCTIONS(SIM_PROTOTYPE)

#endif
