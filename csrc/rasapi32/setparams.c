/* setparams.c: RasSetEntryDialParams, which old programs save credentials with. The library itself does not.
 *
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "../text.h"
#include "functions.h"
#include "machine.h"

enum { PATH_UNITS = 4096, UTF8_FACTOR = 3 }; /* as the functions that read */

static const uint32_t params_sizes[] = { RASDIALPARAMSW_SIZES };

/* A copy that surely ends in NUL, whatever the caller's array does. */
#define COPY(to, from)                                                                                                        \
    do {                                                                                                                      \
        memcpy(to, from, sizeof(to));                                                                                         \
        (to)[COUNT_OF(to) - 1] = 0;                                                                                           \
    } while (0)

/* S4.6: an empty member is left as it is; a password counts only together with a user name; the placeholder of S4.7 means the
 * stored one. Entries are not made here (623). dwSubEntry, dwCallbackId and the callback number are not kept: nothing reads
 * them back (assumed). */
uint32_t RASAPI_CALL sim_RasSetEntryDialParamsW(const char16_t *phonebook, RASDIALPARAMSW *params, int32_t remove_password)
{
    char path[PATH_UNITS * UTF8_FACTOR] = "";
    char name[COUNT_OF(params->szEntryName) * UTF8_FACTOR] = "";
    pbk_book *book = NULL;
    uint32_t code;
    int known_size = 0;

    if (sim_enter(SIM_RasSetEntryDialParamsW, &code))
        return code;
    for (size_t i = 0; params != NULL && i < COUNT_OF(params_sizes); i++)
        known_size |= params->dwSize == params_sizes[i];
    if (params == NULL) {
        code = 610;
    } else if (!known_size) {
        code = 632;
    } else {
        rasx__to_utf8(params->szEntryName, COUNT_OF(params->szEntryName), name, sizeof name);
        if (phonebook != NULL)
            rasx__to_utf8(phonebook, PATH_UNITS, path, sizeof path);
        code = pbk_open(path[0] != '\0' ? path : NULL, &book);
    }
    if (code == 0 && pbk_find(book, name) == NULL)
        code = 623;
    if (code == 0) {
        char16_t username[COUNT_OF(params->szUserName)];
        char16_t password[COUNT_OF(params->szPassword)];
        char16_t domain[COUNT_OF(params->szDomain)];

        COPY(username, params->szUserName);
        COPY(password, params->szPassword);
        COPY(domain, params->szDomain);
        code = sim_change_credentials(name, username[0] != 0 ? username : NULL,
                                      username[0] != 0 && !remove_password ? password : NULL, remove_password != 0,
                                      domain[0] != 0 ? domain : NULL);
        rasx__wipe(password, sizeof password);
    }
    pbk_release(book);
    return sim_leave(SIM_RasSetEntryDialParamsW, code, "phonebook=%s entry=%s remove=%d", path, name, (int)remove_password);
}
