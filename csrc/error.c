/* error.c: finds a code in the one list.
 *
 * SPDX-License-Identifier: MIT
 */
#include "error.h"

#include <inttypes.h>
#include <stdio.h>

#include "ras_ext.h"

/* `name` is only ever turned into text, never expanded: winerror.h may define it as a macro. */
#define X(code, name, text, group, transient, deprecated) { code, #name, text, group, transient, deprecated },
static const rasx__error errors[] = {
#include "ras_errors.def"
};
#undef X

const rasx__error *rasx__error_find(uint32_t code)
{
    size_t low = 0, high = sizeof errors / sizeof errors[0];

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (errors[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof errors / sizeof errors[0] && errors[low].code == code ? &errors[low] : NULL;
}

const char *rasx__error_text(uint32_t code)
{
    const rasx__error *error = rasx__error_find(code);

    return error ? error->text : NULL;
}

const char *rasx_error_name(uint32_t code)
{
    const rasx__error *error = rasx__error_find(code);

    return error ? error->name : NULL;
}

void rasx__error_fallback(uint32_t code, char *text, size_t room)
{
    if (room == 0)
        return;
    (void)snprintf(text, room, code >= 0x80000000u ? "error 0x%08" PRIX32 : "error %" PRIu32, code);
}
