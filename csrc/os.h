/* os.h: the platform in a few calls, so that nothing above needs an #ifdef: atomics, threads, waiting, time, files.
 *
 * SPDX-License-Identifier: MIT
 *
 * os_posix.c and os_win.c implement it. Orderings sit on the atomic operations, never on stand-alone fences, because
 * ThreadSanitizer models only the former.
 */
#ifndef RASX_OS_H
#define RASX_OS_H

#include <stddef.h>
#include <stdint.h>

/* --- Atomics: stdatomic, or Interlocked where the compiler lacks it (MSVC; forced with RASX_FORCE_INTERLOCKED) ------- */

#if defined(RASX_FORCE_INTERLOCKED) || (defined(_MSC_VER) && !defined(__clang__))
#include "os_interlocked.h"
#else
#include <stdatomic.h>

typedef struct rasx__a32 { _Atomic uint32_t value; } rasx__a32;
typedef struct rasx__a64 { _Atomic uint64_t value; } rasx__a64;
typedef struct rasx__aptr { _Atomic(void *) value; } rasx__aptr;

/* load: acquire. store: release. The read-modify-writes and load_seq/store_seq: sequentially consistent. */
static inline uint32_t rasx__load(const rasx__a32 *a) { return atomic_load_explicit(&((rasx__a32 *)(uintptr_t)a)->value, memory_order_acquire); }
static inline uint32_t rasx__load_relaxed(const rasx__a32 *a) { return atomic_load_explicit(&((rasx__a32 *)(uintptr_t)a)->value, memory_order_relaxed); }
static inline uint32_t rasx__load_seq(const rasx__a32 *a) { return atomic_load(&((rasx__a32 *)(uintptr_t)a)->value); }
static inline void rasx__store(rasx__a32 *a, uint32_t v) { atomic_store_explicit(&a->value, v, memory_order_release); }
static inline void rasx__store_relaxed(rasx__a32 *a, uint32_t v) { atomic_store_explicit(&a->value, v, memory_order_relaxed); }
static inline void rasx__store_seq(rasx__a32 *a, uint32_t v) { atomic_store(&a->value, v); }
static inline uint32_t rasx__exchange(rasx__a32 *a, uint32_t v) { return atomic_exchange(&a->value, v); }
static inline uint32_t rasx__add(rasx__a32 *a, uint32_t v) { return atomic_fetch_add(&a->value, v); } /* returns the old value */
static inline uint32_t rasx__sub(rasx__a32 *a, uint32_t v) { return atomic_fetch_sub(&a->value, v); }
/* 1 when *a was *expected and is now desired; else 0 with *expected refreshed. */
static inline int rasx__cas(rasx__a32 *a, uint32_t *expected, uint32_t desired) { return atomic_compare_exchange_strong(&a->value, expected, desired); }
/* The same with relaxed ordering, may fail spuriously: for claiming a place that is published by a later store. */
static inline int rasx__cas_relaxed(rasx__a32 *a, uint32_t *expected, uint32_t desired) { return atomic_compare_exchange_weak_explicit(&a->value, expected, desired, memory_order_relaxed, memory_order_relaxed); }

static inline uint64_t rasx__load64(const rasx__a64 *a) { return atomic_load_explicit(&((rasx__a64 *)(uintptr_t)a)->value, memory_order_acquire); }
static inline void rasx__store64(rasx__a64 *a, uint64_t v) { atomic_store_explicit(&a->value, v, memory_order_release); }
static inline uint64_t rasx__add64(rasx__a64 *a, uint64_t v) { return atomic_fetch_add(&a->value, v); }
static inline int rasx__cas64(rasx__a64 *a, uint64_t *expected, uint64_t desired) { return atomic_compare_exchange_strong(&a->value, expected, desired); }

static inline void *rasx__load_ptr(const rasx__aptr *a) { return atomic_load_explicit(&((rasx__aptr *)(uintptr_t)a)->value, memory_order_acquire); }
static inline void *rasx__load_ptr_seq(const rasx__aptr *a) { return atomic_load(&((rasx__aptr *)(uintptr_t)a)->value); }
static inline void rasx__store_ptr(rasx__aptr *a, void *v) { atomic_store_explicit(&a->value, v, memory_order_release); }
static inline void *rasx__exchange_ptr(rasx__aptr *a, void *v) { return atomic_exchange(&a->value, v); }
static inline int rasx__cas_ptr(rasx__aptr *a, void **expected, void *desired) { return atomic_compare_exchange_strong(&a->value, expected, desired); }
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define RASX_THREAD_LOCAL __declspec(thread)
#else
#define RASX_THREAD_LOCAL _Thread_local
#endif

/* --- Locks. Never taken by a RAS handler, never held across a RAS call or a wait for the interpreter -------------------- */

#ifdef _WIN32
typedef struct rasx__mutex { void *srw; } rasx__mutex; /* SRWLOCK */
typedef struct rasx__cond { void *cv; } rasx__cond;    /* CONDITION_VARIABLE */
typedef struct rasx__event { void *handle; rasx__a32 word; int32_t pumps; } rasx__event;
#define RASX_MUTEX_INIT { 0 }
#define RASX_COND_INIT { 0 }
#else
#include <pthread.h>
typedef struct rasx__mutex { pthread_mutex_t m; } rasx__mutex;
#if defined(__linux__) && !defined(RASX_FORCE_POSIX_EVENTS) /* forced: what other POSIX systems use, for tests on Linux */
#define RASX_HAS_FUTEX 1
/* By futex, because a statically initialised pthread condition waits on the wall clock, which can jump. */
typedef struct rasx__cond { rasx__a32 sequence, sleepers; } rasx__cond;
#define RASX_COND_INIT { { 0 }, { 0 } }
typedef struct rasx__event { rasx__a32 word; } rasx__event; /* futex: 0 clear, 1 set, 2 clear with a sleeper */
#else
typedef struct rasx__cond { pthread_cond_t c; } rasx__cond;
#define RASX_COND_INIT { PTHREAD_COND_INITIALIZER }
typedef struct rasx__event { rasx__a32 word; pthread_mutex_t m; pthread_cond_t c; } rasx__event;
#endif
#define RASX_MUTEX_INIT { PTHREAD_MUTEX_INITIALIZER }
#endif

void rasx__lock(rasx__mutex *mutex);
void rasx__unlock(rasx__mutex *mutex);
/* Waits for a signal or about timeout_ms of real time (0xFFFFFFFF: no bound); may wake for nothing. */
void rasx__cond_wait(rasx__cond *cond, rasx__mutex *mutex, uint32_t timeout_ms);
void rasx__cond_signal_all(rasx__cond *cond);

/* --- Events: auto-reset, one waiter ------------------------------------------------------------------------------------- */

#define RASX_NEVER UINT64_MAX

int  rasx__event_init(rasx__event *event); /* 0, or -1 without resources; a recycled event may be initialised once only */
void rasx__event_destroy(rasx__event *event);
/* Wakes the waiter now or its next wait. Takes no lock on Linux and Windows; a system call only when somebody sleeps. */
void rasx__event_set(rasx__event *event);
int  rasx__event_is_set(const rasx__event *event);
/* 1: was set, and is clear again. 0: timeout_ns of real time passed (RASX_NEVER: no bound). -1: a signal arrived. On
 * Windows the wait is alertable. */
int  rasx__event_wait(rasx__event *event, uint64_t timeout_ns);
/* The same, but leaves the event set: for a waiter whose wake-up others must be able to see until it has acted on it. */
int  rasx__event_peek(rasx__event *event, uint64_t timeout_ns);

/* Sends one byte into a non-blocking socket, whose other end somebody waits on. Never blocks; a full socket, or one whose other end
 * is closed, is no error: who waits there is awake, or gone. */
void rasx__socket_ring(uintptr_t socket);

/* --- Relays: an event of ours in the form in which a RAS takes one -------------------------------------------------------- */

/* A handle that a RAS may set from outside, at any time and from any thread: on Windows that of an event, whose signal
 * a thread of the system hands on to `target`; elsewhere a number that names a place in a table. NULL without resources. Places
 * are recycled, never freed: a RAS that signals a handle after rasx__relay_close reaches nobody or, where the place is in use
 * again, wakes somebody for nothing. */
void *rasx__relay_open(rasx__event *target);
/* Sees to it that every signal given before this call has reached the target. By its owner, who does not close it meanwhile. */
void  rasx__relay_flush(void *handle);
void  rasx__relay_close(void *handle); /* after it `target` is not touched any more; waits for a signal that is under way */

/* For an implementation of RAS: what it keeps of the handle that a caller gave, who may close it whenever he likes. */
uint64_t rasx__relay_hold(void *handle);   /* 0 for what is no such handle */
int      rasx__relay_signal(uint64_t held); /* 1; 0 when there is nobody any more. Never waits */
void     rasx__relay_drop(uint64_t held);

/* --- Threads, time, chance ------------------------------------------------------------------------------------------- */

/* Starts a detached thread with all signals blocked. 0, or -1 when the system refuses. */
int      rasx__thread_start(void (*entry)(void *), void *argument);
uint64_t rasx__now_ns(void);   /* monotonic; the clock of Python's time.perf_counter */
void     rasx__sleep_ms(uint32_t ms); /* real time */
void     rasx__yield(void);
int      rasx__random(void *bytes, size_t count);  /* from the system's generator; 0 or -1 */
void     rasx__wipe(void *bytes, size_t count);    /* zeroes in a way that no compiler removes */
void     rasx__on_fork_child(void (*handler)(void)); /* registers a handler that runs in every forked child; no-op on Windows */
uint32_t rasx__process_id(void);
/* The value of an environment variable in UTF-8: 1; 0 when there is none; -1 when it does not fit. */
int      rasx__environment(const char *name, char *value, size_t room);

/* --- Of Windows; elsewhere they do nothing -------------------------------------------------------------------------------- */

/* From now on every wait of this thread on an event dispatches messages meanwhile: 1 all that reach its windows, 2 only sent
 * ones (for a thread that is lent to us), 0 none. Returns what was set before. An event that this thread initialises meanwhile
 * carries that too, and so may any other: the wait may be in the code of a rasapi32.dll, whose clock is in use. */
int      rasx__pump(int messages);
void     rasx__event_pump(rasx__event *event, int messages); /* before its waiter waits */
int      rasx__has_windows(void);
/* Sends a message, which returns when the window's thread has handled it, or posts it. The number is that of the registered
 * message `name`, else `otherwise`. 0, or a Win32 code; 120 on other systems. */
uint32_t rasx__message_send(void *window, const char *name, uint32_t otherwise, uintptr_t first, intptr_t second);
uint32_t rasx__message_post(void *window, const char *name, uint32_t otherwise, uintptr_t first, intptr_t second);
/* The system's own text of a code (FormatMessage) as one line of UTF-8; 1 when it has one. */
int      rasx__system_text(uint32_t code, char *text, size_t room);
/* Keeps the code of this library in memory until the process ends: a late notification must find it. */
void     rasx__stay_loaded(void);

/* --- Files (paths are UTF-8) ------------------------------------------------------------------------------------------- */

typedef struct rasx__file_id { uint64_t size, mtime_ns, inode, device; } rasx__file_id;

/* All three return 0 or a Win32 code: 2 missing, 3 no such folder, 5 no access or not a regular file, 8 no memory, 223 too large,
 * 112 disk full. */
uint32_t rasx__file_stat(const char *path, rasx__file_id *id);
uint32_t rasx__file_read(const char *path, uint64_t most, uint8_t **bytes, size_t *count, rasx__file_id *id); /* free() the bytes */
uint32_t rasx__file_append(const char *path, const char *line, size_t count); /* one write, so that lines of two processes do not mix */
/* The user's default phone book: %APPDATA%\Microsoft\Network\Connections\Pbk\rasphone.pbk (S7.1); on POSIX systems
 * $XDG_CONFIG_HOME/ras_ext/rasphone.pbk or ~/.config/ras_ext/rasphone.pbk. 0 or 3. */
uint32_t rasx__default_phonebook(char *path, size_t room);

#endif
