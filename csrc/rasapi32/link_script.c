/* link_script.c: the scripted link, which plays steps instead of carrying PPP.
 *
 * SPDX-License-Identifier: MIT
 *
 * What is played: the script chosen for the entry; else the sequence that fits its devices, each subentry walking its states
 * interleaved with the others. An account that does not match turns a script that would connect into an authentication
 * failure. All waiting is done on the machine's clock.
 */
#include <stdlib.h>
#include <string.h>

#include "../text.h"
#include "engine.h"

/* --- The default scripts (S10.2) --------------------------------------------------------------------------------------- */

#define SUB(state, error, subentry) { SIM_DELAY_ANY, state, error, 0, subentry, 0 }
#define GO(state)                   SUB(state, 0, 1)
#define FAIL(state, error)          SUB(state, error, 1)
#define SLOW(state)                 { 500, state, 0, 0, 1, 0 }
#define TO_LINK                     GO(0), GO(1), GO(2), GO(3), GO(4)
#define TO_AUTH                     TO_LINK, GO(5), GO(6)
#define FROM_AUTH                   GO(6), GO(10), GO(6), GO(18), GO(14)

static const rasx_sim_step vpn_ok[] = { TO_AUTH, GO(10), GO(6), GO(18), GO(14), GO(24), GO(8192) };
static const rasx_sim_step modem_ok[] = { TO_AUTH, GO(10), GO(6), GO(11), GO(12), GO(18), GO(14), GO(8192) };
static const rasx_sim_step connect_now[] = { { 0, 8192, 0, 0, 1, 0 } };
static const rasx_sim_step slow[] = { SLOW(0), SLOW(1), SLOW(2), SLOW(3), SLOW(4), SLOW(5), SLOW(6),
                                      SLOW(10), SLOW(6), SLOW(18), SLOW(14), SLOW(24), SLOW(8192) };
static const rasx_sim_step auth_fail[] = { TO_AUTH, FAIL(6, 691) };
static const rasx_sim_step unreachable[] = { GO(0), GO(1), GO(2), FAIL(2, 868) };
static const rasx_sim_step busy[] = { GO(0), FAIL(0, 633) };
static const rasx_sim_step modem_noanswer[] = { GO(0), GO(1), GO(2), FAIL(2, 678) };
static const rasx_sim_step retry[] = { TO_AUTH, GO(4097), GO(7), FROM_AUTH, GO(8192) };
static const rasx_sim_step expired[] = { TO_AUTH, GO(4099), GO(9), FROM_AUTH, GO(8192) };
static const rasx_sim_step interactive[] = { TO_LINK, GO(4096), GO(5), FROM_AUTH, GO(8192) };
static const rasx_sim_step eap_ui[] = { TO_LINK, GO(5), GO(4100), FROM_AUTH, GO(8192) };
/* The server calls back: the device states occur again (S2.3c). */
#define CALLED_BACK GO(15), GO(16), GO(17), GO(2), GO(3), GO(4), GO(13), FROM_AUTH, GO(8192)
static const rasx_sim_step callback[] = { TO_AUTH, GO(8), CALLED_BACK };
static const rasx_sim_step callback_asked[] = { TO_AUTH, GO(8), GO(4098), CALLED_BACK };
/* One line answers, the other is busy: still a success (S2.3d, S8.74). */
static const rasx_sim_step multilink2[] = {
    SUB(0, 0, 1), SUB(0, 0, 2), SUB(1, 0, 1), SUB(1, 0, 2), SUB(2, 0, 1), SUB(2, 0, 2), GO(3), GO(4), GO(5), GO(6), GO(10),
    GO(6), GO(18), GO(14), SUB(22, 0, 1), SUB(2, 676, 2), SUB(23, 0, 2), GO(8192)
};
static const rasx_sim_step drop[] = { TO_AUTH, GO(10), GO(6), GO(18), GO(14), GO(24), GO(8192),
                                      { 1000, 0, 829, 0, 1, RASX_SIM_DROP } };

#define SCRIPT(steps) { #steps, steps, (uint32_t)(sizeof(steps) / sizeof *(steps)), 0 }
static const sim_script scripts[] = {
    SCRIPT(vpn_ok), SCRIPT(auth_fail), SCRIPT(unreachable), SCRIPT(busy), SCRIPT(modem_noanswer), SCRIPT(retry),
    SCRIPT(expired), SCRIPT(callback), SCRIPT(multilink2), SCRIPT(drop),
    { "pppoe_ok", vpn_ok, (uint32_t)(sizeof vpn_ok / sizeof *vpn_ok), 0 }, /* the same states (assumed) */
    SCRIPT(modem_ok), SCRIPT(connect_now), SCRIPT(slow), SCRIPT(interactive), SCRIPT(eap_ui)
};
enum { SCRIPT_COUNT = sizeof scripts / sizeof *scripts };
static const sim_script script_asked = SCRIPT(callback_asked);

const sim_script *sim_script_at(uint32_t index)
{
    return index < SCRIPT_COUNT ? &scripts[index] : NULL;
}

const sim_script *sim_script_named(const char *name)
{
    for (uint32_t i = 0; i < SCRIPT_COUNT; i++)
        if (strcmp(scripts[i].name, name) == 0)
            return &scripts[i];
    return NULL;
}

/* --- One link ---------------------------------------------------------------------------------------------------------- */

struct sim_link {
    const rasx_sim_step *steps;
    uint32_t             count;
    uint32_t             next;
    uint32_t             subentry;  /* not 0: every step is this subentry's */
    uint32_t             retries;   /* steps of a refused retry that are still to be played: 7, 6, then the pause again */
    uint32_t             account;   /* enum sim_account: how the credentials of the last RasDial looked */
    uint32_t             pause_step; /* the step of the last pause */
    uint64_t             chance;
    const sim_script    *script;    /* held while steps point into it; NULL: static or own steps */
    rasx_sim_step       *own;       /* steps made for this dial */
    rasx_clock          *clock;
    rasx__event         *wake;
    const rasx__a32     *stop;
};

static const rasx_sim_step walk[] = { GO(4), GO(5), GO(6), GO(10), GO(6), GO(18), GO(14) };
enum { WALK_COUNT = sizeof walk / sizeof *walk };

/* The sequence of an entry that is not one plain device: every subentry walks 0 to 14 with a ConnectDevice/DeviceConnected pair
 * for each device of its chain (S2.3a), the walks interleaved step by step, then each link reports itself and one Connected
 * closes the bundle (S2.3d). 0 or 8. */
static uint32_t make_walks(sim_link *link, const pbk_entry *record, uint32_t first, uint32_t links)
{
    uint32_t longest = 0;
    uint32_t at = 0;
    size_t room = 1;

    for (uint32_t i = 0; i < links; i++) {
        uint32_t devices = record->links[first + i].device_count;
        uint32_t steps = 2 + 2 * (devices == 0 ? 1 : devices) + WALK_COUNT;

        room += steps + 1;
        longest = steps > longest ? steps : longest;
    }
    link->own = malloc(room * sizeof *link->own);
    if (link->own == NULL)
        return 8;
    for (uint32_t step = 0; step < longest; step++) {
        for (uint32_t i = 0; i < links; i++) {
            uint32_t devices = record->links[first + i].device_count;
            uint32_t pairs = 2 * (devices == 0 ? 1 : devices);
            rasx_sim_step *to = &link->own[at];

            if (step >= 2 + pairs + WALK_COUNT)
                continue;
            *to = walk[0];
            to->state = step < 2 ? step : step < 2 + pairs ? 2 + step % 2 : walk[step - 2 - pairs].state;
            to->subentry = i + 1;
            at++;
        }
    }
    for (uint32_t i = 0; links > 1 && i < links; i++, at++) {
        link->own[at] = walk[0];
        link->own[at].state = RASCS_SubEntryConnected;
        link->own[at].subentry = i + 1;
    }
    link->own[at] = walk[0];
    link->own[at++].state = RASCS_Connected;
    link->steps = link->own;
    link->count = at;
    return 0;
}

static void use(sim_link *link, const sim_script *script)
{
    link->steps = script->steps;
    link->count = script->count;
}

static int connects(const sim_link *link)
{
    for (uint32_t i = 0; i < link->count; i++)
        if (link->steps[i].state == RASCS_Connected && link->steps[i].error == 0 && link->steps[i].flags == 0)
            return 1;
    return 0;
}

static int asks_for_credentials(const sim_link *link)
{
    for (uint32_t i = 0; i < link->count; i++)
        if (link->steps[i].state == RASCS_RetryAuthentication)
            return 1;
    return 0;
}

static int is_star(const char16_t *text)
{
    return text[0] == '*' && text[1] == 0;
}

/* Chooses what to play. A script that was chosen for the entry is played as it stands, except that "*" as the callback number
 * asks for the number (S1.2) and wrong credentials cannot connect; with paused states a wrong pair may be tried again. */
static uint32_t script_open(const sim_link_request *request, sim_link **result, uint32_t *subentries)
{
    const pbk_entry *record = request->record;
    sim_link *link = calloc(1, sizeof *link);
    uint32_t code = 0;
    uint32_t most = 1;

    if (link == NULL)
        return 8;
    link->chance = request->seed;
    link->clock = request->clock;
    link->wake = request->wake;
    link->stop = request->stop;
    link->account = (uint32_t)sim_account_check(request->entry, request->params->szUserName, request->params->szPassword);
    link->script = sim_script_take(request->entry);
    if (is_star(request->params->szCallbackNumber)
        && (link->script == NULL || (link->script->name != NULL && strcmp(link->script->name, "callback") == 0))) {
        use(link, &script_asked);
    } else if (link->script != NULL) {
        use(link, link->script);
    } else if (record != NULL && request->subentry == 0
               && (record->link_count > 1 || record->links[0].device_count > 1)) {
        code = make_walks(link, record, 0, record->link_count);
    } else {
        const pbk_link *only = record == NULL ? NULL : &record->links[request->subentry == 0 ? 0 : request->subentry - 1];
        const char *type = only == NULL || only->device_count == 0 ? RASDT_Modem : only->devices[only->device_count - 1].type;

        if (only != NULL && only->device_count > 1)
            code = make_walks(link, record, (uint32_t)(only - record->links), 1);
        else
            use(link, sim_script_named(strcmp(type, RASDT_Modem) == 0 || strcmp(type, RASDT_Isdn) == 0 ? "modem_ok" : "vpn_ok"));
        link->subentry = request->subentry;
    }
    if (code == 0 && link->account == SIM_ACCOUNT_WRONG && connects(link) && !asks_for_credentials(link))
        use(link, sim_script_named((request->options & RDEOPT_PausedStates) != 0 ? "retry" : "auth_fail"));
    if (code != 0) {
        sim_script_give_back(link->script);
        free(link);
        return code;
    }
    for (uint32_t i = 0; i < link->count && link->subentry == 0; i++)
        most = link->steps[i].subentry > most ? link->steps[i].subentry : most;
    *subentries = most;
    *result = link;
    return 0;
}

/* Waits a step's delay. 0 when the link was stopped. */
static int wait_ms(sim_link *link, uint32_t delay_ms)
{
    uint64_t until = link->clock->now(link->clock) + (uint64_t)delay_ms * 1000000u;

    while (rasx__load(link->stop) == 0) {
        if (link->clock->now(link->clock) >= until)
            return 1;
        link->clock->wait(link->clock, link->wake, until, 0);
    }
    return 0;
}

/* A refused second attempt: AuthRetry, AuthNotify, and the pause once more (S8.42). */
static rasx_sim_step retry_step(const sim_link *link)
{
    rasx_sim_step step = link->steps[link->pause_step];

    step.delay_ms = SIM_DELAY_ANY;
    if (link->retries > 1) {
        step.state = link->retries == 3 ? RASCS_AuthRetry : RASCS_AuthNotify;
        step.error = 0;
        step.extended_error = 0;
    }
    return step;
}

static enum sim_link_news script_next(sim_link *link, int hurry, sim_link_report *report)
{
    rasx_sim_step step;
    uint32_t delay_ms;

    if (rasx__load(link->stop) != 0)
        return SIM_LINK_STOPPED;
    if (link->retries == 0 && link->next >= link->count)
        return SIM_LINK_QUIET;
    step = link->retries > 0 ? retry_step(link) : link->steps[link->next];
    delay_ms = step.delay_ms == SIM_DELAY_ANY ? 1 + (uint32_t)(sim_chance(&link->chance) % 20) : step.delay_ms;
    if (!hurry && delay_ms > 0 && !wait_ms(link, delay_ms))
        return SIM_LINK_STOPPED;
    if (link->retries > 0) {
        link->retries--;
    } else {
        if ((step.state & RASCS_PAUSED) != 0)
            link->pause_step = link->next;
        link->next++;
    }
    report->state = step.state;
    report->error = step.error;
    report->extended_error = step.extended_error;
    report->subentry = link->subentry != 0 ? link->subentry : step.subentry == 0 ? 1 : step.subentry;
    report->silent = (step.flags & RASX_SIM_SILENT) != 0;
    report->lasts_ns = RASX_NEVER;
    if ((step.flags & RASX_SIM_DROP) != 0)
        return SIM_LINK_LOST;
    if (step.state == RASCS_Connected && link->next < link->count && (link->steps[link->next].flags & RASX_SIM_DROP) != 0) {
        delay_ms = link->steps[link->next].delay_ms;
        if (delay_ms == SIM_DELAY_ANY)
            delay_ms = 1 + (uint32_t)(sim_chance(&link->chance) % 20);
        report->lasts_ns = (uint64_t)delay_ms * 1000000u;
    }
    return SIM_LINK_STATE;
}

static void script_resume(sim_link *link, const sim_link_request *request)
{
    link->account = (uint32_t)sim_account_check(request->entry, request->params->szUserName, request->params->szPassword);
    if (link->account == SIM_ACCOUNT_WRONG && link->steps[link->pause_step].state == RASCS_RetryAuthentication)
        link->retries = 3;
}

static void script_close(sim_link *link)
{
    sim_script_give_back(link->script);
    free(link->own);
    free(link);
}

const sim_link_kind sim_link_scripted = { script_open, script_next, script_resume, script_close };
