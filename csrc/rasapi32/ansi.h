/* ansi.h: the A forms of our implementation, for rasapi32.dll. The library itself calls W forms only (S8.60).
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RASX_ANSI_H
#define RASX_ANSI_H

#include "../rasapi.h"

uint32_t RASAPI_CALL sim_RasDialA(RASDIALEXTENSIONS *extensions, const char *phonebook, RASDIALPARAMSA *params,
                                  uint32_t notifier_type, void *notifier, HRASCONN *connection);
uint32_t RASAPI_CALL sim_RasHangUpA(HRASCONN connection);
uint32_t RASAPI_CALL sim_RasGetConnectStatusA(HRASCONN connection, RASCONNSTATUSA *status);
uint32_t RASAPI_CALL sim_RasEnumConnectionsA(RASCONNA *list, uint32_t *bytes, uint32_t *count);
uint32_t RASAPI_CALL sim_RasEnumEntriesA(const char *reserved, const char *phonebook, RASENTRYNAMEA *list, uint32_t *bytes,
                                         uint32_t *count);
uint32_t RASAPI_CALL sim_RasEnumDevicesA(RASDEVINFOA *list, uint32_t *bytes, uint32_t *count);
uint32_t RASAPI_CALL sim_RasGetErrorStringA(uint32_t code, char *text, uint32_t characters);
uint32_t RASAPI_CALL sim_RasGetEntryDialParamsA(const char *phonebook, RASDIALPARAMSA *params, int32_t *has_password);
uint32_t RASAPI_CALL sim_RasValidateEntryNameA(const char *phonebook, const char *entry);
uint32_t RASAPI_CALL sim_RasSetEntryDialParamsA(const char *phonebook, RASDIALPARAMSA *params, int32_t remove_password);
uint32_t RASAPI_CALL sim_RasGetEntryPropertiesA(const char *phonebook, const char *entry, RASENTRYA *record, uint32_t *bytes,
                                                uint8_t *device_info, uint32_t *device_bytes);
uint32_t RASAPI_CALL sim_RasGetSubEntryHandleA(HRASCONN connection, uint32_t subentry, HRASCONN *link);
uint32_t RASAPI_CALL sim_RasConnectionNotificationA(HRASCONN connection, void *event, uint32_t flags);

/* Code page 1252 (assumed for CP_ACP, so that every system and test sees the same). Read at most `most` characters, write at most
 * `room` with the NUL, which always stands. A character that the page lacks becomes '?'. */
void sim_from_ansi(const char *text, size_t most, char16_t *out, size_t room);
void sim_to_ansi(const char16_t *text, size_t most, char *out, size_t room);

#endif
