/* os_win.c: the platform layer for Windows 7 and later.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef _WIN32
typedef int rasx__os_win_unused; /* a translation unit must not be empty */
#else

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif

#include "os.h"

#include <windows.h>

#include <assert.h>
#include <limits.h>
#include <process.h>
#include <stdlib.h>
#include <string.h>

static_assert(sizeof(rasx__mutex) == sizeof(SRWLOCK), "os.h declares it without windows.h");
static_assert(sizeof(rasx__cond) == sizeof(CONDITION_VARIABLE), "os.h declares it without windows.h");

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* --- Time, chance, the process --------------------------------------------------------------------------------------- */

/* The performance counter, as time.perf_counter. Whole seconds and the rest apart: the product of the counter and 10^9 would
 * overflow after half an hour at 10 MHz. The frequency is fixed at boot; racing threads store the same value. */
uint64_t rasx__now_ns(void)
{
    static rasx__a64 cached;
    uint64_t frequency = rasx__load64(&cached), ticks;
    LARGE_INTEGER n;
    if (frequency == 0) {
        (void)QueryPerformanceFrequency(&n);
        frequency = (uint64_t)n.QuadPart;
        rasx__store64(&cached, frequency);
    }
    (void)QueryPerformanceCounter(&n);
    ticks = (uint64_t)n.QuadPart;
    return ticks / frequency * NS_PER_S + ticks % frequency * NS_PER_S / frequency;
}

void rasx__sleep_ms(uint32_t ms) { Sleep(ms == INFINITE ? INFINITE - 1 : ms); }

void rasx__yield(void) { (void)SwitchToThread(); }

uint32_t rasx__process_id(void) { return (uint32_t)GetCurrentProcessId(); }

void rasx__on_fork_child(void (*handler)(void)) { (void)handler; }

void rasx__wipe(void *bytes, size_t count) { (void)SecureZeroMemory(bytes, count); }

/* RtlGenRandom under its exported name: needs no import library and exists everywhere. The module stays loaded on purpose. */
int rasx__random(void *bytes, size_t count)
{
    typedef BOOLEAN(WINAPI * generator)(PVOID, ULONG);
    union {
        FARPROC found;
        generator call;
    } rtl_gen_random;
    unsigned char *p = bytes;
    HMODULE module = LoadLibraryExW(L"advapi32.dll", NULL, 0x00000800 /* LOAD_LIBRARY_SEARCH_SYSTEM32 */);
    if (module == NULL && GetLastError() == ERROR_INVALID_PARAMETER) {
        module = GetModuleHandleW(L"advapi32.dll"); /* Windows 7 without KB2533623 */
        if (module == NULL) module = LoadLibraryW(L"advapi32.dll"); /* a known DLL: always the system's */
    }
    if (module == NULL) return -1;
    rtl_gen_random.found = GetProcAddress(module, "SystemFunction036");
    if (rtl_gen_random.found == NULL) return -1;
    while (count > 0) {
        const ULONG piece = count < (1u << 20) ? (ULONG)count : 1u << 20;
        if (!rtl_gen_random.call(p, piece)) return -1;
        p += piece;
        count -= piece;
    }
    return 0;
}

/* --- Windows, messages, texts, the module -------------------------------------------------------------------------------- */

static RASX_THREAD_LOCAL int pumped; /* rasx__pump */

int rasx__pump(int messages)
{
    const int before = pumped;
    pumped = messages;
    return before;
}

/* Sleeps until the handle is signalled; a thread that pumps wakes for messages too, handles them and says WAIT_OBJECT_0 + 1.
 * Looking with PM_NOREMOVE is what delivers sent messages, and takes none of those that the thread's owner waits for. */
static DWORD sleep_on(const rasx__event *event, DWORD ms)
{
    const int messages = pumped ? pumped : event->pumps;
    DWORD code;
    MSG message;
    HANDLE handle = event->handle;
    if (!messages) return WaitForSingleObjectEx(handle, ms, TRUE);
    code = MsgWaitForMultipleObjectsEx(1, &handle, ms, messages == 1 ? QS_ALLINPUT : QS_SENDMESSAGE,
                                       MWMO_ALERTABLE | MWMO_INPUTAVAILABLE);
    if (code != WAIT_OBJECT_0 + 1) return code;
    if (messages == 1) {
        while (PeekMessageW(&message, NULL, 0, 0, PM_REMOVE)) (void)DispatchMessageW(&message);
    } else {
        (void)PeekMessageW(&message, NULL, 0, 0, PM_NOREMOVE | PM_QS_SENDMESSAGE);
    }
    return code;
}

void rasx__event_pump(rasx__event *event, int messages) { event->pumps = messages; }

int rasx__has_windows(void) { return 1; }

static UINT message_number(const char *name, uint32_t otherwise)
{
    const UINT number = RegisterWindowMessageA(name);
    return number != 0 ? number : (UINT)otherwise;
}

uint32_t rasx__message_send(void *window, const char *name, uint32_t otherwise, uintptr_t first, intptr_t second)
{
    if (!IsWindow((HWND)window)) return ERROR_INVALID_WINDOW_HANDLE;
    (void)SendMessageW((HWND)window, message_number(name, otherwise), (WPARAM)first, (LPARAM)second);
    return 0;
}

uint32_t rasx__message_post(void *window, const char *name, uint32_t otherwise, uintptr_t first, intptr_t second)
{
    if (PostMessageW((HWND)window, message_number(name, otherwise), (WPARAM)first, (LPARAM)second)) return 0;
    return (uint32_t)GetLastError();
}

/* The texts end in a line break and may hold more of them. */
int rasx__system_text(uint32_t code, char *text, size_t room)
{
    wchar_t wide[1024];
    DWORD units = FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, code, 0, wide, 1024, NULL);
    int bytes;
    while (units > 0 && wide[units - 1] <= L' ') units--;
    for (DWORD i = 0; i < units; i++) {
        if (wide[i] < L' ') wide[i] = L' ';
    }
    if (units == 0 || room == 0 || room > INT_MAX) return 0;
    bytes = WideCharToMultiByte(CP_UTF8, 0, wide, (int)units, text, (int)room - 1, NULL, NULL);
    text[bytes] = 0;
    return bytes > 0;
}

void rasx__stay_loaded(void)
{
    static const char here = 0;
    HMODULE module;
    (void)GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN, (LPCWSTR)(const void *)&here,
                             &module);
}

/* --- Locks ------------------------------------------------------------------------------------------------------------- */

void rasx__lock(rasx__mutex *mutex) { AcquireSRWLockExclusive((SRWLOCK *)(void *)mutex); }
void rasx__unlock(rasx__mutex *mutex) { ReleaseSRWLockExclusive((SRWLOCK *)(void *)mutex); }

void rasx__cond_wait(rasx__cond *cond, rasx__mutex *mutex, uint32_t timeout_ms)
{
    (void)SleepConditionVariableSRW((CONDITION_VARIABLE *)(void *)cond, (SRWLOCK *)(void *)mutex, timeout_ms, 0); /* 0xFFFFFFFF is INFINITE */
}

void rasx__cond_signal_all(rasx__cond *cond) { WakeAllConditionVariable((CONDITION_VARIABLE *)(void *)cond); }

/* --- Events: word 0 clear, 1 set, 2 clear with a sleeper ------------------------------------------------------------------
 * The word is the event; the handle only puts the waiter to sleep and is signalled only for a sleeper. It may stay signalled
 * when a waiter gave up at the same moment: then a later wait looks once more and sleeps again. */

int rasx__event_init(rasx__event *event)
{
    rasx__store(&event->word, 0);
    event->pumps = pumped;
    event->handle = CreateEventW(NULL, FALSE, FALSE, NULL);
    return event->handle != NULL ? 0 : -1;
}

void rasx__event_destroy(rasx__event *event)
{
    if (event->handle != NULL) (void)CloseHandle(event->handle);
    event->handle = NULL;
}

/* The exchange releases what the setter wrote; its partner is the load of 1 in rasx__event_peek. */
void rasx__event_set(rasx__event *event)
{
    if (rasx__exchange(&event->word, 1) == 2) (void)SetEvent(event->handle);
}

int rasx__event_is_set(const rasx__event *event) { return rasx__load(&event->word) == 1; }

/* A message that a pumping thread handled counts as a look at nothing: it looks at the word again, and sleeps on.
 * Alertable, so that a RAS that calls back in the context of the dialling thread (an APC) can do so. The system's wait has
 * milliseconds and may end a little early: rounded up, and looked at again. */
int rasx__event_peek(rasx__event *event, uint64_t timeout_ns)
{
    uint64_t deadline = RASX_NEVER;
    int started = 0;
    for (;;) {
        uint32_t expected = 0;
        DWORD ms = INFINITE, code = WAIT_TIMEOUT;
        int over = 0;
        if (rasx__load(&event->word) == 1) return 1;
        if (timeout_ns == 0) return 0;
        if (!started) {
            const uint64_t now = rasx__now_ns();
            if (timeout_ns != RASX_NEVER) deadline = timeout_ns >= RASX_NEVER - 1 - now ? RASX_NEVER - 1 : now + timeout_ns;
            started = 1;
        }
        if (deadline != RASX_NEVER) {
            const uint64_t now = rasx__now_ns();
            const uint64_t left = deadline > now ? deadline - now : 0;
            over = left == 0;
            ms = left / NS_PER_MS >= 0x7FFFFFFF ? 0x7FFFFFFF : (DWORD)((left + NS_PER_MS - 1) / NS_PER_MS);
        }
        if (!over) {
            if (!rasx__cas(&event->word, &expected, 2) && expected == 1) return 1;
            code = sleep_on(event, ms);
        }
        if (code != WAIT_OBJECT_0) {
            expected = 2;
            if (!rasx__cas(&event->word, &expected, 0) && expected == 1) return 1;
            if (code == WAIT_IO_COMPLETION || code == WAIT_FAILED) return -1;
            if (over) return 0;
        }
    }
}

int rasx__event_wait(rasx__event *event, uint64_t timeout_ns)
{
    const int result = rasx__event_peek(event, timeout_ns);
    if (result == 1) (void)rasx__exchange(&event->word, 0); /* only the one waiter clears it */
    return result;
}

/* --- Sockets ------------------------------------------------------------------------------------------------------------ */

typedef int(WINAPI *send_function)(UINT_PTR socket, const char *bytes, int count, int flags);

/* Not linked: whoever gave us a socket has ws2_32.dll in the process already, and nobody else needs it. */
void rasx__socket_ring(uintptr_t socket)
{
    static rasx__aptr known;
    void *found = rasx__load_ptr(&known);
    if (!found) {
        HMODULE library = GetModuleHandleW(L"ws2_32.dll");
        found = library ? (void *)(uintptr_t)GetProcAddress(library, "send") : NULL;
        rasx__store_ptr(&known, found);
    }
    if (found) (void)((send_function)(uintptr_t)found)(socket, "", 1, 0);
}

/* --- Relays ------------------------------------------------------------------------------------------------------------ */

/* The event handles are kept for the next relay: whether RAS has its own duplicate of one is not documented, so none is ever
 * closed while RAS might still set it. An implementation of RAS in this copy of the code takes the short way to the target, so
 * that on a virtual clock a signal is there at once; what it holds then is an odd number (a place and its lives), and else its
 * own duplicate of the handle, whose lowest two bits are always 0. */
enum { RELAYS = 1024, RELAY_BITS = 11 };

typedef struct relay {
    HANDLE       event;  /* NULL: never used */
    HANDLE       wait;
    rasx__event *target; /* NULL: closed, for those with the lock */
    uint32_t     lives;
    int          used;   /* with the lock */
} relay;

static rasx__mutex relay_lock = RASX_MUTEX_INIT;
static relay       relays[RELAYS];

/* With the lock. */
static void relay_set(const relay *r)
{
    if (r->target != NULL) rasx__event_set(r->target);
}

/* With the lock. The event is a manual-reset one, so that a signal stands in it until it is handed on: at no time is there one that
 * neither the event nor the target shows. Reset first: a signal that comes in between is handed on once more. */
static void relay_hand_on(const relay *r)
{
    (void)ResetEvent(r->event);
    relay_set(r);
}

static VOID CALLBACK relay_signalled(PVOID context, BOOLEAN timed_out)
{
    (void)timed_out;
    rasx__lock(&relay_lock);
    relay_hand_on(context);
    rasx__unlock(&relay_lock);
}

static void relay_use(relay *r, rasx__event *target, int used)
{
    rasx__lock(&relay_lock);
    r->target = target;
    r->used = used;
    rasx__unlock(&relay_lock);
}

void *rasx__relay_open(rasx__event *target)
{
    relay *r = NULL;
    rasx__lock(&relay_lock);
    for (uint32_t i = 0; i < RELAYS && r == NULL; i++) {
        if (!relays[i].used) r = &relays[i];
    }
    if (r != NULL) {
        r->used = 1;
        r->lives++;
    }
    rasx__unlock(&relay_lock);
    if (r == NULL) return NULL;
    if (r->event == NULL) r->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    else (void)ResetEvent(r->event);
    relay_use(r, target, 1);
    if (r->event == NULL || !RegisterWaitForSingleObject(&r->wait, r->event, relay_signalled, r, INFINITE, WT_EXECUTEINWAITTHREAD)) {
        relay_use(r, NULL, 0);
        return NULL;
    }
    return r->event;
}

/* With the lock: the relay in use that has this handle, or NULL. */
static relay *relay_find(const void *handle)
{
    for (uint32_t i = 0; i < RELAYS; i++) {
        if (relays[i].target != NULL && relays[i].event == (HANDLE)handle) return &relays[i];
    }
    return NULL;
}

void rasx__relay_flush(void *handle)
{
    const relay *r;
    rasx__lock(&relay_lock);
    r = relay_find(handle);
    if (r != NULL && WaitForSingleObject(r->event, 0) == WAIT_OBJECT_0) relay_hand_on(r);
    rasx__unlock(&relay_lock);
}

void rasx__relay_close(void *handle)
{
    relay *r;
    rasx__lock(&relay_lock);
    r = relay_find(handle);
    if (r != NULL) r->target = NULL;
    rasx__unlock(&relay_lock);
    if (r == NULL) return;
    (void)UnregisterWaitEx(r->wait, INVALID_HANDLE_VALUE); /* waits for a callback that runs; without the lock, which that takes */
    relay_use(r, NULL, 0);
}

uint64_t rasx__relay_hold(void *handle)
{
    HANDLE copy = NULL;
    uint64_t held = 0;
    const relay *r;
    rasx__lock(&relay_lock);
    r = relay_find(handle);
    if (r != NULL) held = ((uint64_t)r->lives << RELAY_BITS | (uint64_t)(r - relays)) << 1 | 1;
    rasx__unlock(&relay_lock);
    if (held != 0) return held;
    if (!DuplicateHandle(GetCurrentProcess(), (HANDLE)handle, GetCurrentProcess(), &copy, EVENT_MODIFY_STATE, FALSE, 0)) return 0;
    return (uint64_t)(uintptr_t)copy;
}

int rasx__relay_signal(uint64_t held)
{
    const relay *r = &relays[(held >> 1) % RELAYS];
    int here;
    if ((held & 1) == 0) return SetEvent((HANDLE)(uintptr_t)held) != 0;
    rasx__lock(&relay_lock);
    here = r->target != NULL && r->lives == (uint32_t)(held >> (RELAY_BITS + 1));
    if (here) relay_set(r);
    rasx__unlock(&relay_lock);
    return here;
}

void rasx__relay_drop(uint64_t held)
{
    if ((held & 1) == 0) (void)CloseHandle((HANDLE)(uintptr_t)held);
}

/* --- Threads ------------------------------------------------------------------------------------------------------------- */

/* Only address space is reserved. RasDial itself runs on such a stack, with whatever providers it loads, so on 64-bit systems
 * there is no reason to be mean; on 32-bit ones a thousand dials must fit. */
#ifdef _WIN64
#define STACK_BYTES (1u << 20)
#else
#define STACK_BYTES (512u << 10)
#endif

typedef struct start {
    void (*entry)(void *);
    void *argument;
} start;

static unsigned __stdcall run_thread(void *pointer)
{
    const start s = *(start *)pointer;
    free(pointer);
    s.entry(s.argument);
    return 0;
}

int rasx__thread_start(void (*entry)(void *), void *argument)
{
    uintptr_t thread;
    start *s = malloc(sizeof *s);
    if (s == NULL) return -1;
    s->entry = entry;
    s->argument = argument;
    thread = _beginthreadex(NULL, STACK_BYTES, run_thread, s, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (thread == 0) {
        free(s);
        return -1;
    }
    (void)CloseHandle((HANDLE)thread);
    return 0;
}

/* --- Files --------------------------------------------------------------------------------------------------------------- */

static uint32_t code_of(DWORD error)
{
    switch (error) {
    case ERROR_FILE_NOT_FOUND: return 2;
    case ERROR_PATH_NOT_FOUND:
    case ERROR_INVALID_NAME:
    case ERROR_BAD_PATHNAME:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME:
    case ERROR_INVALID_DRIVE:
    case ERROR_DIRECTORY:
    case ERROR_FILENAME_EXCED_RANGE: return 3;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY: return 8;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL: return 112;
    default: return 5;
    }
}

static uint64_t pair(DWORD high, DWORD low) { return (uint64_t)high << 32 | low; }

/* Opens and looks at what was opened, not at what the name may mean by then. All sharing is allowed: a phone book that the
 * vendor's own dialogs hold open must stay readable, and writable for them. */
static uint32_t open_regular(const char *path, DWORD access, DWORD how, HANDLE *file, rasx__file_id *id)
{
    BY_HANDLE_FILE_INFORMATION info;
    wchar_t *wide;
    const int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    DWORD error;
    if (units <= 1) return 3; /* malformed or empty */
    wide = malloc((size_t)units * sizeof *wide);
    if (wide == NULL) return 8;
    (void)MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, units);
    *file = CreateFileW(wide, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, how, FILE_ATTRIBUTE_NORMAL, NULL);
    error = GetLastError();
    free(wide);
    if (*file == INVALID_HANDLE_VALUE) return code_of(error);
    if (GetFileType(*file) != FILE_TYPE_DISK || !GetFileInformationByHandle(*file, &info) ||
        (info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) != 0) {
        (void)CloseHandle(*file);
        return 5;
    }
    id->size = pair(info.nFileSizeHigh, info.nFileSizeLow);
    id->mtime_ns = pair(info.ftLastWriteTime.dwHighDateTime, info.ftLastWriteTime.dwLowDateTime) * 100; /* since 1601: fits until 2185 */
    id->inode = pair(info.nFileIndexHigh, info.nFileIndexLow);
    id->device = info.dwVolumeSerialNumber;
    return 0;
}

uint32_t rasx__file_stat(const char *path, rasx__file_id *id)
{
    HANDLE file;
    const uint32_t code = open_regular(path, FILE_READ_ATTRIBUTES, OPEN_EXISTING, &file, id);
    if (code == 0) (void)CloseHandle(file);
    return code;
}

/* The id is taken before reading: a change in between makes the id too old, so a cache reads again, never too new. Reads one
 * byte past the size it was told, to notice a file that grows; the spare byte ends the text in NUL. */
uint32_t rasx__file_read(const char *path, uint64_t most, uint8_t **bytes, size_t *count, rasx__file_id *id)
{
    HANDLE file;
    uint8_t *buffer = NULL;
    size_t room = 0, used = 0;
    uint32_t code = open_regular(path, GENERIC_READ, OPEN_EXISTING, &file, id);
    if (code != 0) return code;
    if (id->size > most) {
        code = 223;
    } else if (id->size > SIZE_MAX - 2) {
        code = 8;
    } else {
        room = (size_t)id->size + 2;
        buffer = malloc(room);
        if (buffer == NULL) code = 8;
    }
    while (code == 0) {
        const size_t left = room - 1 - used;
        DWORD got = 0;
        if (!ReadFile(file, buffer + used, left < (1u << 30) ? (DWORD)left : 1u << 30, &got, NULL)) {
            code = code_of(GetLastError());
        } else if (got == 0) {
            break;
        } else {
            used += got;
            if (used > most) {
                code = 223;
            } else if (used == room - 1) { /* it has grown since it was opened */
                uint8_t *larger = room <= SIZE_MAX / 2 ? realloc(buffer, room * 2) : NULL;
                if (larger == NULL) {
                    code = 8;
                } else {
                    buffer = larger;
                    room *= 2;
                }
            }
        }
    }
    (void)CloseHandle(file);
    if (code != 0) {
        free(buffer);
        return code;
    }
    buffer[used] = 0;
    *bytes = buffer;
    *count = used;
    return 0;
}

/* FILE_APPEND_DATA without FILE_WRITE_DATA: the system puts each write at the end. NTFS does that as one step, Wine and network
 * drives do not; so writers also lock a byte that is far behind any end, where it keeps no reader out. A drive without locks:
 * written all the same. */
uint32_t rasx__file_append(const char *path, const char *line, size_t count)
{
    HANDLE file;
    rasx__file_id id;
    OVERLAPPED at;
    DWORD put = 0;
    BOOL locked;
    uint32_t code;
    if (count > (1u << 30)) return 8;
    code = open_regular(path, GENERIC_READ | FILE_APPEND_DATA, OPEN_ALWAYS, &file, &id);
    if (code != 0) return code;
    memset(&at, 0, sizeof at);
    at.OffsetHigh = 0x40000000;
    locked = LockFileEx(file, LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, &at);
    if (!WriteFile(file, line, (DWORD)count, &put, NULL)) code = code_of(GetLastError());
    else if (put != (DWORD)count) code = 112;
    if (locked) (void)UnlockFileEx(file, 0, 1, 0, &at);
    (void)CloseHandle(file);
    return code;
}

int rasx__environment(const char *name, char *value, size_t room)
{
    wchar_t wide_name[64], *wide;
    DWORD units;
    int result = -1;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, wide_name, 64) == 0 || room > INT_MAX) return -1;
    units = GetEnvironmentVariableW(wide_name, NULL, 0);
    if (units <= 1) return 0;
    wide = malloc((size_t)units * sizeof *wide);
    if (wide == NULL) return -1;
    if (GetEnvironmentVariableW(wide_name, wide, units) == units - 1
        && WideCharToMultiByte(CP_UTF8, 0, wide, -1, value, (int)room, NULL, NULL) > 0)
        result = 1;
    free(wide);
    return result;
}

uint32_t rasx__default_phonebook(char *path, size_t room)
{
    static const char rest[] = "\\Microsoft\\Network\\Connections\\Pbk\\rasphone.pbk"; /* S7.1 */
    uint32_t code = 3;
    const DWORD needed = GetEnvironmentVariableW(L"APPDATA", NULL, 0);
    wchar_t *base = needed > 1 ? malloc((size_t)needed * sizeof *base) : NULL;
    if (base == NULL) return 3;
    if (room <= INT_MAX && GetEnvironmentVariableW(L"APPDATA", base, needed) == needed - 1) {
        const int length = WideCharToMultiByte(CP_UTF8, 0, base, -1, path, (int)room, NULL, NULL);
        if (length > 1 && (size_t)length - 1 + sizeof rest <= room) {
            memcpy(path + length - 1, rest, sizeof rest);
            code = 0;
        }
    }
    free(base);
    return code;
}

#endif
