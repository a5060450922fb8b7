/* rasapi_dll.c: Microsoft's implementation, loaded at run time.
 *
 * SPDX-License-Identifier: MIT
 *
 * From System32 only: a file of that name beside the program, in the current directory or on PATH is never taken, and none that
 * somebody else has loaded from there. Every function is resolved by itself; a missing optional one stays NULL and its feature is
 * "not available" (S0.1, S8.77).
 */
#include "os.h"
#include "rasapi.h"

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <string.h>

#ifndef LOAD_LIBRARY_SEARCH_SYSTEM32
#define LOAD_LIBRARY_SEARCH_SYSTEM32 0x00000800
#endif

static rasx__mutex lock = RASX_MUTEX_INIT;
static rasapi      table;
static HMODULE     module;
static int         loaded; /* 1 complete, -1 not here */

/* By its full path: a bare name would find any module of that name that somebody has loaded into this process before. The flag is
 * for what the DLL itself imports; Windows 7 without KB2533623 does not know it. */
static HMODULE load(void)
{
    static const wchar_t name[] = L"\\rasapi32.dll";
    wchar_t path[MAX_PATH + sizeof name / sizeof *name];
    UINT length = GetSystemDirectoryW(path, MAX_PATH);
    if (length == 0 || length >= MAX_PATH) return NULL;
    memcpy(path + length, name, sizeof name);
    HMODULE dll = LoadLibraryExW(path, NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!dll && GetLastError() == ERROR_INVALID_PARAMETER) dll = LoadLibraryW(path);
    return dll;
}

static int resolve(HMODULE dll)
{
    int complete = 1;
#define RASAPI_RESOLVE(ret, name, arguments, required)                                                                       \
    table.name = (ret(RASAPI_CALL *) arguments)(uintptr_t)GetProcAddress(dll, #name);                                        \
    if (required && !table.name) complete = 0;
    RASAPI_FUNCTIONS(RASAPI_RESOLVE)
    return complete;
}

/* Never unloaded: a late callback must find its code (S8.8). */
const rasapi *rasapi_system(void)
{
    rasx__lock(&lock);
    if (!loaded) {
        module = load();
        loaded = module && resolve(module) ? 1 : -1;
    }
    int here = loaded == 1;
    rasx__unlock(&lock);
    return here ? &table : NULL;
}

void *rasapi_system_export(const char *name)
{
    return rasapi_system() ? (void *)(uintptr_t)GetProcAddress(module, name) : NULL;
}
#else
const rasapi *rasapi_system(void) { return NULL; }
void         *rasapi_system_export(const char *name) { return name ? NULL : NULL; }
#endif
