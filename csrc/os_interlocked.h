/* os_interlocked.h: the atomics of os.h for compilers without <stdatomic.h>: MSVC, and mingw with RASX_FORCE_INTERLOCKED.
 *
 * SPDX-License-Identifier: MIT
 *
 * Included by os.h only; same names, types and orderings. Windows alone: every Interlocked operation is a full barrier there, so
 * the read-modify-writes and store_seq need nothing more. Plain accesses get the barrier that their processor needs: none but
 * the compiler's on x86, a data barrier on ARM64 (MSVC gives volatile no ordering there).
 */
#ifndef RASX_OS_INTERLOCKED_H
#define RASX_OS_INTERLOCKED_H

#include <intrin.h>
#include <stdint.h>

typedef struct rasx__a32 { volatile long value; } rasx__a32;
typedef struct rasx__a64 { volatile long long value; } rasx__a64;
typedef struct rasx__aptr { void *volatile value; } rasx__aptr;

#if defined(_M_ARM64) || defined(_M_ARM64EC) || defined(__aarch64__)
#define RASX__AFTER_ACQUIRE() __dmb(_ARM64_BARRIER_ISHLD) /* earlier loads before everything later */
#define RASX__BEFORE_RELEASE() __dmb(_ARM64_BARRIER_ISH)  /* everything earlier before later stores */
#define RASX__BEFORE_SEQ_LOAD() __dmb(_ARM64_BARRIER_ISH)
#else
#define RASX__AFTER_ACQUIRE() _ReadWriteBarrier()
#define RASX__BEFORE_RELEASE() _ReadWriteBarrier()
#define RASX__BEFORE_SEQ_LOAD() _ReadWriteBarrier() /* enough on x86: the matching stores are locked exchanges */
#endif

static inline uint32_t rasx__load_relaxed(const rasx__a32 *a) { return (uint32_t)a->value; }
static inline uint32_t rasx__load(const rasx__a32 *a)
{
    const uint32_t v = (uint32_t)a->value;
    RASX__AFTER_ACQUIRE();
    return v;
}
static inline uint32_t rasx__load_seq(const rasx__a32 *a)
{
    RASX__BEFORE_SEQ_LOAD();
    return rasx__load(a);
}
static inline void rasx__store_relaxed(rasx__a32 *a, uint32_t v) { a->value = (long)v; }
static inline void rasx__store(rasx__a32 *a, uint32_t v)
{
    RASX__BEFORE_RELEASE();
    a->value = (long)v;
}
static inline uint32_t rasx__exchange(rasx__a32 *a, uint32_t v) { return (uint32_t)_InterlockedExchange(&a->value, (long)v); }
static inline void rasx__store_seq(rasx__a32 *a, uint32_t v) { (void)rasx__exchange(a, v); }
static inline uint32_t rasx__add(rasx__a32 *a, uint32_t v) { return (uint32_t)_InterlockedExchangeAdd(&a->value, (long)v); }
static inline uint32_t rasx__sub(rasx__a32 *a, uint32_t v) { return rasx__add(a, 0u - v); }
static inline int rasx__cas(rasx__a32 *a, uint32_t *expected, uint32_t desired)
{
    const uint32_t before = *expected;
    const uint32_t found = (uint32_t)_InterlockedCompareExchange(&a->value, (long)desired, (long)before);
    *expected = found;
    return found == before;
}
static inline int rasx__cas_relaxed(rasx__a32 *a, uint32_t *expected, uint32_t desired) { return rasx__cas(a, expected, desired); }

static inline int rasx__cas64(rasx__a64 *a, uint64_t *expected, uint64_t desired)
{
    const uint64_t before = *expected;
    const uint64_t found = (uint64_t)_InterlockedCompareExchange64(&a->value, (long long)desired, (long long)before);
    *expected = found;
    return found == before;
}
#if defined(_M_IX86) || defined(__i386__)
/* Two words there: only cmpxchg8b reads or writes them as one. */
static inline uint64_t rasx__load64(const rasx__a64 *a)
{
    return (uint64_t)_InterlockedCompareExchange64(&((rasx__a64 *)(uintptr_t)a)->value, 0, 0);
}
static inline void rasx__store64(rasx__a64 *a, uint64_t v)
{
    uint64_t before = rasx__load64(a);
    while (!rasx__cas64(a, &before, v)) {}
}
static inline uint64_t rasx__add64(rasx__a64 *a, uint64_t v)
{
    uint64_t before = rasx__load64(a);
    while (!rasx__cas64(a, &before, before + v)) {}
    return before;
}
#else
static inline uint64_t rasx__load64(const rasx__a64 *a)
{
    const uint64_t v = (uint64_t)a->value;
    RASX__AFTER_ACQUIRE();
    return v;
}
static inline void rasx__store64(rasx__a64 *a, uint64_t v)
{
    RASX__BEFORE_RELEASE();
    a->value = (long long)v;
}
static inline uint64_t rasx__add64(rasx__a64 *a, uint64_t v) { return (uint64_t)_InterlockedExchangeAdd64(&a->value, (long long)v); }
#endif

static inline void *rasx__load_ptr(const rasx__aptr *a)
{
    void *v = a->value;
    RASX__AFTER_ACQUIRE();
    return v;
}
static inline void *rasx__load_ptr_seq(const rasx__aptr *a)
{
    RASX__BEFORE_SEQ_LOAD();
    return rasx__load_ptr(a);
}
static inline void rasx__store_ptr(rasx__aptr *a, void *v)
{
    RASX__BEFORE_RELEASE();
    a->value = v;
}
static inline void *rasx__exchange_ptr(rasx__aptr *a, void *v) { return _InterlockedExchangePointer(&a->value, v); }
static inline int rasx__cas_ptr(rasx__aptr *a, void **expected, void *desired)
{
    void *const before = *expected;
    void *const found = _InterlockedCompareExchangePointer(&a->value, desired, before);
    *expected = found;
    return found == before;
}

#endif
