/* entry.c: the properties of a phone-book entry, RASENTRY, whatever version of it this system knows.
 *
 * SPDX-License-Identifier: MIT
 *
 * RASENTRY is the one structure of which newer versions than the oldest supported Windows has are wanted. A system that does not
 * know a dwSize answers 632, and asking again with an older one is harmless (S8.63); what was accepted is remembered per client.
 */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define TRIES 8u                /* alternates may be added between two calls */
#define MOST_BYTES (1u << 20)   /* assumed: far more than any list of numbers takes */

static const uint32_t sizes[] = { RASENTRYW_SIZE_A00, RASENTRYW_SIZE_601, RASENTRYW_SIZE_600, RASENTRYW_SIZE_501,
                                  RASENTRYW_SIZE_500, RASENTRYW_SIZE_401, RASENTRYW_SIZE_400 };
enum { VERSIONS = sizeof sizes / sizeof *sizes };

/* Protocol P2 (S4.0) with one version: a record of at least the newest size, so that its members may be read, whatever came. */
static uint32_t fetch(const rasapi *ras, const char16_t *phonebook, const char16_t *entry, uint32_t size, RASENTRYW **record)
{
    uint32_t bytes = size, code = 603;
    *record = NULL;
    for (uint32_t i = 0; i < TRIES && code == 603; i++) {
        uint32_t room = bytes < size ? size : bytes;
        if (room > MOST_BYTES) break;
        free(*record);
        *record = calloc(1, room > sizeof(RASENTRYW) ? room : sizeof(RASENTRYW));
        if (!*record) return 8;
        (*record)->dwSize = size;
        bytes = room;
        code = ras->RasGetEntryPropertiesW(phonebook, entry, *record, &bytes, NULL, NULL);
        if (code == 603 && bytes <= room) bytes = room * 2; /* it does not tell how much it needs */
    }
    if (code != 0) {
        free(*record);
        *record = NULL;
    }
    return code;
}

uint32_t rasx__entry_properties(rasx_client *client, const char16_t *phonebook, const char16_t *entry, RASENTRYW **record)
{
    const rasapi *ras = client->ras;
    *record = NULL;
    if (!ras->RasGetEntryPropertiesW) return RASX_E_NOT_AVAILABLE;
    uint32_t code = 632;
    for (uint32_t version = rasx__load_relaxed(&client->entry_version); version < VERSIONS && code == 632; version++) {
        code = fetch(ras, phonebook, entry, sizes[version], record);
        if (code != 632) rasx__store_relaxed(&client->entry_version, version);
    }
    return code;
}
