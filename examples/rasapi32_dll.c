/* rasapi32_dll.c: dials with whatever rasapi32.dll this program finds, and tells whether that is the simulated one.
 *
 * SPDX-License-Identifier: MIT
 *
 *     x86_64-w64-mingw32-gcc -municode rasapi32_dll.c -o dial.exe      (or: cl /Fe:dial.exe rasapi32_dll.c)
 *     set RASX_SIM_SCENARIO=scenario.json
 *     dial.exe "Office VPN" office.pbk
 *
 * With our rasapi32.dll beside it, it runs on a machine without RAS, under Wine too (docs/rasapi32-dll.md). Only the vendor's own
 * declarations are used; nothing of ras_ext is needed to build it.
 */
#define WINVER 0x0601
#define _WIN32_WINNT 0x0601
#include <windows.h>

#include <ras.h>
#include <stdio.h>
#include <wchar.h>

typedef DWORD(APIENTRY *dial_function)(LPRASDIALEXTENSIONS, LPCWSTR, LPRASDIALPARAMSW, DWORD, LPVOID, LPHRASCONN);
typedef DWORD(APIENTRY *hang_up_function)(HRASCONN);
typedef DWORD(APIENTRY *status_function)(HRASCONN, LPRASCONNSTATUSW);

/* The beginning of the control table: see rasx_sim_api in ras_ext.h, whose functions follow. */
struct control {
    unsigned int size, abi;
    const char  *marker;
};

static HANDLE decided;
static DWORD  outcome;

static DWORD WINAPI notified(ULONG_PTR id, DWORD subentry, HRASCONN connection, UINT message, RASCONNSTATE state, DWORD error,
                             DWORD extended_error)
{
    (void)id, (void)subentry, (void)connection, (void)message, (void)extended_error;
    printf("state %d, error %lu\n", (int)state, error);
    if (error != 0 || state == RASCS_Connected || state == RASCS_Disconnected) {
        outcome = error != 0 ? error : state == RASCS_Connected ? 0 : 631;
        SetEvent(decided);
    }
    return 1;
}

int wmain(int argc, wchar_t **argv);
int wmain(int argc, wchar_t **argv)
{
    HMODULE dll = LoadLibraryW(L"rasapi32.dll");
    dial_function dial = dll != NULL ? (dial_function)(ULONG_PTR)GetProcAddress(dll, "RasDialW") : NULL;
    hang_up_function hang_up = dll != NULL ? (hang_up_function)(ULONG_PTR)GetProcAddress(dll, "RasHangUpW") : NULL;
    status_function status = dll != NULL ? (status_function)(ULONG_PTR)GetProcAddress(dll, "RasGetConnectStatusW") : NULL;
    const struct control *(*get_control)(void);
    RASDIALPARAMSW params;
    RASCONNSTATUSW now;
    HRASCONN connection = NULL;
    wchar_t path[MAX_PATH] = L"";
    DWORD code;

    if (argc != 3 || dial == NULL || hang_up == NULL || status == NULL) {
        fprintf(stderr, "usage: dial ENTRY PHONEBOOK (and a rasapi32.dll is needed)\n");
        return 2;
    }
    /* Only the simulated one has this export; what it returns also controls the machine: scripts, knobs, faults. */
    get_control = (const struct control *(*)(void))(ULONG_PTR)GetProcAddress(dll, "rasx_sim_get_api");
    GetModuleFileNameW(dll, path, MAX_PATH);
    printf("%ls: %s\n", path, get_control != NULL ? get_control()->marker : "the system's RAS");

    decided = CreateEventW(NULL, TRUE, FALSE, NULL);
    ZeroMemory(&params, sizeof params);
    params.dwSize = sizeof params;
    wcsncpy(params.szEntryName, argv[1], RAS_MaxEntryName);
    code = dial(NULL, argv[2], &params, 2, (void *)(ULONG_PTR)notified, &connection);
    if (code == 0) {
        WaitForSingleObject(decided, 60000);
        code = outcome;
    }
    if (connection != NULL) { /* also after an error: the port is not free before */
        hang_up(connection);
        ZeroMemory(&now, sizeof now);
        now.dwSize = sizeof now;
        while (status(connection, &now) == 0)
            Sleep(10);
    }
    printf("code %lu\n", code);
    return code == 0 ? 0 : 1;
}
