/* machine.h: what the files of the simulated RAS machine share: its lock, knobs, faults, journal.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every API function is bracketed:
 *
 *     uint32_t code;
 *     if (sim_enter(SIM_RasHangUpW, &code)) return code;          a fault answers instead
 *     ...
 *     return sim_leave(SIM_RasHangUpW, code, "h=%p", handle);     journal line, returns code
 */
#ifndef RASX_MACHINE_H
#define RASX_MACHINE_H

#include "../clock.h"
#include "../rasapi.h"
#include "../ras_ext.h"
#include "phonebook.h"

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

#define SIM_FUNCTION_ID(ret, name, arguments, required) SIM_##name,
enum sim_function { RASAPI_FUNCTIONS(SIM_FUNCTION_ID) SIM_FUNCTION_COUNT };

/* Nasty on request: X(name, initial, "S-numbers: meaning"). -1 as an entry's own value means "as the machine". */
#define SIM_KNOBS(X)                                                                                                          \
    X(early, 0, "S1.4, S8.5: this many notifications arrive before RasDial returns (1000: all)")                              \
    X(early_on_caller, 0, "S1.6: 1 = the early ones come on the thread that called RasDial")                                  \
    X(threads, 0, "S1.6: 1 = each notification comes on a thread of its own; 2 = from two threads at once")                   \
    X(repeat_percent, 0, "S8.18: chance that a notification is repeated (seeded)")                                            \
    X(skip_percent, 0, "S2.3, S8.22: chance that an intermediate state is not announced (seeded)")                            \
    X(late, 0, "S1.4, S8.11: this many notifications come after RasHangUp has returned")                                      \
    X(silent, 0, "S1.4: from notification number n on (counted from 1) no handler is called; 0: never silent")                \
    X(error_then, 0, "S8.19 to 21: after an error: 0 nothing, 1 Disconnected with 0, 2 Disconnected with the error")          \
    X(final_on_hangup, 0, "S3: hang-up of an unfinished dial: 0 nothing, 1 Disconnected with 0, 2 Disconnected with 631")     \
    X(dial_code, 0, "S1.12: RasDial itself returns this code at once")                                                        \
    X(dial_code_handle, 0, "S8.1: 1 = with dial_code the handle is non-NULL nevertheless")                                    \
    X(dial_code_notify, 0, "S1.4: 1 = with dial_code the failure is announced too")                                           \
    X(by_callback, 0, "S1.12: 1 = 623, 633, 756 and the like arrive by notification instead of by return")                    \
    X(block_dial, 0, "S8.7: 1 = RasDial does not return until released")                                                      \
    X(dial_delay_ms, 0, "S8.5: how long RasDial takes to return")                                                             \
    X(block_status, 0, "S3: 1 = RasGetConnectStatus does not return until released")                                          \
    X(block_hangup, 0, "S3: 1 = RasHangUp does not return until released")                                                    \
    X(hangup_delay_ms, 100, "S3: from RasHangUp until the port is free")                                                      \
    X(hangup_code, 0, "S8.49: RasHangUp returns this code and does nothing (753)")                                            \
    X(gone_code, 6, "S8.44: what RasGetConnectStatus says of a handle that is gone: 6 or 668")                                \
    X(never_gone, 0, "S8.44: 1 = the status never becomes invalid")                                                           \
    X(status_stub, 0, "S4.16: 1 = status returns 0 for any handle and fills nothing, as Wine's stub does")                    \
    X(closing_state, 8193, "S3 UNSURE: the state that status shows while a hang-up runs; 0: the last one entered")            \
    X(watch_fires_once, 0, "S4.13: 1 = a registration signals its event once only until renewed, 2 = renewing is of no use")  \
    X(watch_spurious, 0, "S4.13, S8.72: 1 = each state that any dial enters signals every registered event for nothing")      \
    X(watch_silent, 0, "S4.13: 1 = registered events are never signalled")                                                    \
    X(reuse_handles, 0, "S8.13: 1 = a freed handle value is given to the next dial")                                          \
    X(known_notify, 1, "S1.8, S8.35: dial of a connected entry: 1 = one Connected notification, 0 = none")                    \
    X(list_dialing, 0, "S4.2: 1 = RasEnumConnections lists connections while they are being dialled")                         \
    X(list_grows, 0, "S8.55: the list seems to have grown this many times between two calls")                                 \
    X(empty_touches, 1, "S4.0: an empty list: 1 = *cb becomes 0, 0 = *cb stays untouched")                                    \
    X(link_gone, 1, "S8.48: status of a link that was hung up by itself: 0 = as before, 1 = Disconnected, 2 = code 6")       \
    X(entry_size, 0, "S8.63: the largest RASENTRY that this system knows; others get 632. 0: the newest")                     \
    X(slow_device, 0, "S1.5: 1 = the dial goes on while a handler runs (slow devices)")                                       \
    X(message, 52429, "S1.4 UNSURE: unMsg of callbacks (0xCCCD)")

#define SIM_KNOB_ID(name, initial, about) SIM_KNOB_##name,
enum sim_knob { SIM_KNOBS(SIM_KNOB_ID) SIM_KNOB_COUNT };

/* Counts and times the call. 1 when a fault answers: *code is set and the journal line written. */
int      sim_enter(enum sim_function function, uint32_t *code);
/* Writes the journal line ("RasHangUpW h=0x1000 -> 0") and returns `code`. Never shows a password. */
uint32_t sim_leave(enum sim_function function, uint32_t code, const char *format, ...);
int64_t  sim_knob(const char *entry, enum sim_knob knob); /* entry UTF-8 or NULL */
uint32_t sim_random_below(uint32_t bound);                /* seeded */
rasx_clock *sim_clock(void);

/* Saved credentials (control.c keeps them): 1 when there are some for the entry. The password is not among them. */
int sim_saved_credentials(const char *entry, char16_t username[257], char16_t domain[16], int *has_password);

/* Changes them (S4.6): NULL leaves a member as it is, `forget` deletes the password, the placeholder leaves it. 0 or 8. */
uint32_t sim_change_credentials(const char *entry, const char16_t *username, const char16_t *password, int forget,
                                const char16_t *domain);

/* Connection notification (notification.c). Signals every event that is registered for one of these happenings (RASCN_ bits) of
 * this connection, or of all; SIM_NOTIFY_NOTHING: every event, for nothing. Disconnection ends what was registered for the handle.
 * May be called with the engine's lock; never waits. */
#define SIM_NOTIFY_NOTHING 0u
void sim_notify(uint32_t happening, uintptr_t handle);
int  sim_notify_anybody(void); /* is anything registered? */
void sim_notify_reset(void);

/* Devices: those of the machine (vpn: WAN Miniport (IKEv2), (L2TP), (PPTP), (SSTP); PPPoE: WAN Miniport (PPPOE); modem:
 * Standard Modem), and added ones. 0 past the end. */
int sim_device(uint32_t index, char type[52], char name[388]);

#endif
