/* dll.c: what only rasapi32.dll has, not the copy of the machine inside the extension. ci/exports.py writes its export list.
 *
 * SPDX-License-Identifier: MIT
 *
 * There is no DllMain: nothing happens when the DLL is loaded, and nothing when the process ends.
 */
#include "../os.h"
#include "ansi.h"
#include "functions.h"

/* A program may FreeLibrary us while a link's worker still runs, so the first dial pins us. The thread that dials with one of its
 * own windows must handle what is sent there before RasDial returns (S8.5), or both would wait for each other. */
static int begin(uint32_t notifier_type, const void *notifier)
{
    rasx__stay_loaded();
    return rasx__pump(notifier != NULL && notifier_type == RASAPI_NOTIFIER_WINDOW ? 2 : 0);
}

uint32_t RASAPI_CALL dll_RasDialW(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                  uint32_t notifier_type, void *notifier, HRASCONN *connection);
uint32_t RASAPI_CALL dll_RasDialW(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                  uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    const int before = begin(notifier_type, notifier);
    const uint32_t code = sim_RasDialW(extensions, phonebook, params, notifier_type, notifier, connection);

    (void)rasx__pump(before);
    return code;
}

uint32_t RASAPI_CALL dll_RasDialA(RASDIALEXTENSIONS *extensions, const char *phonebook, RASDIALPARAMSA *params,
                                  uint32_t notifier_type, void *notifier, HRASCONN *connection);
uint32_t RASAPI_CALL dll_RasDialA(RASDIALEXTENSIONS *extensions, const char *phonebook, RASDIALPARAMSA *params,
                                  uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    const int before = begin(notifier_type, notifier);
    const uint32_t code = sim_RasDialA(extensions, phonebook, params, notifier_type, notifier, connection);

    (void)rasx__pump(before);
    return code;
}

/* Stock programs import these too; without an export they would not load, or would crash in the call. 120: not implemented. */
uint32_t RASAPI_CALL dll_RasGetEapUserIdentityW(const char16_t *phonebook, const char16_t *entry, uint32_t flags, void *window,
                                                void **identity);
uint32_t RASAPI_CALL dll_RasGetEapUserIdentityW(const char16_t *phonebook, const char16_t *entry, uint32_t flags, void *window,
                                                void **identity)
{
    (void)phonebook, (void)entry, (void)flags, (void)window;
    if (identity != NULL)
        *identity = NULL;
    return 120;
}

void RASAPI_CALL dll_RasFreeEapUserIdentityW(void *identity);
void RASAPI_CALL dll_RasFreeEapUserIdentityW(void *identity)
{
    (void)identity;
}

uint32_t RASAPI_CALL dll_RasCreatePhonebookEntryW(void *window, const char16_t *phonebook);
uint32_t RASAPI_CALL dll_RasCreatePhonebookEntryW(void *window, const char16_t *phonebook)
{
    (void)window, (void)phonebook;
    return 120;
}

uint32_t RASAPI_CALL dll_RasEditPhonebookEntryW(void *window, const char16_t *phonebook, const char16_t *entry);
uint32_t RASAPI_CALL dll_RasEditPhonebookEntryW(void *window, const char16_t *phonebook, const char16_t *entry)
{
    (void)window, (void)phonebook, (void)entry;
    return 120;
}
