/* rasapi.h: the seam. The RAS API as a table of function pointers with the exact rasapi32 signatures (W forms).
 *
 * SPDX-License-Identifier: MIT
 *
 * Everything above calls through a `const struct rasapi`; everything below fills one. Nothing above may ask which
 * implementation it talks to. Names are the vendor's; the structures come from rasapi_types.h.
 */
#ifndef RASX_RASAPI_H
#define RASX_RASAPI_H

#include "rasapi_types.h"

/* The one list: X(return, name, arguments, required). The table, the loader, our implementation, the export list and the
 * names for fault injection are made from it. Append only. Source S0.2. */
#define RASAPI_FUNCTIONS(X)                                                                                                  \
    X(uint32_t, RasDialW, (RASDIALEXTENSIONS * extensions, const char16_t *phonebook, RASDIALPARAMSW *params,                \
                           uint32_t notifier_type, void *notifier, HRASCONN *connection), 1)                                 \
    X(uint32_t, RasHangUpW, (HRASCONN connection), 1)                                                                        \
    X(uint32_t, RasGetConnectStatusW, (HRASCONN connection, RASCONNSTATUSW * status), 1)                                     \
    X(uint32_t, RasEnumConnectionsW, (RASCONNW * list, uint32_t *bytes, uint32_t *count), 1)                                 \
    X(uint32_t, RasEnumEntriesW, (const char16_t *reserved, const char16_t *phonebook, RASENTRYNAMEW *list,                  \
                                  uint32_t *bytes, uint32_t *count), 1)                                                      \
    X(uint32_t, RasEnumDevicesW, (RASDEVINFOW * list, uint32_t *bytes, uint32_t *count), 1)                                  \
    X(uint32_t, RasGetErrorStringW, (uint32_t code, char16_t *text, uint32_t characters), 1)                                 \
    X(uint32_t, RasGetEntryDialParamsW, (const char16_t *phonebook, RASDIALPARAMSW *params, int32_t *has_password), 0)       \
    X(uint32_t, RasValidateEntryNameW, (const char16_t *phonebook, const char16_t *entry), 0)                                \
    X(uint32_t, RasSetEntryDialParamsW, (const char16_t *phonebook, RASDIALPARAMSW *params, int32_t remove_password), 0)      \
    X(uint32_t, RasGetEntryPropertiesW, (const char16_t *phonebook, const char16_t *entry, RASENTRYW *record,                \
                                         uint32_t *bytes, uint8_t *device_info, uint32_t *device_bytes), 0)                  \
    X(uint32_t, RasGetSubEntryHandleW, (HRASCONN connection, uint32_t subentry, HRASCONN *link), 0)                     \
    X(uint32_t, RasConnectionNotificationW, (HRASCONN connection, void *event, uint32_t flags), 0)

#define RASAPI_MEMBER(ret, name, arguments, required) ret(RASAPI_CALL *name) arguments;

typedef struct rasapi {
    RASAPI_FUNCTIONS(RASAPI_MEMBER)
} rasapi;

/* The three callback kinds (S1.4). */
typedef void(RASAPI_CALL *RASDIALFUNC)(uint32_t message, uint32_t state, uint32_t error);
typedef void(RASAPI_CALL *RASDIALFUNC1)(HRASCONN connection, uint32_t message, uint32_t state, uint32_t error,
                                        uint32_t extended_error);
typedef uint32_t(RASAPI_CALL *RASDIALFUNC2)(uintptr_t callback_id, uint32_t subentry, HRASCONN connection, uint32_t message,
                                            uint32_t state, uint32_t error, uint32_t extended_error);

/* Microsoft's rasapi32.dll from System32, loaded once and never unloaded; NULL where there is none (rasapi_dll.c). */
const rasapi *rasapi_system(void);
/* Another export of that DLL, or NULL: ours has rasx_sim_get_api. */
void *rasapi_system_export(const char *name);
/* Our own implementation in this copy of the code (rasapi32/). */
const rasapi *rasapi_sim(void);

#endif
