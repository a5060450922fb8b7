/* Dials as any program of Windows does, and tells whose RAS answered: the system's, or the simulated one beside it, which
 * docs/rasapi32-dll.md gives you for tests. Nothing of ras_ext is needed to build it. SPDX-License-Identifier: MIT
 *
 *     x86_64-w64-mingw32-gcc -municode rasapi32_dll.c -lrasapi32 -o dial.exe      (or: cl rasapi32_dll.c rasapi32.lib)
 *     dial.exe "Office VPN" office.pbk                    with RASX_SIM_SCENARIO=scenario.json, if it shall not just connect
 */
#define _WIN32_WINNT 0x0601
#include <windows.h>
#include <ras.h>
#include <stdio.h>

static HANDLE decided;
static DWORD outcome = ERROR_TIMEOUT;

static DWORD WINAPI notified(ULONG_PTR id, DWORD subentry, HRASCONN connection, UINT message, RASCONNSTATE state, DWORD error,
                             DWORD extended_error)
{
    printf("state %d, error %lu\n", (int)state, error);
    if (error == 0 && state != RASCS_Connected && state != RASCS_Disconnected) return 1;
    outcome = error != 0 || state == RASCS_Connected ? error : ERROR_CANCELLED;
    SetEvent(decided);
    return (void)id, (void)subentry, (void)connection, (void)message, (void)extended_error, 1;
}

int wmain(int argc, wchar_t **argv)
{
    RASDIALPARAMSW params = {.dwSize = sizeof params};
    RASCONNSTATUSW status = {.dwSize = sizeof status};
    HRASCONN connection = NULL;
    FARPROC only_ours = GetProcAddress(GetModuleHandleW(L"rasapi32"), "rasx_sim_get_api");
    printf("%s\n", only_ours ? "the simulated RAS" : "the system's RAS");
    if (argc != 3 || (decided = CreateEventW(NULL, TRUE, FALSE, NULL)) == NULL) return 2;
    wcsncpy(params.szEntryName, argv[1], RAS_MaxEntryName);
    DWORD code = RasDialW(NULL, argv[2], &params, 2, (void *)(ULONG_PTR)notified, &connection);
    if (code == 0) WaitForSingleObject(decided, 60000), code = outcome;
    if (connection) RasHangUpW(connection); /* also after an error: the port is not free before */
    while (connection && RasGetConnectStatusW(connection, &status) == 0) Sleep(10);
    return printf("code %lu\n", code), code != 0;
}
