/* engine_dial.c: RasDial: arguments, the phone-book record, a new dial or the next step of a paused one.
 *
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "engine_parts.h"

static const uint32_t params_sizes[] = { RASDIALPARAMSW_SIZES };
static const uint32_t extensions_sizes[] = { RASDIALEXTENSIONS_SIZES };

int sim_known_size(uint32_t size, const uint32_t *sizes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (sizes[i] == size)
            return 1;
    return 0;
}

/* One RasDial on its caller's stack. */
typedef struct dial_call {
    const RASDIALPARAMSW *params;
    HRASCONN        *connection;
    notifier         notify;
    uint32_t         options;
    uint32_t         releases;   /* of the machine, when the call came in */
    uint32_t         subentry;   /* as given; 0 without */
    int              by_number;  /* no entry: `entry` is "." and the number */
    int              resume;
    uintptr_t        handle;     /* what *connection shall become */
    pbk_book        *book;
    const pbk_entry *record;
    int64_t          knobs[SIM_KNOB_COUNT];
    char             entry[NAME_BYTES];
    char             number[NUMBER_BYTES];
} dial_call;

static uint32_t check_arguments(dial_call *d, const RASDIALEXTENSIONS *extensions, uint32_t notifier_type, void *function)
{
    const RASDIALPARAMSW *params = d->params;

    if (params == NULL || d->connection == NULL)
        return 87;
    if (!sim_known_size(params->dwSize, params_sizes, COUNT_OF(params_sizes)))
        return 632;
    if (extensions != NULL) {
        if (!sim_known_size(extensions->dwSize, extensions_sizes, COUNT_OF(extensions_sizes)))
            return 632;
        d->options = extensions->dwfOptions;
    }
    d->notify.kind = KIND_NONE; /* the type says nothing without a notifier (S8.32) */
    if (function != NULL) {
        if (notifier_type > RASAPI_NOTIFIER_FUNC2 && (notifier_type != RASAPI_NOTIFIER_WINDOW || !rasx__has_windows()))
            return 87;
        d->notify.kind = notifier_type;
        d->notify.function = function;
    }
    if (params->dwSize != params_sizes[0]) {
        d->subentry = params->dwSubEntry;
        d->notify.id = params->dwCallbackId;
    }
    rasx__to_utf8(params->szEntryName, COUNT_OF(params->szEntryName), d->entry, sizeof d->entry);
    rasx__to_utf8(params->szPhoneNumber, COUNT_OF(params->szPhoneNumber), d->number, sizeof d->number);
    if (d->entry[0] == '\0' && d->number[0] != '\0') { /* the name under which it will be listed (S1.2) */
        d->by_number = 1;
        d->entry[0] = '.';
        memcpy(d->entry + 1, d->number, strlen(d->number) + 1);
    }
    return 0;
}

static void make_request(const dial_call *d, const conn *c, session *s, sim_link_request *request)
{
    memset(request, 0, sizeof *request);
    request->entry = c->entry;
    request->record = d->record;
    request->params = d->params;
    request->options = d->options;
    request->clock = sim_clock();
    request->wake = &s->wake;
    request->stop = &s->stop;
}

/* The second RasDial of a paused dial (S1.7): 6 for an unknown handle, 87 for one that is not paused or for another notifier. The
 * handler that told of the pause may still be running; the dial goes on after it. */
static uint32_t resume_dial(dial_call *d)
{
    uint32_t code = 0;
    conn *c;

    d->resume = 1;
    d->handle = (uintptr_t)*d->connection;
    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    c = sim_find_handle(d->handle);
    if (c == NULL || c->phase >= CLOSING) {
        code = 6;
    } else if (!c->paused || c->session == NULL || c->session->resumed || c->notify.kind != d->notify.kind
               || c->notify.function != d->notify.function) {
        code = 87;
    } else {
        sim_link_request request;

        make_request(d, c, c->session, &request);
        request.options = c->session->options;
        if (c->session->link != NULL)
            sim_link_scripted.resume(c->session->link, &request);
        c->notify.id = d->notify.id;
        c->session->resumed = 1;
        rasx__event_set(&c->session->wake);
    }
    rasx__unlock(&sim_engine_lock);
    return code;
}

/* Finds the entry: 621, 622, 623, 755, 608. */
static uint32_t find_record(dial_call *d, const char16_t *phonebook)
{
    char path[3 * PATH_UNITS + 1];
    const char *custom;
    uint32_t code;

    if (d->by_number)
        return 0;
    if (d->entry[0] == '\0')
        return 623; /* neither entry nor number (S10.2 UNSURE) */
    path[0] = '\0';
    if (phonebook != NULL) {
        if (rasx__utf16_length(phonebook, PATH_UNITS) == PATH_UNITS)
            return 621;
        rasx__to_utf8(phonebook, PATH_UNITS, path, sizeof path);
    }
    code = pbk_open(path[0] == '\0' ? NULL : path, &d->book);
    if (code != 0)
        return code;
    d->record = pbk_find(d->book, d->entry);
    if (d->record == NULL)
        return 623;
    if (d->record->link_count == 0)
        return 608; /* assumed: an entry without a device */
    custom = pbk_value(d->record, "CustomRasDialDll");
    if (custom != NULL && custom[0] != '\0' && (d->options & RDEOPT_CustomDial) == 0)
        return 755;
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Guid=: 32 digits, the bytes as stored (S7.3). */
static void read_guid(const pbk_entry *record, uint8_t bytes[16])
{
    const char *text = record == NULL ? NULL : pbk_value(record, "Guid");

    if (text == NULL || strlen(text) != 32)
        return;
    for (int i = 0; i < 16; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);

        bytes[i] = (uint8_t)(high < 0 || low < 0 ? 0 : high << 4 | low);
    }
}

static const char *copy_text(char **at, const char *text)
{
    char *copy = *at;
    size_t bytes = strlen(text) + 1;

    memcpy(copy, text, bytes);
    *at += bytes;
    return copy;
}

/* One block with everything that outlives the phone book: names, and each device of each link that will be dialled. */
static conn *new_conn(const dial_call *d, uint32_t subentry)
{
    const pbk_entry *record = d->record;
    const char *book = d->book == NULL ? "" : pbk_path(d->book);
    size_t bytes = strlen(book) + strlen(d->entry) + strlen(d->number) + 3;
    uint32_t devices = 0;
    uint32_t first = subentry == 0 ? 0 : subentry - 1;
    uint32_t end = record == NULL ? 0 : subentry == 0 ? record->link_count : subentry;
    conn *c;
    char *at;

    if (record != NULL)
        bytes += strlen(record->name) + 1;
    for (uint32_t i = first; i < end; i++) {
        const pbk_link *link = &record->links[i];

        for (uint32_t j = 0; j < link->device_count; j++, devices++)
            bytes += strlen(link->devices[j].type) + strlen(link->device_name)
                     + strlen(d->number[0] != '\0' ? d->number : link->devices[j].phone_number) + 3;
    }
    if (devices == 0)
        bytes += 64 + strlen(d->number);
    c = calloc(1, sizeof *c + (devices == 0 ? 1 : devices) * sizeof(device) + bytes);
    if (c == NULL)
        return NULL;
    c->devices = (device *)(void *)(c + 1);
    at = (char *)(c->devices + (devices == 0 ? 1 : devices));
    c->book = copy_text(&at, book);
    c->entry = copy_text(&at, record != NULL ? record->name : d->entry);
    for (uint32_t i = first; i < end; i++) {
        const pbk_link *link = &record->links[i];

        for (uint32_t j = 0; j < link->device_count; j++) {
            device *to = &c->devices[c->device_count++];

            to->type = copy_text(&at, link->devices[j].type);
            to->name = copy_text(&at, link->device_name);
            to->number = copy_text(&at, d->number[0] != '\0' ? d->number : link->devices[j].phone_number);
            to->subentry = (uint8_t)(i + 1);
            to->port = NO_PORT;
        }
    }
    if (c->device_count == 0) {
        device *to = &c->devices[c->device_count++];

        to->type = copy_text(&at, RASDT_Modem);
        to->name = copy_text(&at, "Standard Modem");
        to->number = copy_text(&at, d->number);
        to->subentry = 1;
        to->port = NO_PORT;
    }
    read_guid(record, c->entry_id);
    c->due_ns = RASX_NEVER;
    c->notify = d->notify;
    c->only = (uint8_t)subentry;
    c->links = record == NULL ? 1 : record->link_count;
    c->holders = 1; /* RasDial itself */
    c->phase = DIALING;
    return c;
}

/* Looks for another dial of the entry, takes ports, and lists the new one. *known: the connection that got a reference. */
static uint32_t enlist(dial_call *d, conn *c, conn **known, int orphan)
{
    uint64_t chance;
    uint32_t code;
    conn *other;

    other = orphan ? NULL : sim_find_entry(c->book, c->entry);
    if (other != NULL && other->phase == CONNECTED) {
        other->references++;
        other->holders++;
        d->handle = other->handle;
        *known = other;
        return 0;
    }
    if (other != NULL)
        return 756; /* being dialled, failed and not yet hung up, or closing (S8.4, S8.45) */
    code = sim_make_room();
    if (code == 0 && !orphan)
        code = sim_take_ports(c);
    if (code != 0)
        return code;
    c->handle = sim_new_handle(c->entry);
    c->number = ++sim_machine.dials;
    chance = sim_random_64();
    for (int i = 0; i < 16; i++)
        c->correlation[i] = (uint8_t)(sim_chance(&chance) >> 24);
    c->references = 1;
    c->in_entries = (uint8_t)!orphan;
    c->listed = 1;
    c->holders++;
    c->prev = sim_machine.last;
    if (sim_machine.last != NULL) sim_machine.last->next = c; else sim_machine.first = c;
    sim_machine.last = c;
    sim_machine.listed++;
    sim_to_tables(c);
    return 0;
}

/* Opens the link and starts the worker. failure: no link, but a dial that fails with this code by notification. */
static uint32_t start_worker(dial_call *d, conn *c, uint32_t subentry, uint32_t failure)
{
    session *s = calloc(1, sizeof *s);
    uint32_t code = 0;

    if (s == NULL)
        return 8;
    if (rasx__event_init(&s->wake) != 0) {
        free(s);
        return 8;
    }
    if (rasx__event_init(&s->relay) != 0) {
        rasx__event_destroy(&s->wake);
        free(s);
        return 8;
    }
    s->c = c;
    s->code = failure;
    s->options = d->options;
    s->subentries = 1;
    s->chance = sim_dial_chance(c->entry);
    memcpy(s->knobs, d->knobs, sizeof s->knobs);
    s->early_over = d->notify.kind == KIND_NONE || d->knobs[SIM_KNOB_early] <= 0;
    if (failure == 0) {
        sim_link_request request;

        make_request(d, c, s, &request);
        request.subentry = subentry;
        request.seed = sim_chance(&s->chance);
        code = sim_link_scripted.open(&request, &s->link, &s->subentries);
    }
    if (code == 0) {
        rasx__lock(&sim_engine_lock);
        if (c->phase != DIALING || sim_machine.resetting) { /* hung up or reset meanwhile */
            code = 631;
        } else {
            c->session = s;
            c->holders++;
            s->next = sim_machine.sessions;
            if (s->next != NULL)
                s->next->prev = s;
            sim_machine.sessions = s;
        }
        rasx__unlock(&sim_engine_lock);
    }
    if (code == 0 && sim_start_thread(sim_worker_main, s, 1) != 0) {
        code = 8;
        rasx__lock(&sim_engine_lock);
        c->session = NULL;
        c->holders--;
        if (s->prev != NULL) s->prev->next = s->next; else sim_machine.sessions = s->next;
        if (s->next != NULL) s->next->prev = s->prev;
        rasx__unlock(&sim_engine_lock);
    }
    if (code != 0)
        sim_free_session(s);
    return code;
}

/* Waits for the outcome (a synchronous dial) or for the early notifications, running those itself when told to. */
static uint32_t wait_for_worker(conn *c, waiter *w)
{
    rasx_clock *clock = sim_clock();
    uint32_t code;

    rasx__lock(&sim_engine_lock);
    while (!w->done || w->posted != NULL) {
        const note *posted = w->posted;

        rasx__unlock(&sim_engine_lock);
        if (posted != NULL)
            sim_call_own_handler(c, posted, 1);
        else
            clock->wait(clock, &w->event, RASX_NEVER, 0);
        rasx__lock(&sim_engine_lock);
        if (posted != NULL) {
            w->posted = NULL;
            if (c->session != NULL)
                rasx__event_set(&c->session->relay);
        }
    }
    code = w->sync ? w->code : 0; /* the outcome of an asynchronous dial is never returned */
    c->waiter = NULL;
    rasx__unlock(&sim_engine_lock);
    return code;
}

/* Makes the new conn, or finds the connected one, and dials. *d->connection is set here for a synchronous dial only: an
 * asynchronous client does not know the handle before RasDial returns (S8.5). */
static uint32_t new_dial(dial_call *d, const char16_t *phonebook)
{
    int64_t *knobs = d->knobs;
    int sync = d->notify.kind == KIND_NONE;
    uint32_t subentry = 0;
    uint32_t forced; /* knob dial_code */
    uint32_t failure;
    uint32_t code;
    int start; /* a worker is needed */
    int waits = 0;
    conn *known = NULL;
    conn *c;
    waiter w;

    sim_engine_knobs(d->entry, knobs);
    forced = (uint32_t)knobs[SIM_KNOB_dial_code];
    d->notify.message = (uint32_t)knobs[SIM_KNOB_message];
    if (forced != 0 && knobs[SIM_KNOB_dial_code_handle] == 0 && (knobs[SIM_KNOB_dial_code_notify] == 0 || sync))
        return forced;
    code = find_record(d, phonebook);
    if (code != 0 && (code == 8 || knobs[SIM_KNOB_by_callback] == 0 || sync || forced != 0))
        return code;
    if (code == 0 && d->record != NULL && d->record->link_count > 1) {
        const char *mode = pbk_value(d->record, "DialMode");

        if (mode != NULL && strcmp(mode, "2") == 0) /* dial as needed: one link at first (S1.2) */
            subentry = d->subentry >= 1 && d->subentry <= d->record->link_count ? d->subentry : 1;
    }
    failure = code;
    c = new_conn(d, subentry);
    if (c == NULL)
        return 8;

    rasx__lock(&sim_engine_lock);
    sim_catch_up();
    if (forced != 0 && knobs[SIM_KNOB_dial_code_handle] == 0) {
        c->handle = sim_new_handle(c->entry); /* told to the handler, but nobody's */
        c->number = ++sim_machine.dials;
    } else {
        code = enlist(d, c, &known, failure != 0 || (forced != 0 && sim_find_entry(c->book, c->entry) != NULL));
        if (code != 0 && code != 8 && knobs[SIM_KNOB_by_callback] != 0 && !sync && forced == 0) {
            failure = code;
            code = enlist(d, c, &known, 1);
        }
    }
    if (code != 0 || known != NULL) {
        sim_release_conn(c);
        rasx__unlock(&sim_engine_lock);
        if (known != NULL) {
            note connected = { RASCS_Connected, 0, 0, 1 };

            if (!sync && sim_knob(known->entry, SIM_KNOB_known_notify) != 0)
                sim_start_notice(known, &d->notify, &connected, 1);
            *d->connection = (HRASCONN)d->handle;
            rasx__lock(&sim_engine_lock);
            sim_release_conn(known);
            rasx__unlock(&sim_engine_lock);
        }
        return code;
    }
    if (forced == 0 || knobs[SIM_KNOB_dial_code_handle] != 0)
        d->handle = c->handle;
    start = forced == 0 || knobs[SIM_KNOB_dial_code_notify] != 0;
    if (!start) {
        c->phase = FAILED;
        c->error = forced;
    }
    memset(&w, 0, sizeof w);
    if (start && (sync || knobs[SIM_KNOB_early] > 0)) {
        w.sync = sync;
        w.takes = !sync && knobs[SIM_KNOB_early_on_caller] != 0;
        waits = rasx__event_init(&w.event) == 0;
        if (waits)
            c->waiter = &w;
        else
            code = 8;
    }
    rasx__unlock(&sim_engine_lock);

    if (sync)
        *d->connection = (HRASCONN)d->handle;
    if (code == 0 && start)
        code = start_worker(d, c, subentry, forced != 0 ? forced : failure);
    if (code != 0) {
        int hung_up; /* by somebody who found the handle in a list: closing as usual */

        rasx__lock(&sim_engine_lock);
        c->waiter = NULL;
        hung_up = c->phase == CLOSING;
        if (!hung_up)
            sim_unlist(c);
        rasx__unlock(&sim_engine_lock);
        d->handle = hung_up ? c->handle : 0;
        *d->connection = (HRASCONN)d->handle;
        if (hung_up && !sync)
            code = 0;
    } else {
        if (knobs[SIM_KNOB_block_dial] != 0)
            sim_pause_unless(0, 1, &d->releases);
        if (knobs[SIM_KNOB_dial_delay_ms] > 0)
            sim_pause_here((uint64_t)knobs[SIM_KNOB_dial_delay_ms] * MS_NS, 0);
        if (waits)
            code = wait_for_worker(c, &w);
        if (d->handle != 0)
            *d->connection = (HRASCONN)d->handle;
        if (forced != 0)
            code = forced;
    }
    if (waits)
        rasx__event_destroy(&w.event);
    rasx__lock(&sim_engine_lock);
    sim_release_conn(c);
    rasx__unlock(&sim_engine_lock);
    return code;
}

static const char *kind_name(uint32_t kind)
{
    return kind == KIND_NONE ? "sync" : kind == RASAPI_NOTIFIER_WINDOW ? "window" : kind == 0 ? "0" : kind == 1 ? "1" : "2";
}

/* The order of the checks is that of S10.2. A RasDial from inside a handler is refused with 87 (assumed; S1.5 forbids it): a client
 * that does so shall notice. */
uint32_t RASAPI_CALL sim_RasDialW(RASDIALEXTENSIONS *extensions, const char16_t *phonebook, RASDIALPARAMSW *params,
                                  uint32_t notifier_type, void *notifier_function, HRASCONN *connection)
{
    dial_call d;
    uint32_t code;

    memset(&d, 0, sizeof d);
    rasx__lock(&sim_engine_lock);
    d.releases = sim_machine.releases; /* before the call is counted: whoever sees the count may release it */
    rasx__unlock(&sim_engine_lock);
    if (sim_enter(SIM_RasDialW, &code))
        return code;
    d.notify.kind = KIND_NONE;
    d.params = params;
    d.connection = connection;
    code = check_arguments(&d, extensions, notifier_type, notifier_function);
    if (code == 0 && sim_inside_handler() > 0)
        code = 87;
    if (code == 0)
        code = *connection != NULL ? resume_dial(&d) : new_dial(&d, phonebook);
    if (d.book != NULL)
        pbk_release(d.book);
    return sim_leave(SIM_RasDialW, code, "entry=\"%s\" kind=%s%s h=0x%llx", d.entry, kind_name(d.notify.kind),
                     d.resume ? " resume" : "", (unsigned long long)d.handle);
}
