/* notify.c: the native RAS handlers.
 *
 * SPDX-License-Identifier: MIT
 *
 * RAS suspends the dial while a handler runs (S1.5), so a handler takes no lock, allocates nothing, calls neither RAS nor
 * Python. RasDialFunc2 carries dwCallbackId and needs one function. RasDialFunc and RasDialFunc1 carry nothing of ours
 * (S1.4), so each of 32 static functions per kind serves one dial at a time.
 */
#include "core.h"

uint32_t RASAPI_CALL rasx__on_ras_dial_func2(uintptr_t callback_id, uint32_t subentry, HRASCONN connection, uint32_t message,
                                             uint32_t state, uint32_t error, uint32_t extended_error)
{
    rasx__slot *slot = rasx__pin_callback(callback_id);
    (void)message; /* S1.4: either of two values, says nothing */
    if (slot) {
        rasx__notified(slot, (uint64_t)(uintptr_t)connection, subentry, state, error, extended_error);
        rasx__unpin(slot);
    }
    return 1; /* 0 would stop the notifications of every subentry (S1.4) */
}

/* --- Trampolines --- */

#define BANK 32u
#define QUARANTINE_NS (1000ull * 1000 * 1000) /* a late notification finds its trampoline unbound, not another dial's */

typedef struct trampoline {
    rasx__a64 dial;     /* 0: unbound */
    uint64_t  freed_ns; /* under the bank's lock */
    uint32_t  used;     /* was bound before: then quarantine applies */
} trampoline;

static trampoline  banks[2][BANK];
static rasx__mutex bank_lock = RASX_MUTEX_INIT;

static void deliver(uint32_t kind, uint32_t index, HRASCONN connection, uint32_t state, uint32_t error, uint32_t extended_error)
{
    rasx__slot *slot = rasx__pin(rasx__load64(&banks[kind][index].dial));
    if (!slot) return;
    rasx__notified(slot, (uint64_t)(uintptr_t)connection, 0, state, error, extended_error);
    rasx__unpin(slot);
}

#define EACH(X)                                                                                                              \
    X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20)      \
    X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)

#define DEFINE(n)                                                                                                            \
    static void RASAPI_CALL on_func_##n(uint32_t message, uint32_t state, uint32_t error)                                    \
    {                                                                                                                        \
        (void)message;                                                                                                       \
        deliver(0, n, NULL, state, error, 0);                                                                                \
    }                                                                                                                        \
    static void RASAPI_CALL on_func1_##n(HRASCONN connection, uint32_t message, uint32_t state, uint32_t error,              \
                                         uint32_t extended_error)                                                            \
    {                                                                                                                        \
        (void)message;                                                                                                       \
        deliver(1, n, connection, state, error, extended_error);                                                             \
    }
EACH(DEFINE)

#define FUNC(n) on_func_##n,
#define FUNC1(n) on_func1_##n,
static const RASDIALFUNC  funcs[BANK]  = { EACH(FUNC) };
static const RASDIALFUNC1 funcs1[BANK] = { EACH(FUNC1) };

/* A function pointer as RasDial's void *: the conversion that the vendor's signature asks for. */
static void *as_notifier(uint32_t kind, uint32_t index)
{
    return kind == 0 ? (void *)(uintptr_t)funcs[index] : (void *)(uintptr_t)funcs1[index];
}

void *rasx__trampoline_take(uint32_t kind, rasx_dial dial, uint64_t now_ns)
{
    trampoline *best = NULL;
    rasx__lock(&bank_lock);
    for (uint32_t i = 0; i < BANK; i++) { /* least recently used first; never used before any of them */
        trampoline *t = &banks[kind][i];
        if (rasx__load64(&t->dial) != 0) continue;
        if (t->used && now_ns - t->freed_ns < QUARANTINE_NS) continue;
        if (!best || t->used < best->used || (t->used == best->used && t->freed_ns < best->freed_ns)) best = t;
    }
    if (best) {
        best->used = 1;
        rasx__store64(&best->dial, dial);
    }
    rasx__unlock(&bank_lock);
    return best ? as_notifier(kind, (uint32_t)(best - banks[kind])) : NULL;
}

void rasx__trampoline_give_back(uint32_t kind, void *notifier, uint64_t now_ns)
{
    rasx__lock(&bank_lock);
    for (uint32_t i = 0; i < BANK; i++) {
        if (as_notifier(kind, i) != notifier) continue;
        banks[kind][i].freed_ns = now_ns;
        rasx__store64(&banks[kind][i].dial, 0);
    }
    rasx__unlock(&bank_lock);
}
