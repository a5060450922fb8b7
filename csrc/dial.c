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

#include <stdlib.h>
#include <string.h>

#define MS 1000000ull                 /* ns */
#define POLL_NS (1000u * MS)          /* looks at the status when notifications do not tell (S1.8, S8.28) */
#define CONFIRM_NS (250u * MS)        /* a status that decides is read twice, so that the notification may come first */
#define TRAMPOLINE_RETRY_NS (20u * MS)
#define HANGUP_TIMEOUT_MS 10000u      /* S3: Microsoft's samples wait as long */

static rasx__a32 dial_threads;

uint32_t rasx__thread_total(void) { return rasx__load_seq(&dial_threads); }

/* --- Parameters: one block, the password masked --- */

typedef struct field { const char *text; size_t limit; uint16_t *offset; } field;

static size_t utf16_room(const char *text) { return text ? strlen(text) + 1 : 1; } /* UTF-16 never has more units than UTF-8 bytes */

/* Copies the options. 0, RASX_E_INVALID or 8. Limits from S0.3. */
static uint32_t copy_params(const rasx_client *client, const rasx_dial_options *o, rasx__params **copy)
{
    const char *phonebook = o->phonebook ? o->phonebook : client->phonebook;
    size_t room = utf16_room(phonebook) + utf16_room(o->entry) + utf16_room(o->phone_number) + utf16_room(o->callback_number) +
                  utf16_room(o->username) + utf16_room(o->domain) + utf16_room(o->password);
    if (room > 0xFFFF || !o->entry) return RASX_E_INVALID;
    rasx__params *p = calloc(1, sizeof *p + room * sizeof(char16_t));
    if (!p) return 8;
    const field fields[] = { { phonebook, 32767, &p->phonebook },         { o->entry, 256, &p->entry },
                             { o->phone_number, 128, &p->phone_number },  { o->callback_number, 128, &p->callback_number },
                             { o->username, 256, &p->username },          { o->domain, 15, &p->domain } };
    size_t used = 0, units = 0;
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        size_t left = room - used < fields[i].limit + 1 ? room - used : fields[i].limit + 1;
        if (rasx__to_utf16(fields[i].text ? fields[i].text : "", p->text + used, left, &units) != 0) {
            free(p);
            return RASX_E_INVALID;
        }
        *fields[i].offset = (uint16_t)used;
        used += units + 1;
    }
    units = 0;
    size_t left = room - used < 257 ? room - used : 257;
    if (o->password && rasx__to_utf16_masked(o->password, rasx__pad(), p->text + used, left, &units) != 0) {
        free(p);
        return RASX_E_INVALID;
    }
    p->password = (uint16_t)used;
    p->password_units = (uint16_t)units;
    p->notifier = o->notifier;
    p->options = o->options;
    p->subentry = o->subentry;
    p->timeout_ms = o->timeout_ms;
    p->hangup_timeout_ms = o->hangup_timeout_ms ? o->hangup_timeout_ms : HANGUP_TIMEOUT_MS;
    p->has_username = o->username != NULL;
    p->has_phonebook = phonebook != NULL;
    *copy = p;
    return 0;
}

static void free_params(rasx__params *p)
{
    if (!p) return;
    rasx__wipe(p->text + p->password, p->password_units * sizeof(char16_t));
    free(p);
}

static void copy_text(char16_t *to, const char16_t *from, size_t room)
{
    size_t units = rasx__utf16_length(from, room - 1);
    memcpy(to, from, units * sizeof *to);
    to[units] = 0;
}

/* --- The native call --- */

/* Calls RasDial once. The clear password exists only in this frame, and is wiped before it returns. */
static uint32_t call_ras_dial(const rasx__slot *slot, void *notifier, HRASCONN *connection)
{
    const rasx__params *p = slot->params;
    const rasapi *ras = slot->client->ras;
    const char16_t *phonebook = p->has_phonebook ? p->text + p->phonebook : NULL;
    const char16_t *pad = rasx__pad();
    RASDIALPARAMSW params;
    RASDIALEXTENSIONS extensions;
    memset(&params, 0, sizeof params);
    memset(&extensions, 0, sizeof extensions);
    params.dwSize = (uint32_t)sizeof params;
    copy_text(params.szEntryName, p->text + p->entry, 257);
    if (!p->has_username && params.szEntryName[0] && ras->RasGetEntryDialParamsW) {
        int32_t saved = 0; /* S4.7: the saved user, and the placeholder that stands for the saved password */
        if (ras->RasGetEntryDialParamsW(phonebook, &params, &saved) != 0 || !saved) {
            memset(params.szUserName, 0, sizeof params.szUserName);
            memset(params.szPassword, 0, sizeof params.szPassword);
            memset(params.szDomain, 0, sizeof params.szDomain);
        }
        params.dwSize = (uint32_t)sizeof params;
        copy_text(params.szEntryName, p->text + p->entry, 257);
    } else {
        copy_text(params.szUserName, p->text + p->username, 257);
    }
    for (uint32_t i = 0; i < p->password_units; i++) {
        params.szPassword[i] = (char16_t)(p->text[p->password + i] ^ pad[i]);
    }
    if (p->password_units) params.szPassword[p->password_units] = 0;
    if (p->text[p->domain]) copy_text(params.szDomain, p->text + p->domain, 16);
    copy_text(params.szPhoneNumber, p->text + p->phone_number, 129);
    copy_text(params.szCallbackNumber, p->text + p->callback_number, 129);
    params.dwSubEntry = p->subentry;
    params.dwCallbackId = rasx__slot_callback_id(slot);
    extensions.dwSize = (uint32_t)sizeof extensions;
    extensions.dwfOptions = p->options;
    *connection = NULL; /* S8.3: anything else would be taken as "resume" */
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

/* What the status says of the dial as a whole (S2.5). */
static enum rasx_outcome read_status(const rasx__slot *slot, uint64_t handle, uint32_t *error)
{
    RASCONNSTATUSW status;
    memset(&status, 0, sizeof status);
    status.dwSize = (uint32_t)sizeof status;
    uint32_t code = slot->client->ras->RasGetConnectStatusW((HRASCONN)(uintptr_t)handle, &status);
    *error = code != 0 ? code : status.dwError;
    if (code == 6 || code == 668) return RASX_OUTCOME_FAILED;
    if (code != 0) return RASX_OUTCOME_NONE; /* the call failed, which says nothing of the connection */
    if (status.rasconnstate & RASCS_PAUSED && slot->paused_states) return RASX_OUTCOME_NONE;
    if (status.dwError != 0) return RASX_OUTCOME_FAILED;
    if (status.rasconnstate == RASCS_Connected) return RASX_OUTCOME_CONNECTED;
    if (!(status.rasconnstate & RASCS_DONE)) return RASX_OUTCOME_NONE;
    *error = 668;
    return RASX_OUTCOME_FAILED;
}

/* Notifications decide. The status is the safety net: a dial of a connected entry may bring none (S1.8), a handler's
 * return value or a fault may have stopped them (S8.28). */
static void wait_for_outcome(rasx__slot *slot)
{
    enum rasx_outcome last = RASX_OUTCOME_NONE;
    uint64_t next_poll_ns = slot->clock->now(slot->clock);
    while (!is_decided(slot)) {
        uint64_t now_ns = slot->clock->now(slot->clock);
        uint64_t handle = rasx__load64(&slot->handle);
        if (now_ns >= next_poll_ns && handle) {
            uint32_t error = 0;
            enum rasx_outcome verdict = read_status(slot, handle, &error);
            if (verdict != RASX_OUTCOME_NONE && verdict == last) {
                (void)rasx__decide(slot, verdict, verdict == RASX_OUTCOME_CONNECTED ? 0 : error, RASX_FROM_POLL);
                break;
            }
            last = verdict;
            next_poll_ns = now_ns + (verdict == RASX_OUTCOME_NONE ? POLL_NS : CONFIRM_NS);
        } else if (now_ns >= next_poll_ns) {
            next_poll_ns = now_ns + POLL_NS; /* no handle yet, so nothing to ask about */
        }
        wait_for_news(slot, next_poll_ns);
    }
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
    void *notifier = take_notifier(slot);
    if (notifier) {
        uint32_t code = call_ras_dial(slot, notifier, &connection);
        uint64_t unknown = 0, handle = (uint64_t)(uintptr_t)connection;
        if (handle && !rasx__cas64(&slot->handle, &unknown, handle)) rasx__store64(&slot->handle, handle);
        if (code != 0) {
            (void)rasx__decide(slot, RASX_OUTCOME_FAILED, code, RASX_FROM_RETURN);
            if (!handle) rasx__store64(&slot->handle, 0); /* S8.2: a dial that did not start owns nothing */
        } else {
            wait_for_outcome(slot);
        }
    }
    slot->params = NULL;
    free_params(params);

    uint64_t handle = rasx__load64(&slot->handle);
    if (handle && rasx__load(&slot->decided) == RASX_OUTCOME_CONNECTED) {
        rasx__reference_add(ras, handle);
    } else if (handle) { /* S1.4: whoever was given a handle owes a RasHangUp, also after an error */
        hangup_error = rasx__hang_up(ras, clock, handle, 0, 0, 0, hangup_timeout_ms, 1, &hangup);
    }
    if (notifier) give_notifier_back(slot, kind, notifier);
    rasx__settle(slot, hangup, hangup_error);

    /* Before it leaves the clock: a virtual one may pass over everything that a thread does after that, and rasx_close, which
     * waits for this on the clock, would run out of time. */
    (void)rasx__sub(&dial_threads, 1);
    if (rasx__sub(&client->threads, 1) == 1) rasx__event_set(&client->idle);
    clock->leave(clock);
    rasx__client_drop(client);
}

uint32_t rasx_dial_start(rasx_queue *queue, const rasx_dial_options *options, rasx_dial *dial)
{
    if (!queue || !options || !dial || options->size < sizeof *options) return RASX_E_INVALID;
    *dial = 0;
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
        free_params(params);
        return 8;
    }
    slot->params = params;
    slot->paused_states = params->options & RDEOPT_PausedStates;
    slot->order = rasx__add64(&client->dials, 1) << 8 | 0xFFu; /* after the subentries of the same dial */
    *dial = rasx__slot_dial(slot);

    rasx__client_hold(client);
    (void)rasx__add(&client->threads, 1);
    (void)rasx__add(&dial_threads, 1);
    clock->expect(clock);
    if (rasx__thread_start(dial_main, slot) != 0) { /* the dial's outcome, like everything after this point */
        clock->unexpect(clock);
        slot->params = NULL;
        free_params(params);
        (void)rasx__decide(slot, RASX_OUTCOME_FAILED, 8, RASX_FROM_CORE);
        rasx__settle(slot, RASX_HANGUP_NONE, 0);
        (void)rasx__sub(&dial_threads, 1);
        if (rasx__sub(&client->threads, 1) == 1) rasx__event_set(&client->idle);
        rasx__client_drop(client);
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
