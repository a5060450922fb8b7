/* metronome.c: a rasapi32.dll that plays notifications and takes the time that each handler holds the dial (S1.5).
 *
 * SPDX-License-Identifier: MIT
 *
 * RasDialW starts a thread that calls the notifier `count` times, at a steady pace and with a state that decides nothing, then once
 * with Connected. metronome_times hands out how long each call took. Any client can be measured, whatever it is written in.
 */
#include "rasapi.h"

#include <windows.h>

#include <string.h>

#define MOST 100000u

static volatile LONG connected, hung_up;
static uint32_t count = 1000, pace_us = 300;
static uint32_t times_ns[MOST];

typedef struct dial {
    uint32_t  kind;
    void     *notifier;
    uintptr_t id, handle;
} dial;

static dial playing; /* one at a time */

static uint64_t now_ns(void)
{
    LARGE_INTEGER ticks, frequency;

    (void)QueryPerformanceCounter(&ticks);
    (void)QueryPerformanceFrequency(&frequency);
    return (uint64_t)ticks.QuadPart * 1000u / ((uint64_t)frequency.QuadPart / 1000000u);
}

static void call(uint32_t state)
{
    HRASCONN handle = (HRASCONN)playing.handle;

    if (playing.kind == 1)
        ((RASDIALFUNC1)(uintptr_t)playing.notifier)(handle, WM_RASDIALEVENT, state, 0, 0);
    else
        (void)((RASDIALFUNC2)(uintptr_t)playing.notifier)(playing.id, 1, handle, WM_RASDIALEVENT, state, 0, 0);
}

static DWORD WINAPI play(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < count; i++) {
        const uint64_t before = now_ns();

        call(6);
        times_ns[i] = (uint32_t)(now_ns() - before);
        for (const uint64_t until = now_ns() + pace_us * 1000u; now_ns() < until;)
            (void)SwitchToThread();
    }
    (void)InterlockedExchange(&connected, 1);
    call(RASCS_Connected);
    return 0;
}

uint32_t RASAPI_CALL metronome_set(uint32_t notifications, uint32_t pace);
uint32_t RASAPI_CALL metronome_set(uint32_t notifications, uint32_t pace)
{
    count = notifications < MOST ? notifications : MOST;
    pace_us = pace;
    return count;
}

uint32_t RASAPI_CALL metronome_times(uint32_t *out, uint32_t room);
uint32_t RASAPI_CALL metronome_times(uint32_t *out, uint32_t room)
{
    const uint32_t n = count < room ? count : room;

    memcpy(out, times_ns, n * sizeof *out);
    return n;
}

uint32_t RASAPI_CALL RasDialW(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                              uint32_t notifier_type, void *notifier, HRASCONN *connection);
uint32_t RASAPI_CALL RasDialW(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                              uint32_t notifier_type, void *notifier, HRASCONN *connection)
{
    HANDLE thread;

    (void)extensions, (void)phonebook;
    if (notifier == NULL || notifier_type < 1 || notifier_type > 2)
        return 87;
    playing.kind = notifier_type;
    playing.notifier = notifier;
    playing.id = params->dwCallbackId;
    (void)InterlockedExchange(&connected, 0);
    (void)InterlockedExchange(&hung_up, 0);
    playing.handle = playing.handle == 0 ? 0x1000 : playing.handle + 0x10; /* pywin32 remembers handles */
    *connection = (HRASCONN)playing.handle;
    thread = CreateThread(NULL, 0, play, NULL, 0, NULL);
    if (thread == NULL)
        return 8;
    (void)CloseHandle(thread);
    return 0;
}

uint32_t RASAPI_CALL RasHangUpW(HRASCONN connection);
uint32_t RASAPI_CALL RasHangUpW(HRASCONN connection)
{
    (void)connection;
    (void)InterlockedExchange(&hung_up, 1);
    return 0;
}

uint32_t RASAPI_CALL RasGetConnectStatusW(HRASCONN connection, RASCONNSTATUSW *status);
uint32_t RASAPI_CALL RasGetConnectStatusW(HRASCONN connection, RASCONNSTATUSW *status)
{
    (void)connection;
    if (hung_up)
        return 6;
    status->rasconnstate = connected ? RASCS_Connected : 6u;
    status->dwError = 0;
    return 0;
}

uint32_t RASAPI_CALL RasEnumConnectionsW(RASCONNW *list, uint32_t *bytes, uint32_t *number);
uint32_t RASAPI_CALL RasEnumConnectionsW(RASCONNW *list, uint32_t *bytes, uint32_t *number)
{
    (void)list;
    *bytes = *number = 0;
    return 0;
}

uint32_t RASAPI_CALL RasEnumEntriesW(const char16_t *reserved, const char16_t *phonebook, RASENTRYNAMEW *list, uint32_t *bytes,
                                     uint32_t *number);
uint32_t RASAPI_CALL RasEnumEntriesW(const char16_t *reserved, const char16_t *phonebook, RASENTRYNAMEW *list, uint32_t *bytes,
                                     uint32_t *number)
{
    (void)reserved, (void)phonebook, (void)list;
    *bytes = *number = 0;
    return 0;
}

uint32_t RASAPI_CALL RasEnumDevicesW(RASDEVINFOW *list, uint32_t *bytes, uint32_t *number);
uint32_t RASAPI_CALL RasEnumDevicesW(RASDEVINFOW *list, uint32_t *bytes, uint32_t *number)
{
    (void)list;
    *bytes = *number = 0;
    return 0;
}

uint32_t RASAPI_CALL RasGetErrorStringW(uint32_t code, char16_t *text, uint32_t characters);
uint32_t RASAPI_CALL RasGetErrorStringW(uint32_t code, char16_t *text, uint32_t characters)
{
    (void)code, (void)text, (void)characters;
    return 87;
}
