/* test_ring.c: the ring against a plain model, and under load with a producer that stalls.
 *
 * SPDX-License-Identifier: MIT
 *
 * RASX_STRESS scales the 1,000,000 events per producer of the stress tests. RASX_SEED: seed of the random sequences.
 */
#include "../../csrc/ring.h"
#include "testhelp.h"

#define PRODUCERS 4u
#define MOST_CAPACITY 1024u

static rasx__cell cells[MOST_CAPACITY + 1];

/* The test's cells, aligned to a cache line by hand: C11's alignas is missing in some compilers' C mode. */
static rasx__cell *aligned_cells(void)
{
    const uintptr_t at = ((uintptr_t)cells + 63) & ~(uintptr_t)63;
    return (rasx__cell *)at;
}

/* A ring that has already moved `start` positions: what the documented layout says such a ring looks like. */
static void start_at(rasx__ring *ring, uint32_t capacity, uint32_t start)
{
    uint32_t i;
    rasx__ring_init(ring, aligned_cells(), capacity);
    for (i = 0; i < capacity; i++) rasx__store(&ring->cells[(start + i) & ring->mask].turn, start + i);
    rasx__store(&ring->head, start);
    rasx__store(&ring->tail, start);
}

static rasx_event numbered(uint64_t n)
{
    rasx_event e;
    e.dial = n;
    e.time_ns = ~n;
    e.handle = n * 3;
    e.state = (uint32_t)n;
    e.error = (uint32_t)(n >> 32);
    e.extended_error = (uint32_t)n ^ 0x55555555u;
    e.subentry = (uint32_t)n + 1;
    e.sequence = (uint32_t)n + 2;
    e.origin = (uint16_t)n;
    e.outcome = (uint16_t)(n >> 16);
    return e;
}

static int same(const rasx_event *a, const rasx_event *b)
{
    return a->dial == b->dial && a->time_ns == b->time_ns && a->handle == b->handle && a->state == b->state &&
           a->error == b->error && a->extended_error == b->extended_error && a->subentry == b->subentry &&
           a->sequence == b->sequence && a->origin == b->origin && a->outcome == b->outcome;
}

/* "A ring starts empty, takes exactly its capacity, and gives it back in order." */
TEST(test_ring_holds_its_capacity)
{
    uint32_t capacity;
    for (capacity = 2; capacity <= MOST_CAPACITY; capacity *= 2) {
        static rasx_event out[MOST_CAPACITY + 1];
        rasx__ring ring;
        rasx_event e;
        uint32_t i;
        rasx__ring_init(&ring, aligned_cells(), capacity);
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, MOST_CAPACITY), 0);
        for (i = 0; i < capacity; i++) {
            e = numbered(i);
            CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 1);
        }
        CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 0);
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, 0), 0);
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, capacity + 1), capacity);
        for (i = 0; i < capacity; i++) {
            e = numbered(i);
            CHECK(same(&out[i], &e));
        }
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, 1), 0);
    }
}

/* "A push with keep leaves `keep` places for those who may use them; a keep as large as the ring never succeeds." */
TEST(test_ring_keeps_places)
{
    rasx__ring ring;
    rasx_event e = numbered(1), out[4];
    rasx__ring_init(&ring, aligned_cells(), 4);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 4), 0);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, UINT32_MAX), 0);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 3), 1);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 2), 1);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 2), 0);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 1), 1);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 1), 0);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 1);
    CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 0);
    CHECK_EQ(rasx__ring_pop_sc(&ring, out, 4), 4);
}

/* One random sequence of pushes (with any keep) and batch pops, compared with counters that know no wrap. */
static void walk(uint64_t seed, uint32_t capacity, uint32_t start, uint32_t steps)
{
    static rasx_event out[MOST_CAPACITY + 1];
    rasx__ring ring;
    uint64_t pushed = 0, popped = 0;
    uint32_t step, burst = 0;
    start_at(&ring, capacity, start);
    for (step = 0; step < steps; step++) {
        const uint64_t r = test_random(&seed);
        if (burst == 0) burst = 1 + (uint32_t)(r >> 40) % (2 * capacity); /* long runs of one kind reach full and empty */
        burst--;
        if ((r >> 63) != 0 || burst > capacity) {
            const uint32_t keep = (r & 7) == 0 ? (uint32_t)(r >> 8) % (capacity + 2) : 0;
            const uint32_t used = (uint32_t)(pushed - popped);
            const int expected = capacity - used >= keep + 1;
            const rasx_event e = numbered(pushed);
            CHECK_EQ(rasx__ring_push_mp(&ring, &e, keep), expected);
            if (expected) pushed++;
        } else {
            const uint32_t most = (uint32_t)(r >> 8) % (capacity + 2);
            const uint64_t used = pushed - popped;
            const uint32_t expected = used < most ? (uint32_t)used : most;
            const uint32_t got = rasx__ring_pop_sc(&ring, out, most);
            uint32_t i;
            CHECK_EQ(got, expected);
            for (i = 0; i < got; i++) {
                const rasx_event e = numbered(popped + i);
                CHECK(same(&out[i], &e));
            }
            popped += got;
        }
        if (test_failures > 0) {
            printf("# seed 0x%llx capacity %u start 0x%x step %u\n", (unsigned long long)seed, capacity, start, step);
            return;
        }
        CHECK_EQ(rasx__load(&ring.tail), (uint32_t)(start + (uint32_t)pushed));
        CHECK_EQ(rasx__load(&ring.head), (uint32_t)(start + (uint32_t)popped));
    }
}

/* "Random sequences behave as the model does, also across the wrap of the positions at 2^32." */
TEST(test_ring_equals_model)
{
    static const uint32_t capacities[] = { 2, 4, 64, 1024 };
    uint64_t seed = test_setting("RASX_SEED", 20240229);
    uint32_t c;
    for (c = 0; c < 4; c++) {
        const uint32_t starts[] = { 0, 0u - 1, 0u - 3, 0u - capacities[c], 0u - 2 * capacities[c] - 1, 0x7FFFFFF0u,
                                    (uint32_t)test_random(&seed) };
        uint32_t s;
        for (s = 0; s < sizeof starts / sizeof *starts; s++) walk(test_random(&seed), capacities[c], starts[s], 20000);
    }
}

/* A claim by hand, as the layout in ring.h says: what a producer does that stalls in the middle of a push. */
static int claim(rasx__ring *ring, uint32_t *position)
{
    *position = rasx__load(&ring->tail);
    return *position - rasx__load(&ring->head) <= ring->mask && rasx__cas(&ring->tail, position, *position + 1);
}

static void publish(rasx__ring *ring, uint32_t position, const rasx_event *event)
{
    rasx__cell *cell = &ring->cells[position & ring->mask];
    cell->event = *event;
    rasx__store(&cell->turn, position + 1);
}

/* "A producer that stalls in mid-push delays what comes behind it and nothing else; no place is used twice." */
TEST(test_ring_waits_for_stalled_producer)
{
    uint32_t start;
    for (start = 0u - 6; start != 6; start++) {
        rasx__ring ring;
        rasx_event out[8], e;
        uint32_t position, i;
        start_at(&ring, 4, start);
        e = numbered(1);
        CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 1);
        CHECK_EQ(claim(&ring, &position), 1);
        e = numbered(3);
        CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 1);
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, 8), 1); /* up to the hole */
        CHECK_EQ(out[0].dial, 1);
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, 8), 0);
        e = numbered(4);
        CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 1);
        e = numbered(5);
        CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 1);
        CHECK_EQ(rasx__ring_push_mp(&ring, &e, 0), 0); /* the hole still takes a place */
        e = numbered(2);
        publish(&ring, position, &e);
        CHECK_EQ(rasx__ring_pop_sc(&ring, out, 8), 4);
        for (i = 0; i < 4; i++) CHECK_EQ(out[i].dial, 2 + i);
    }
}

/* --- Stress ---------------------------------------------------------------------------------------------------------- */

static struct {
    rasx__ring ring;
    uint32_t   events;               /* per producer */
    rasx__a32  ended;                /* producers */
    uint32_t   refused[PRODUCERS];   /* written by the producer, read after it has ended */
    rasx__a32  stalls;
} stress;

/* Producer 0 is the nasty one: every 64th of its events is claimed by hand and published only after the others have had the
 * time to fill the ring behind the hole (or have ended). */
static void produce(void *argument)
{
    const uint32_t id = (uint32_t)(uintptr_t)argument;
    uint32_t n, refused = 0;
    for (n = 0; n < stress.events; n++) {
        rasx_event e = numbered((uint64_t)id << 32 | n);
        if (id == 0 && n % 64 == 63) {
            uint32_t position, spins = 0;
            while (!claim(&stress.ring, &position)) rasx__yield(); /* so that there are stalls at any scale */
            (void)rasx__add(&stress.stalls, 1);
            while (rasx__load(&stress.ring.tail) - position <= stress.ring.mask && rasx__load(&stress.ended) < PRODUCERS - 1 &&
                   spins++ < 200)
                rasx__yield();
            publish(&stress.ring, position, &e);
        } else if (!rasx__ring_push_mp(&stress.ring, &e, id == 1 ? 1 : 0)) {
            refused++;
            if (refused % 16 == 0) rasx__yield(); /* else a preempted consumer sees everything refused */
        }
    }
    stress.refused[id] = refused;
    (void)rasx__add(&stress.ended, 1);
}

/* The consumer's checks: whole events, each producer's in order, none twice; with the count at the end, none lost. */
static void run_stress(uint32_t capacity)
{
    static rasx_event out[64];
    uint32_t next[PRODUCERS] = { 0 }, delivered[PRODUCERS] = { 0 }, i, idle = 0;
    stress.events = test_load(1000000);
    start_at(&stress.ring, capacity, 0u - 1000); /* so that the wrap is crossed */
    rasx__store(&stress.ended, 0);
    rasx__store(&stress.stalls, 0);
    for (i = 0; i < PRODUCERS; i++) REQUIRE(rasx__thread_start(produce, (void *)(uintptr_t)i) == 0);
    for (;;) {
        const int last = rasx__load(&stress.ended) == PRODUCERS; /* before the pop: then an empty ring is final */
        const uint32_t got = rasx__ring_pop_sc(&stress.ring, out, 64);
        for (i = 0; i < got; i++) {
            const uint32_t id = (uint32_t)(out[i].dial >> 32), n = (uint32_t)out[i].dial;
            const rasx_event e = numbered(out[i].dial);
            CHECK(same(&out[i], &e));
            CHECK(id < PRODUCERS);
            if (id >= PRODUCERS) continue;
            CHECK(n >= next[id]);
            next[id] = n + 1;
            delivered[id]++;
        }
        if (got == 0) {
            if (last) break;
            if (++idle % 8 == 0) rasx__yield();
        }
    }
    for (i = 0; i < PRODUCERS; i++) {
        CHECK_EQ((uint64_t)delivered[i] + stress.refused[i], stress.events);
        printf("# capacity %u, producer %u: %u delivered, %u refused\n", capacity, i, delivered[i], stress.refused[i]);
    }
    CHECK_EQ(rasx__load(&stress.stalls), stress.events / 64);
    CHECK(delivered[0] >= stress.events / 64);
    CHECK_EQ(rasx__load(&stress.ring.head), rasx__load(&stress.ring.tail));
}

TEST(test_ring_stress_capacity_2) { run_stress(2); }
TEST(test_ring_stress_capacity_64) { run_stress(64); }
TEST(test_ring_stress_capacity_1024) { run_stress(1024); }

#define TESTS(X)                                                                             \
    X(test_ring_holds_its_capacity) X(test_ring_keeps_places) X(test_ring_equals_model)      \
    X(test_ring_waits_for_stalled_producer) X(test_ring_stress_capacity_2)                   \
    X(test_ring_stress_capacity_64) X(test_ring_stress_capacity_1024)
TEST_MAIN(TESTS)
