/* os_posix.c: the platform layer for Linux, macOS and other POSIX systems.
 *
 * SPDX-License-Identifier: MIT
 *
 * Linux waits by futex: an event costs no system call unless somebody sleeps, and time-outs are on CLOCK_MONOTONIC. Elsewhere
 * an event is a mutex and a condition.
 */
#ifdef _WIN32
typedef int rasx__os_posix_unused; /* a translation unit must not be empty */
#else

#ifdef __linux__
#define _GNU_SOURCE 1 /* syscall, getrandom, O_CLOEXEC under -std=c11 */
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE 1
#else
#define _POSIX_C_SOURCE 200809L
#endif

#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#ifdef RASX_HAS_FUTEX
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#if defined(__linux__) || defined(__APPLE__)
#include <sys/random.h>
#endif

#define NS_PER_S UINT64_C(1000000000)

/* --- Time, chance, the process --------------------------------------------------------------------------------------- */

static struct timespec to_timespec(uint64_t ns)
{
    struct timespec t;
    const uint64_t most = UINT64_C(100000000) * NS_PER_S; /* three years: fits a 32-bit time_t, and a wait may end early inside */
    if (ns > most) ns = most;
    t.tv_sec = (time_t)(ns / NS_PER_S);
    t.tv_nsec = (long)(ns % NS_PER_S);
    return t;
}

uint64_t rasx__now_ns(void)
{
#ifdef __APPLE__
    return clock_gettime_nsec_np(CLOCK_UPTIME_RAW); /* mach_absolute_time, as time.perf_counter */
#else
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
#endif
}

/* RASX_NEVER stays what it is; everything else saturates below it. */
static uint64_t deadline_after(uint64_t timeout_ns)
{
    const uint64_t now = rasx__now_ns();
    return timeout_ns >= RASX_NEVER - 1 - now ? (timeout_ns == RASX_NEVER ? RASX_NEVER : RASX_NEVER - 1) : now + timeout_ns;
}

void rasx__sleep_ms(uint32_t ms)
{
    struct timespec t = to_timespec((uint64_t)ms * 1000000);
    while (nanosleep(&t, &t) != 0 && errno == EINTR) {}
}

void rasx__yield(void) { (void)sched_yield(); }

uint32_t rasx__process_id(void) { return (uint32_t)getpid(); }

int rasx__environment(const char *name, char *value, size_t room)
{
    const char *found = getenv(name);
    const size_t count = found != NULL ? strlen(found) : 0;
    if (count == 0) return 0;
    if (count >= room) return -1;
    memcpy(value, found, count + 1);
    return 1;
}

void rasx__on_fork_child(void (*handler)(void)) { (void)pthread_atfork(NULL, NULL, handler); }

/* Volatile accesses are observable behaviour, so no compiler drops them. */
void rasx__wipe(void *bytes, size_t count)
{
    volatile unsigned char *p = bytes;
    while (count-- > 0) *p++ = 0;
}

/* The fallback for kernels without getrandom and for systems without any such call. */
static int random_from_device(unsigned char *bytes, size_t count)
{
    const int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    while (count > 0) {
        const ssize_t got = read(fd, bytes, count);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        bytes += got;
        count -= (size_t)got;
    }
    (void)close(fd);
    return count == 0 ? 0 : -1;
}

int rasx__random(void *bytes, size_t count)
{
    unsigned char *p = bytes;
#ifdef __linux__
    while (count > 0) {
        const ssize_t got = getrandom(p, count, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        p += got;
        count -= (size_t)got;
    }
#elif defined(__APPLE__)
    while (count > 0) {
        const size_t piece = count < 256 ? count : 256; /* its limit */
        if (getentropy(p, piece) != 0) break;
        p += piece;
        count -= piece;
    }
#endif
    return count == 0 ? 0 : random_from_device(p, count);
}

/* --- Of Windows ---------------------------------------------------------------------------------------------------------- */

int rasx__pump(int messages) { return messages & 0; }

void rasx__event_pump(rasx__event *event, int messages) { (void)event, (void)messages; }

int rasx__has_windows(void) { return 0; }

uint32_t rasx__message_send(void *window, const char *name, uint32_t otherwise, uintptr_t first, intptr_t second)
{
    (void)window, (void)name, (void)otherwise, (void)first, (void)second;
    return 120; /* ERROR_CALL_NOT_IMPLEMENTED */
}

uint32_t rasx__message_post(void *window, const char *name, uint32_t otherwise, uintptr_t first, intptr_t second)
{
    return rasx__message_send(window, name, otherwise, first, second);
}

int rasx__system_text(uint32_t code, char *text, size_t room)
{
    (void)code, (void)text, (void)room;
    return 0;
}

void rasx__stay_loaded(void) {}

/* --- Locks ------------------------------------------------------------------------------------------------------------- */

void rasx__lock(rasx__mutex *mutex) { (void)pthread_mutex_lock(&mutex->m); }
void rasx__unlock(rasx__mutex *mutex) { (void)pthread_mutex_unlock(&mutex->m); }

#ifdef RASX_HAS_FUTEX

/* timeout_ns is relative, and the kernel measures it on CLOCK_MONOTONIC. 0 or an errno value. */
static int futex_wait(rasx__a32 *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec t = to_timespec(timeout_ns);
    struct timespec *bound = timeout_ns == RASX_NEVER ? NULL : &t;
    long number;
#if defined(SYS_futex) && defined(SYS_futex_time64)
    number = sizeof(t.tv_sec) > sizeof(long) ? SYS_futex_time64 : SYS_futex; /* 32-bit systems whose libc has a 64-bit time_t */
#elif defined(SYS_futex)
    number = SYS_futex;
#else
    number = SYS_futex_time64;
#endif
    return syscall(number, &word->value, FUTEX_WAIT_PRIVATE, expected, bound, NULL, 0) == 0 ? 0 : errno;
}

static void futex_wake(rasx__a32 *word, int count)
{
#ifdef SYS_futex
    (void)syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#else
    (void)syscall(SYS_futex_time64, &word->value, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
#endif
}

/* The sequence is read before the mutex is released, so a signal that comes after that changes it and the futex does not
 * sleep. The sleepers are counted before the sequence is read, and the signaller reads them after it has changed the sequence
 * (both sequentially consistent): so it either sees us, or we see its change. */
void rasx__cond_wait(rasx__cond *cond, rasx__mutex *mutex, uint32_t timeout_ms)
{
    uint32_t sequence;
    (void)rasx__add(&cond->sleepers, 1);
    sequence = rasx__load_seq(&cond->sequence);
    rasx__unlock(mutex);
    (void)futex_wait(&cond->sequence, sequence, timeout_ms == UINT32_MAX ? RASX_NEVER : (uint64_t)timeout_ms * 1000000);
    (void)rasx__sub(&cond->sleepers, 1);
    rasx__lock(mutex);
}

void rasx__cond_signal_all(rasx__cond *cond)
{
    (void)rasx__add(&cond->sequence, 1);
    if (rasx__load_seq(&cond->sleepers) > 0) futex_wake(&cond->sequence, INT_MAX);
}

/* --- Events: word 0 clear, 1 set, 2 clear with a sleeper ------------------------------------------------------------------ */

int rasx__event_init(rasx__event *event)
{
    rasx__store(&event->word, 0);
    return 0;
}

void rasx__event_destroy(rasx__event *event) { (void)event; }

/* The exchange releases what the setter wrote and acquires nothing that matters; its partner is the load of 1 in
 * rasx__event_peek. The event's memory must outlive the call: slots are recycled, never freed. */
void rasx__event_set(rasx__event *event)
{
    if (rasx__exchange(&event->word, 1) == 2) futex_wake(&event->word, 1);
}

int rasx__event_peek(rasx__event *event, uint64_t timeout_ns)
{
    uint64_t deadline = 0;
    int started = 0;
    for (;;) {
        uint32_t expected = 0;
        uint64_t left = RASX_NEVER;
        int code;
        if (rasx__load(&event->word) == 1) return 1;
        if (timeout_ns == 0) return 0;
        if (!started) { /* the clock is read only by those who have to wait */
            deadline = deadline_after(timeout_ns);
            started = 1;
        }
        code = 0;
        if (deadline != RASX_NEVER) {
            const uint64_t now = rasx__now_ns();
            left = deadline > now ? deadline - now : 0;
            if (left == 0) code = ETIMEDOUT;
        }
        if (code == 0) {
            if (!rasx__cas(&event->word, &expected, 2) && expected == 1) return 1;
            code = futex_wait(&event->word, 2, left);
        }
        if (code == ETIMEDOUT || code == EINTR) {
            /* Take the sleeper's mark back, so that nobody pays for a wake-up, unless the event was set meanwhile. */
            expected = 2;
            if (!rasx__cas(&event->word, &expected, 0) && expected == 1) return 1;
            if (code == EINTR) return -1;
            if (deadline <= rasx__now_ns()) return 0; /* a very long wait is cut in pieces */
        }
    }
}

int rasx__event_wait(rasx__event *event, uint64_t timeout_ns)
{
    const int result = rasx__event_peek(event, timeout_ns);
    if (result == 1) (void)rasx__exchange(&event->word, 0); /* only the one waiter clears it */
    return result;
}

#else /* not Linux, or RASX_FORCE_POSIX_EVENTS */

/* One wait of at most timeout_ns of real time on a default condition. macOS has a relative wait; elsewhere the wall clock is
 * all a default condition knows, so the wait is cut into short pieces and a jump can spoil one piece only. */
static void cond_wait_ns(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t timeout_ns)
{
    struct timespec t;
    if (timeout_ns == RASX_NEVER) {
        (void)pthread_cond_wait(cond, mutex);
        return;
    }
#ifdef __APPLE__
    t = to_timespec(timeout_ns);
    (void)pthread_cond_timedwait_relative_np(cond, mutex, &t);
#else
    {
        const uint64_t piece = timeout_ns < NS_PER_S / 10 ? timeout_ns : NS_PER_S / 10;
        (void)clock_gettime(CLOCK_REALTIME, &t);
        t.tv_nsec += (long)piece;
        if (t.tv_nsec >= (long)NS_PER_S) {
            t.tv_nsec -= (long)NS_PER_S;
            t.tv_sec++;
        }
        (void)pthread_cond_timedwait(cond, mutex, &t);
    }
#endif
}

void rasx__cond_wait(rasx__cond *cond, rasx__mutex *mutex, uint32_t timeout_ms)
{
    cond_wait_ns(&cond->c, &mutex->m, timeout_ms == UINT32_MAX ? RASX_NEVER : (uint64_t)timeout_ms * 1000000);
}

void rasx__cond_signal_all(rasx__cond *cond) { (void)pthread_cond_broadcast(&cond->c); }

int rasx__event_init(rasx__event *event)
{
    rasx__store(&event->word, 0);
    if (pthread_mutex_init(&event->m, NULL) != 0) return -1;
    if (pthread_cond_init(&event->c, NULL) != 0) {
        (void)pthread_mutex_destroy(&event->m);
        return -1;
    }
    return 0;
}

void rasx__event_destroy(rasx__event *event)
{
    (void)pthread_cond_destroy(&event->c);
    (void)pthread_mutex_destroy(&event->m);
}

void rasx__event_set(rasx__event *event)
{
    (void)pthread_mutex_lock(&event->m);
    if (rasx__exchange(&event->word, 1) == 2) (void)pthread_cond_signal(&event->c);
    (void)pthread_mutex_unlock(&event->m);
}

/* A condition cannot tell a signal, so pieces of 50 ms stand in for it: the caller looks for signals on -1. */
int rasx__event_peek(rasx__event *event, uint64_t timeout_ns)
{
    const uint64_t piece = NS_PER_S / 20;
    const uint64_t deadline = timeout_ns == 0 ? 0 : deadline_after(timeout_ns);
    const uint64_t slice = timeout_ns == 0 ? 0 : deadline_after(piece);
    const uint64_t end = deadline < slice ? deadline : slice;
    int result;
    (void)pthread_mutex_lock(&event->m);
    for (;;) {
        const uint64_t now = end == 0 ? 0 : rasx__now_ns();
        if (rasx__load(&event->word) == 1) {
            result = 1;
            break;
        }
        if (now >= end) {
            result = end == deadline ? 0 : -1;
            break;
        }
        rasx__store(&event->word, 2);
        cond_wait_ns(&event->c, &event->m, end - now);
    }
    if (result != 1) rasx__store(&event->word, 0);
    (void)pthread_mutex_unlock(&event->m);
    return result;
}

int rasx__event_wait(rasx__event *event, uint64_t timeout_ns)
{
    const int result = rasx__event_peek(event, timeout_ns);
    if (result == 1) {
        (void)pthread_mutex_lock(&event->m);
        rasx__store(&event->word, 0);
        (void)pthread_mutex_unlock(&event->m);
    }
    return result;
}

#endif

int rasx__event_is_set(const rasx__event *event) { return rasx__load(&event->word) == 1; }

/* --- Sockets ------------------------------------------------------------------------------------------------------------ */

#ifndef MSG_NOSIGNAL /* macOS: whoever made the socket sets SO_NOSIGPIPE, or ignores the signal, as Python does */
#define MSG_NOSIGNAL 0
#endif

void rasx__socket_ring(uintptr_t socket)
{
    const char byte = 0;
    ssize_t sent;
    do sent = send((int)socket, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
}

/* --- Relays ------------------------------------------------------------------------------------------------------------ */

/* A handle is the number of its place (from 1) and, above that, of the place's lives so far: so one that has been closed matches
 * nothing, whoever still has it. The lock is a leaf and never held across anything but setting an event. */
enum { RELAYS = 1024, RELAY_BITS = 11 };

static rasx__mutex relay_lock = RASX_MUTEX_INIT;
static struct {
    rasx__event *target; /* NULL: free */
    uintptr_t    lives;
} relays[RELAYS];
static uint32_t relay_next; /* where to look for a free one: the longest unused of them */

static uintptr_t relay_number(uint32_t place) { return relays[place].lives << RELAY_BITS | (place + 1); }

/* With the lock. RELAYS when the handle names none that is open. */
static uint32_t relay_place(uintptr_t number)
{
    const uintptr_t place = (number & (((uintptr_t)1 << RELAY_BITS) - 1)) - 1; /* 0 wraps to what is no place */
    if (place >= RELAYS || relays[place].target == NULL || relay_number((uint32_t)place) != number) return RELAYS;
    return (uint32_t)place;
}

void *rasx__relay_open(rasx__event *target)
{
    void *handle = NULL;
    rasx__lock(&relay_lock);
    for (uint32_t i = 0; i < RELAYS && handle == NULL; i++) {
        const uint32_t place = (relay_next + i) % RELAYS;
        if (relays[place].target != NULL) continue;
        relay_next = (place + 1) % RELAYS;
        relays[place].target = target;
        relays[place].lives++;
        handle = (void *)relay_number(place);
    }
    rasx__unlock(&relay_lock);
    return handle;
}

void rasx__relay_flush(void *handle) { (void)handle; } /* signals reach their target at once */

void rasx__relay_close(void *handle)
{
    uint32_t place;
    rasx__lock(&relay_lock);
    place = relay_place((uintptr_t)handle);
    if (place < RELAYS) relays[place].target = NULL;
    rasx__unlock(&relay_lock);
}

uint64_t rasx__relay_hold(void *handle)
{
    uint32_t place;
    rasx__lock(&relay_lock);
    place = relay_place((uintptr_t)handle);
    rasx__unlock(&relay_lock);
    return place < RELAYS ? (uint64_t)(uintptr_t)handle : 0;
}

int rasx__relay_signal(uint64_t held)
{
    uint32_t place;
    rasx__lock(&relay_lock);
    place = relay_place((uintptr_t)held);
    if (place < RELAYS) rasx__event_set(relays[place].target);
    rasx__unlock(&relay_lock);
    return place < RELAYS;
}

void rasx__relay_drop(uint64_t held) { (void)held; }

/* --- Threads ------------------------------------------------------------------------------------------------------------- */

/* A thread per dial in flight: small, except under sanitizers, whose frames and redzones are not. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_BYTES (4u << 20)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define STACK_BYTES (4u << 20)
#endif
#endif
#ifndef STACK_BYTES
#define STACK_BYTES (256u << 10)
#endif

typedef struct start {
    void (*entry)(void *);
    void *argument;
} start;

static void *run_thread(void *pointer)
{
    const start s = *(start *)pointer;
    free(pointer);
    s.entry(s.argument);
    return NULL;
}

/* Signals belong to the program's own threads: one that ran here would interrupt a RAS call and Python would never see it in
 * time. The mask is set in the creator, so that there is no moment without it. Faults stay unblocked: the kernel delivers
 * them anyway, and then past the handler (faulthandler) that would have explained them. */
int rasx__thread_start(void (*entry)(void *), void *argument)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    start *s = malloc(sizeof *s);
    int code;
    if (s == NULL) return -1;
    s->entry = entry;
    s->argument = argument;
    if (pthread_attr_init(&attributes) != 0) {
        free(s);
        return -1;
    }
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES); /* refused: the system's default will do */
    (void)sigfillset(&all);
    (void)sigdelset(&all, SIGSEGV);
    (void)sigdelset(&all, SIGBUS);
    (void)sigdelset(&all, SIGFPE);
    (void)sigdelset(&all, SIGILL);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&thread, &attributes, run_thread, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (code != 0) free(s);
    return code == 0 ? 0 : -1;
}

/* --- Files --------------------------------------------------------------------------------------------------------------- */

/* ENOENT does not say whether the file or its folder is missing; Windows does. */
static uint32_t code_of(int error, const char *path)
{
    switch (error) {
    case ENOENT: {
        const char *slash = strrchr(path, '/');
        struct stat s;
        char *folder;
        int there;
        if (*path == '\0') return 3;
        if (slash == NULL || slash == path) return 2;
        folder = malloc((size_t)(slash - path) + 1);
        if (folder == NULL) return 8;
        memcpy(folder, path, (size_t)(slash - path));
        folder[slash - path] = '\0';
        there = stat(folder, &s) == 0;
        free(folder);
        return there ? 2 : 3;
    }
    case ENOTDIR:
    case ENAMETOOLONG: return 3;
    case ENOMEM: return 8;
    case EFBIG:
    case ENOSPC: return 112;
    default: return 5;
    }
}

static void fill_id(rasx__file_id *id, const struct stat *s)
{
    id->size = (uint64_t)s->st_size;
#ifdef __APPLE__
    id->mtime_ns = (uint64_t)s->st_mtimespec.tv_sec * NS_PER_S + (uint64_t)s->st_mtimespec.tv_nsec;
#else
    id->mtime_ns = (uint64_t)s->st_mtim.tv_sec * NS_PER_S + (uint64_t)s->st_mtim.tv_nsec;
#endif
    id->inode = (uint64_t)s->st_ino;
    id->device = (uint64_t)s->st_dev;
}

uint32_t rasx__file_stat(const char *path, rasx__file_id *id)
{
    struct stat s;
    if (stat(path, &s) != 0) return code_of(errno, path);
    if (!S_ISREG(s.st_mode)) return 5;
    fill_id(id, &s);
    return 0;
}

/* Opens and looks at what was opened, not at what the name may mean by then. O_NONBLOCK: opening a pipe must not wait. */
static uint32_t open_regular(const char *path, int flags, int *fd, struct stat *s)
{
    do *fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
    while (*fd < 0 && errno == EINTR);
    if (*fd < 0) return code_of(errno, path);
    if (fstat(*fd, s) != 0 || !S_ISREG(s->st_mode)) {
        (void)close(*fd);
        return 5;
    }
    return 0;
}

/* The id is taken before reading: a change in between makes the id too old, so a cache reads again, never too new. Reads one
 * byte past the size it was told, to notice a file that grows; the spare byte ends the text in NUL. */
uint32_t rasx__file_read(const char *path, uint64_t most, uint8_t **bytes, size_t *count, rasx__file_id *id)
{
    struct stat s;
    uint8_t *buffer = NULL;
    size_t room = 0, used = 0;
    int fd;
    uint32_t code = open_regular(path, O_RDONLY, &fd, &s);
    if (code != 0) return code;
    if ((uint64_t)s.st_size > most) {
        code = 223;
    } else {
        fill_id(id, &s);
        room = (size_t)s.st_size + 2;
        buffer = malloc(room);
        if (buffer == NULL) code = 8;
    }
    while (code == 0) {
        const ssize_t got = read(fd, buffer + used, room - 1 - used);
        if (got < 0) {
            if (errno == EINTR) continue;
            code = 5;
        } else if (got == 0) {
            break;
        } else {
            used += (size_t)got;
            if (used > most) {
                code = 223;
            } else if (used == room - 1) { /* it has grown since fstat */
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
    (void)close(fd);
    if (code != 0) {
        free(buffer);
        return code;
    }
    buffer[used] = 0;
    *bytes = buffer;
    *count = used;
    return 0;
}

uint32_t rasx__file_append(const char *path, const char *line, size_t count)
{
    struct stat s;
    int fd;
    uint32_t code = open_regular(path, O_WRONLY | O_APPEND | O_CREAT, &fd, &s);
    if (code != 0) return code;
    while (count > 0) { /* one write, unless a signal or a full disk cuts it */
        const ssize_t put = write(fd, line, count);
        if (put < 0) {
            if (errno == EINTR) continue;
            code = errno == ENOSPC || errno == EFBIG ? 112 : 5;
            break;
        }
        line += put;
        count -= (size_t)put;
    }
    if (close(fd) != 0 && errno != EINTR && code == 0) code = 5;
    return code;
}

static int join(char *path, size_t room, const char *base, const char *rest)
{
    const size_t a = strlen(base), b = strlen(rest);
    if (a + b >= room) return -1;
    memcpy(path, base, a);
    memcpy(path + a, rest, b + 1);
    return 0;
}

uint32_t rasx__default_phonebook(char *path, size_t room)
{
    const char *base = getenv("XDG_CONFIG_HOME");
    struct passwd record, *found = NULL;
    char text[4096];
    if (base != NULL && base[0] == '/') return join(path, room, base, "/ras_ext/rasphone.pbk") == 0 ? 0 : 3; /* a relative one is void */
    base = getenv("HOME");
    if (base == NULL || base[0] == '\0') {
        if (getpwuid_r(getuid(), &record, text, sizeof text, &found) != 0 || found == NULL) return 3;
        base = found->pw_dir;
    }
    return join(path, room, base, "/.config/ras_ext/rasphone.pbk") == 0 ? 0 : 3;
}

#endif
