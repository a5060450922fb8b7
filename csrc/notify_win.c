/* notify_win.c: the window form of notification, which exists on Windows only.
 *
 * SPDX-License-Identifier: MIT
 *
 * S1.4: RAS sends a registered message to a window; wParam is the state, lParam the error, and nothing tells whose dial it is. So
 * each dial has a message-only window of its own, made, pumped and destroyed by the dial's own thread and by no other: a
 * handler that blocks in a shared pump would suspend other dials too (S1.5).
 */
#include "core.h"

#include <string.h>

#ifdef _WIN32

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <windows.h>

static rasx__mutex lock = RASX_MUTEX_INIT;
static ATOM        window_class;
static UINT        ras_message; /* after the class was registered */

/* The dial's id stands in the window's extra bytes, as two 32-bit halves, because a LONG_PTR is too short for it on 32-bit
 * systems. lParam is 64 bits wide there, and may be sign-extended: only its low half is the code (S8.31). */
static LRESULT CALLBACK on_message(HWND window, UINT message, WPARAM first, LPARAM second)
{
    if (message != ras_message) return DefWindowProcW(window, message, first, second);
    const rasx_dial dial = (uint64_t)(uint32_t)GetWindowLongW(window, 4) << 32 | (uint32_t)GetWindowLongW(window, 0);
    rasx__slot *slot = rasx__pin(dial);
    if (slot) {
        rasx__notified(slot, 0, 0, (uint32_t)first, (uint32_t)(UINT_PTR)second, 0);
        rasx__unpin(slot);
    }
    return TRUE; /* "processed" (S1.4) */
}

/* The module that this code is in, whether a program, a Python extension or another DLL: a class belongs to a module. */
static HINSTANCE own_module(void)
{
    HMODULE module = NULL;
    (void)GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                             (LPCWSTR)(const void *)&window_class, &module);
    return module;
}

/* Once for the process, and never unregistered: the library stays loaded (rasx__stay_loaded). */
static int register_class(void)
{
    rasx__lock(&lock);
    if (window_class == 0) {
        WNDCLASSEXW c;
        ras_message = RegisterWindowMessageA(RASDIALEVENT);
        if (ras_message == 0) ras_message = WM_RASDIALEVENT;
        memset(&c, 0, sizeof c);
        c.cbSize = sizeof c;
        c.lpfnWndProc = on_message;
        c.cbWndExtra = 8;
        c.hInstance = own_module();
        c.lpszClassName = L"ras_ext notifications";
        window_class = RegisterClassExW(&c);
    }
    const int ok = window_class != 0;
    rasx__unlock(&lock);
    return ok;
}

void *rasx__window_open(rasx_dial dial, rasx__event *wake)
{
    if (!register_class()) return NULL;
    HWND window = CreateWindowExW(0, L"ras_ext notifications", NULL, 0, 0, 0, 0, 0, HWND_MESSAGE, NULL, own_module(), NULL);
    if (!window) return NULL;
    (void)SetWindowLongW(window, 0, (LONG)(uint32_t)dial);
    (void)SetWindowLongW(window, 4, (LONG)(uint32_t)(dial >> 32));
    (void)rasx__pump(1);
    rasx__event_pump(wake, 1);
    return window;
}

void rasx__window_close(void *window, rasx__event *wake)
{
    (void)DestroyWindow((HWND)window);
    rasx__event_pump(wake, 0);
    (void)rasx__pump(0);
}

#else

void *rasx__window_open(rasx_dial dial, rasx__event *wake)
{
    (void)dial, (void)wake;
    return NULL;
}

void rasx__window_close(void *window, rasx__event *wake) { (void)window, (void)wake; }

#endif

/* For a window of the application: posted by the consumer of the events, so that a program that hangs cannot hold the dial. */
uint32_t rasx_window_post(uint64_t window, uint32_t state, uint32_t error)
{
    if (!rasx__has_windows()) return RASX_E_NOT_AVAILABLE;
    return rasx__message_post((void *)(uintptr_t)window, RASDIALEVENT, WM_RASDIALEVENT, state, (intptr_t)(uintptr_t)error);
}
