/* dial.c: the life of a dial.
 *
 * SPDX-License-Identifier: MIT
 *
 * rasx_dial_start copies what RasDial must be told and starts a native thread. dial_main, that thread's main function, is the
 * life of a dial from top to bottom: RasDial; wait for the outcome; on failure hang up; settle. The vendor's guide asks that
 * the thread that called RasDial lives until the operation has succeeded or failed (S1.6): this one does, whatever becomes
 * of the thread, event loop or interpreter that asked for the dial.
 */
#include "core.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define MS 1000000ull                 /* ns */
#define POLL_NS (1000u * MS)          /* looks at the status when notifications do not tell (S1.8, S8.28) */
#define CONFIRM_NS (250u * MS)        /* a status that decides is read twice, so that the notification may come first */
#define TRAMPOLINE_RETRY_NS (20u * MS)
#define HANDLER_RETURN_NS (5u * MS)
#define OPTIONS_FIRST (offsetof(rasx_dial_options, pause_timeout_ms) + sizeof(uint32_t)) /* what ABI 1 began with */
#define ANSWER_FIRST (offsetof(rasx_answer, callback_number) + sizeof(char *))
#define PAUSE_TIMEOUT_MS 300000u      /* a person has to type something */
#define HANGUP_TIMEOUT_MS 10000u      /* S3: Microsoft's samples wait as long */

static rasx__a32 dial_threads;

uint32_t rasx__thread_total(void) { return rasx__load_seq(&dial_threads); }

/* --- Threads of slots --- */

uint64_t rasx__slot_order(rasx_client *client)
{
    return (rasx__add64(&client->dials, 1) + 1) << 8 | 0xFFu; /* counted from 1, as the machine does: after its subentries */
}

static void one_thread_less(rasx_client *client)
{
    (void)rasx__sub(&dial_threads, 1);
    if (rasx__sub(&client->threads, 1) == 1) rasx__event_set(&client->idle);
}

int rasx__slot_thread_start(rasx__slot *slot, void (*entry)(void *), void *argument)
{
    rasx_client *client = slot->client;
    rasx_clock *clock = slot->clock;
    rasx__client_hold(client);
    (void)rasx__add(&client->threads, 1);
    (void)rasx__add(&dial_threads, 1);
    clock->expect(clock);
    if (rasx__thread_start(entry, argument) == 0) return 0;
    clock->unexpect(clock);
    one_thread_less(client);
    rasx__client_drop(client);
    return -1;
}

/* Counted down before it leaves the clock: a virtual one may pass over everything that a thread does after that, and rasx_close,
 * which waits for this on the clock, would run out of time. */
void rasx__slot_thread_end(rasx_client *client, rasx_clock *clock)
{
    one_thread_less(client);
    clock->leave(clock);
    rasx__client_drop(client);
}

/* --- Parameters: one block, the password masked --- */

/* A caller's structure as this version knows it: what an older one lacks is 0, what a newer one has besides is not seen. `least` is
 * where the first version of it ends. 0, or -1 for less than that. */
static int take_sized(void *copy, size_t room, const void *given, uint32_t size, size_t least)
{
    if (size < least) return -1;
    memset(copy, 0, room);
    memcpy(copy, given, size < room ? size : room);
    return 0;
}

/* Limits in UTF-16 units (S0.3), by rasx__field. */
static const uint16_t limits[RASX__FIELDS] = { 32766, 256, 128, 128, 256, 15, 256 };

/* Copies texts into a new block. 0, RASX_E_INVALID or 8. */
static uint32_t copy_texts(const char *const texts[RASX__FIELDS], rasx__params **copy)
{
    size_t room = 0, used = 0; /* in UTF-16 units, of which a text never has more than bytes in UTF-8 */
    for (int i = 0; i < RASX__FIELDS; i++) room += (texts[i] ? strlen(texts[i]) : 0) + 1;
    if (room > 0xFFFF) return RASX_E_INVALID;
    rasx__params *p = calloc(1, sizeof *p + room * sizeof(char16_t));
    if (!p) return 8;
    for (int i = 0; i < RASX__FIELDS; i++) {
        const char *text = texts[i] ? texts[i] : "";
        size_t units = 0, most = limits[i] + 1u, left = room - used < most ? room - used : most;
        int bad = i == RASX__PASSWORD ? rasx__to_utf16_masked(text, rasx__pad(), p->text + used, left, &units)
                                      : rasx__to_utf16(text, p->text + used, left, &units);
        if (bad) {
            free(p);
            return RASX_E_INVALID;
        }
        p->offset[i] = (uint16_t)used;
        p->units[i] = (uint16_t)units;
        if (texts[i]) p->given |= 1u << i;
        used += units + 1;
    }
    *copy = p;
    return 0;
}

static uint32_t copy_params(const rasx_client *client, const rasx_dial_options *o, rasx__params **copy)
{
    const char *texts[RASX__FIELDS] = { o->phonebook ? o->phonebook : client->phonebook, o->entry, o->phone_number,
                                        o->callback_number, o->username, o->domain, o->password };
    if (!o->entry) return RASX_E_INVALID;
    uint32_t code = copy_texts(texts, copy);
    if (code != 0) return code;
    rasx__params *p = *copy;
    p->notifier = o->notifier;
    p->options = o->options;
    p->subentry = o->subentry;
    p->timeout_ms = o->timeout_ms;
    p->hangup_timeout_ms = o->hangup_timeout_ms ? o->hangup_timeout_ms : HANGUP_TIMEOUT_MS;
    p->pause_timeout_ms = o->pause_timeout_ms ? o->pause_timeout_ms : PAUSE_TIMEOUT_MS;
    return 0;
}

void rasx__params_free(rasx__params *p)
{
    if (!p) return;
    rasx__wipe(p->text + p->offset[RASX__PASSWORD], p->units[RASX__PASSWORD] * sizeof(char16_t));
    free(p);
}

/* What was said before with an answer's changes in it; consumes both. NULL without memory. */
static rasx__params *merge(rasx__params *before, rasx__params *answer)
{
    size_t room = 0, used = 0;
    const rasx__params *from[RASX__FIELDS];
    for (int i = 0; i < RASX__FIELDS; i++) {
        from[i] = answer->given >> i & 1u ? answer : before;
        room += from[i]->units[i] + 1u;
    }
    rasx__params *p = room > 0xFFFF ? NULL : calloc(1, sizeof *p + room * sizeof(char16_t));
    if (p) {
        *p = *before;
        p->given |= answer->given;
        for (int i = 0; i < RASX__FIELDS; i++) {
            memcpy(p->text + used, from[i]->text + from[i]->offset[i], from[i]->units[i] * sizeof(char16_t));
            p->text[used + from[i]->units[i]] = 0;
            p->offset[i] = (uint16_t)used;
            p->units[i] = from[i]->units[i];
            used += p->units[i] + 1u;
        }
    }
    rasx__params_free(before);
    rasx__params_free(answer);
    return p;
}

static const char16_t *text_of(const rasx__params *p, enum rasx__field field) { return p->text + p->offset[field]; }

static int is_given(const rasx__params *p, enum rasx__field field) { return (p->given >> field & 1u) != 0; }

static void copy_text(char16_t *to, const char16_t *from, size_t room)
{
    size_t units = rasx__utf16_length(from, room - 1);
    memcpy(to, from, units * sizeof *to);
    to[units] = 0;
}

/* --- The native call --- */

/* Calls RasDial once; *connection is NULL for a new dial (S8.3), else the paused one. The clear password exists only in this
 * frame, and is wiped before it returns. */
static uint32_t call_ras_dial(const rasx__slot *slot, void *notifier, HRASCONN *connection)
{
    const rasx__params *p = slot->params;
    const rasapi *ras = slot->client->ras;
    const char16_t *phonebook = is_given(p, RASX__PHONEBOOK) ? text_of(p, RASX__PHONEBOOK) : NULL;
    const char16_t *pad = rasx__pad();
    RASDIALPARAMSW params;
    RASDIALEXTENSIONS extensions;
    memset(&params, 0, sizeof params);
    memset(&extensions, 0, sizeof extensions);
    params.dwSize = (uint32_t)sizeof params;
    copy_text(params.szEntryName, text_of(p, RASX__ENTRY), 257);
    if (!is_given(p, RASX__USERNAME) && params.szEntryName[0] && ras->RasGetEntryDialParamsW) {
        int32_t saved = 0; /* S4.7: the saved user, and the placeholder that stands for the saved password */
        if (ras->RasGetEntryDialParamsW(phonebook, &params, &saved) != 0 || !saved) {
            memset(params.szUserName, 0, sizeof params.szUserName);
            memset(params.szPassword, 0, sizeof params.szPassword);
            memset(params.szDomain, 0, sizeof params.szDomain);
        }
        params.dwSize = (uint32_t)sizeof params;
        copy_text(params.szEntryName, text_of(p, RASX__ENTRY), 257);
    } else {
        copy_text(params.szUserName, text_of(p, RASX__USERNAME), 257);
    }
    if (is_given(p, RASX__PASSWORD)) {
        uint32_t units = p->units[RASX__PASSWORD];
        for (uint32_t i = 0; i < units; i++) params.szPassword[i] = (char16_t)(text_of(p, RASX__PASSWORD)[i] ^ pad[i]);
        params.szPassword[units] = 0;
    }
    if (text_of(p, RASX__DOMAIN)[0]) copy_text(params.szDomain, text_of(p, RASX__DOMAIN), 16);
    copy_text(params.szPhoneNumber, text_of(p, RASX__PHONE_NUMBER), 129);
    copy_text(params.szCallbackNumber, text_of(p, RASX__CALLBACK_NUMBER), 129);
    params.dwSubEntry = p->subentry;
    params.dwCallbackId = rasx__slot_callback_id(slot);
    extensions.dwSize = (uint32_t)sizeof extensions;
    extensions.dwfOptions = p->options;
    uint32_t type = p->notifier == RASX_NOTIFIER_WINDOW ? RASAPI_NOTIFIER_WINDOW : p->notifier;
    uint32_t code = ras->RasDialW(p->options ? &extensions : NULL, phonebook, &params, type, notifier, connection);
    rasx__wipe(&params, sizeof params);
    return code;
}

static int is_decided(const rasx__slot *slot) { return rasx__load(&slot->decided) != RASX_OUTCOME_NONE; }

/* Waits until something happens to the dial, at most until `until_ns` or the dial's own deadline. */
static void wait_for_news(rasx__slot *slot, uint64_t until_ns)
{
    if (slot->deadline_ns < until_ns) until_ns = slot->deadline_ns;
    if (!is_decided(slot)) (void)slot->clock->wait(slot->clock, &slot->wake, until_ns, 0);
    if (!is_decided(slot) && slot->clock->now(slot->clock) >= slot->deadline_ns) {
        (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 638, RASX_FROM_TIMEOUT);
    }
}

static void give_notifier_back(rasx__slot *slot, uint32_t kind, void *notifier)
{
    if (kind == RASX_NOTIFIER_WINDOW) rasx__window_close(notifier, &slot->wake);
    else if (kind != RASX_NOTIFIER_FUNC2) rasx__trampoline_give_back(kind, notifier, slot->clock->now(slot->clock));
}

/* The notifier argument of RasDial. Kinds 0 and 1 wait for a free trampoline; NULL when the dial was decided meanwhile. */
static void *take_notifier(rasx__slot *slot)
{
    uint32_t kind = slot->params->notifier;
    void *notifier = NULL;
    if (kind == RASX_NOTIFIER_FUNC2) return is_decided(slot) ? NULL : (void *)(uintptr_t)rasx__on_ras_dial_func2;
    if (kind == RASX_NOTIFIER_WINDOW) {
        notifier = is_decided(slot) ? NULL : rasx__window_open(rasx__slot_dial(slot), &slot->wake);
        if (!notifier) (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 8, RASX_FROM_CORE); /* no effect on a decided one */
        return notifier;
    }
    while (!is_decided(slot)) {
        uint64_t now_ns = slot->clock->now(slot->clock);
        notifier = rasx__trampoline_take(kind, rasx__slot_dial(slot), now_ns);
        if (notifier) break;
        wait_for_news(slot, now_ns + TRAMPOLINE_RETRY_NS);
    }
    return notifier;
}

/* How many links the dial will have, so that the error of one is not taken for that of all (S2.3d). Not known: 0. With dial as
 * needed it is one. */
static void learn_links(rasx__slot *slot)
{
    const rasx__params *p = slot->params;
    RASENTRYW *record = NULL;
    if (!text_of(p, RASX__ENTRY)[0]) return;
    const char16_t *phonebook = is_given(p, RASX__PHONEBOOK) ? text_of(p, RASX__PHONEBOOK) : NULL;
    if (rasx__entry_properties(slot->client, phonebook, text_of(p, RASX__ENTRY), &record) != 0) return;
    uint32_t links = record->dwDialMode == RASEDM_DialAsNeeded || record->dwSubEntries == 0 ? 1 : record->dwSubEntries;
    rasx__store(&slot->links, links);
    free(record);
}

/* What the status says of the dial as a whole (S2.5); *pauses: it stands in a pause that was asked for. */
static enum rasx_outcome read_status(const rasx__slot *slot, uint64_t handle, uint32_t *error, int *pauses)
{
    *pauses = 0;
    RASCONNSTATUSW status;
    memset(&status, 0, sizeof status);
    status.dwSize = (uint32_t)sizeof status;
    uint32_t code = slot->client->ras->RasGetConnectStatusW((HRASCONN)(uintptr_t)handle, &status);
    *error = code != 0 ? code : status.dwError;
    if (code == 6 || code == 668) return RASX_OUTCOME_FAILED;
    if (code != 0) return RASX_OUTCOME_NONE; /* the call failed, which says nothing of the connection */
    int paused = status.rasconnstate & RASCS_PAUSED && !(status.rasconnstate & RASCS_DONE); /* as a notification of it is judged */
    *pauses = paused && slot->paused_states;
    if (*pauses) return RASX_OUTCOME_NONE;
    uint32_t first = rasx__load_relaxed(&slot->first_error);
    if (status.dwError != 0) *error = first != 0 ? first : *error;
    if (status.dwError != 0) return RASX_OUTCOME_FAILED;
    if (status.rasconnstate == RASCS_Connected) return RASX_OUTCOME_CONNECTED;
    if (!(status.rasconnstate & RASCS_DONE)) return RASX_OUTCOME_NONE;
    *error = first != 0 ? first : 668;
    return RASX_OUTCOME_FAILED;
}

/* RasDial again, from this thread, never from a handler (S1.5, S1.7). The handler that announced the pause has to be left
 * first: `inside` tells that it has left us, and a moment more lets it return to RAS (assumed; nothing tells). */
static void resume(rasx__slot *slot, void *notifier)
{
    rasx__params *answer = rasx__exchange_ptr(&slot->answer, NULL);
    do wait_for_news(slot, slot->clock->now(slot->clock) + HANDLER_RETURN_NS);
    while (rasx__load_seq(&slot->inside) != 0 && !is_decided(slot));
    slot->params = merge(slot->params, answer);
    if (is_decided(slot)) return;
    HRASCONN connection = (HRASCONN)(uintptr_t)rasx__load64(&slot->handle);
    rasx__store_seq(&slot->paused, 0); /* the next pause may come before RasDial returns */
    uint32_t code = slot->params ? call_ras_dial(slot, notifier, &connection) : 8;
    if (code != 0) (void)rasx__decide(slot, RASX_OUTCOME_FAILED, code, RASX_FROM_RETURN);
}

/* Notifications decide. The status is the safety net: a dial of a connected entry may bring none (S1.8), a handler's
 * return value or a fault may have stopped them (S8.28). A pause is bounded, as somebody has to answer it, also one that only
 * the status shows. */
static void wait_for_outcome(rasx__slot *slot, void *notifier)
{
    enum rasx_outcome last = RASX_OUTCOME_NONE;
    uint64_t next_poll_ns = slot->clock->now(slot->clock), pause_ends_ns = RASX_NEVER, quiet_ends_ns = RASX_NEVER;
    while (!is_decided(slot)) {
        uint64_t now_ns = slot->clock->now(slot->clock);
        uint64_t handle = rasx__load64(&slot->handle);
        if (rasx__load_ptr_seq(&slot->answer)) {
            resume(slot, notifier);
            pause_ends_ns = RASX_NEVER;
            last = RASX_OUTCOME_NONE;
            continue;
        }
        if (rasx__load_seq(&slot->paused) != 1) {
            pause_ends_ns = RASX_NEVER;
        } else if (pause_ends_ns == RASX_NEVER && slot->params->pause_timeout_ms != RASX_FOREVER) {
            pause_ends_ns = now_ns + slot->params->pause_timeout_ms * MS;
        } else if (now_ns >= pause_ends_ns) {
            (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 703, RASX_FROM_TIMEOUT); /* input was wanted, none came */
            break;
        }
        if (now_ns >= next_poll_ns && handle) {
            uint32_t error = 0;
            int pauses;
            enum rasx_outcome verdict = read_status(slot, handle, &error, &pauses);
            if (!pauses || rasx__load_seq(&slot->paused) == 1) {
                quiet_ends_ns = RASX_NEVER;
            } else if (quiet_ends_ns == RASX_NEVER && slot->params->pause_timeout_ms != RASX_FOREVER) {
                quiet_ends_ns = now_ns + slot->params->pause_timeout_ms * MS;
            } else if (now_ns >= quiet_ends_ns) {
                (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 703, RASX_FROM_TIMEOUT);
                break;
            }
            if (verdict != RASX_OUTCOME_NONE && verdict == last) {
                (void)rasx__decide(slot, verdict, verdict == RASX_OUTCOME_CONNECTED ? 0 : error, RASX_FROM_POLL);
                break;
            }
            last = verdict;
            next_poll_ns = now_ns + (verdict == RASX_OUTCOME_NONE ? POLL_NS : CONFIRM_NS);
        } else if (now_ns >= next_poll_ns) {
            next_poll_ns = now_ns + POLL_NS; /* no handle yet, so nothing to ask about */
        }
        wait_for_news(slot, next_poll_ns < pause_ends_ns ? next_poll_ns : pause_ends_ns);
    }
}

/* The answer of the one caller that finds the pause unanswered. */
uint32_t rasx_dial_resume(rasx_dial dial, const rasx_answer *answer)
{
    const char *texts[RASX__FIELDS] = { NULL };
    rasx__params *changes = NULL;
    uint32_t waiting = 1;
    rasx_answer known;
    if (!answer || take_sized(&known, sizeof known, answer, answer->size, ANSWER_FIRST) != 0) return RASX_E_INVALID;
    answer = &known;
    if (rasx__forked()) return RASX_E_FORKED;
    rasx__slot *slot = rasx__pin(dial);
    if (!slot) return RASX_E_UNKNOWN_DIAL;
    texts[RASX__CALLBACK_NUMBER] = answer->callback_number;
    texts[RASX__USERNAME] = answer->username;
    texts[RASX__DOMAIN] = answer->domain;
    texts[RASX__PASSWORD] = answer->password;
    uint32_t code = copy_texts(texts, &changes);
    if (code == 0 && (is_decided(slot) || !rasx__cas(&slot->paused, &waiting, 2))) {
        rasx__params_free(changes);
        code = RASX_E_NOT_PAUSED;
    }
    if (code == 0 && answer->error != 0) {
        rasx__params_free(changes);
        (void)rasx__decide(slot, RASX_OUTCOME_FAILED, answer->error, RASX_FROM_CORE);
    } else if (code == 0) {
        rasx__store_ptr(&slot->answer, changes); /* nobody else stores here before the next pause */
        rasx__event_set(&slot->wake);
    }
    rasx__unpin(slot);
    return code;
}

uint32_t rasx_dial_paused(rasx_dial dial, uint32_t *paused)
{
    if (!paused) return RASX_E_INVALID;
    *paused = 0;
    if (rasx__forked()) return RASX_E_FORKED;
    rasx__slot *slot = rasx__pin(dial);
    if (!slot) return RASX_E_UNKNOWN_DIAL;
    *paused = !is_decided(slot) && rasx__load_seq(&slot->paused) == 1;
    rasx__unpin(slot);
    return 0;
}

/* --- The life --- */

static void dial_main(void *argument)
{
    rasx__slot *slot = argument;
    rasx_client *client = slot->client;
    rasx_clock *clock = slot->clock;
    const rasapi *ras = client->ras;
    rasx__params *params = slot->params;
    uint32_t kind = params->notifier, hangup_timeout_ms = params->hangup_timeout_ms;
    uint32_t hangup = RASX_HANGUP_NONE, hangup_error = 0;
    HRASCONN connection = NULL;

    clock->enter(clock, slot->order);
    if (!is_decided(slot)) learn_links(slot);
    void *notifier = take_notifier(slot); /* none when the dial was cancelled meanwhile */
    if (notifier) {
        uint32_t code = call_ras_dial(slot, notifier, &connection);
        uint64_t unknown = 0, handle = (uint64_t)(uintptr_t)connection;
        if (handle && !rasx__cas64(&slot->handle, &unknown, handle)) rasx__store64(&slot->handle, handle);
        if (code != 0) {
            (void)rasx__decide(slot, RASX_OUTCOME_FAILED, code, RASX_FROM_RETURN);
            if (!handle) rasx__store64(&slot->handle, 0); /* S8.2: a dial that did not start owns nothing */
        } else {
            wait_for_outcome(slot, notifier);
        }
    }
    rasx__params_free(slot->params);
    slot->params = NULL;

    uint64_t handle = rasx__load64(&slot->handle);
    if (handle && rasx__load(&slot->decided) == RASX_OUTCOME_CONNECTED) {
        rasx__reference_add(slot, handle);
    } else if (handle) { /* S1.4: whoever was given a handle owes a RasHangUp, also after an error */
        hangup_error = rasx__hang_up(ras, clock, handle, 0, 0, 0, hangup_timeout_ms, 1, &hangup);
    }
    if (notifier) give_notifier_back(slot, kind, notifier);
    rasx__settle(slot, hangup, hangup_error);
    rasx__slot_thread_end(client, clock);
}

uint32_t rasx_dial_start(rasx_queue *queue, const rasx_dial_options *options, rasx_dial *dial)
{
    rasx_dial_options known;
    if (!queue || !options || !dial) return RASX_E_INVALID;
    *dial = 0;
    if (take_sized(&known, sizeof known, options, options->size, OPTIONS_FIRST) != 0) return RASX_E_INVALID;
    options = &known;
    if (rasx__forked()) return RASX_E_FORKED;
    rasx_client *client = queue->client;
    if (rasx__load(&queue->closed) || rasx__load(&client->closed)) return RASX_E_CLOSED;
    if (options->notifier == RASX_NOTIFIER_WINDOW && !rasx__has_windows()) return RASX_E_NOT_AVAILABLE;
    if (options->notifier > RASX_NOTIFIER_WINDOW || options->capacity > 65536u || !rasx__pad()) return RASX_E_INVALID;

    rasx__params *params = NULL;
    uint32_t code = copy_params(client, options, &params);
    if (code != 0) return code;
    rasx_clock *clock = queue->clock;
    uint64_t deadline_ns = params->timeout_ms == RASX_FOREVER ? RASX_NEVER : clock->now(clock) + params->timeout_ms * MS;
    rasx__slot *slot = rasx__slot_acquire(queue, options->capacity ? options->capacity : RASX_RING_DEFAULT, deadline_ns);
    if (!slot) {
        rasx__params_free(params);
        return 8;
    }
    slot->params = params;
    slot->paused_states = params->options & RDEOPT_PausedStates;
    slot->order = rasx__slot_order(client);
    *dial = rasx__slot_dial(slot);

    if (rasx__slot_thread_start(slot, dial_main, slot) != 0) { /* the dial's outcome, like everything after this point */
        slot->params = NULL;
        rasx__params_free(params);
        (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 8, RASX_FROM_CORE);
        rasx__settle(slot, RASX_HANGUP_NONE, 0);
    }
    if (deadline_ns != RASX_NEVER) rasx__queue_deadline(queue, deadline_ns);
    /* A close that ran meanwhile may have missed this dial. */
    if (rasx__load_seq(&queue->closed) || rasx__load_seq(&client->closed)) (void)rasx_dial_cancel(*dial, NULL);
    return 0;
}

uint32_t rasx_dial_cancel(rasx_dial dial, uint32_t *decided)
{
    if (decided) *decided = 0;
    if (rasx__forked()) return RASX_E_FORKED;
    rasx__slot *slot = rasx__pin(dial);
    if (!slot) return RASX_E_UNKNOWN_DIAL;
    int mine = rasx__decide(slot, RASX_OUTCOME_FAILED, 631, RASX_FROM_CANCEL);
    rasx__unpin(slot);
    if (decided) *decided = (uint32_t)mine;
    return 0;
}

uint32_t rasx_dial_lost(rasx_dial dial, uint32_t *lost)
{
    if (!lost) return RASX_E_INVALID;
    *lost = 0;
    if (rasx__forked()) return RASX_E_FORKED;
    rasx__slot *slot = rasx__pin(dial);
    if (!slot) return RASX_E_UNKNOWN_DIAL;
    *lost = rasx__load(&slot->lost);
    rasx__unpin(slot);
    return 0;
}

void rasx__cancel_where(const rasx_client *client, const rasx_queue *queue)
{
    uint32_t count = rasx__slot_count();
    for (uint32_t i = 0; i < count; i++) { /* pinned, not locked: deciding calls an embedder's function, which may call us (S8.34) */
        rasx__slot *slot = rasx__pin(rasx__slot_dial(rasx__slot_at(i)));
        if (!slot) continue;
        if ((!client || slot->client == client) && (!queue || slot->queue == queue)) {
            (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 631, RASX_FROM_CANCEL);
        }
        rasx__unpin(slot);
    }
}
