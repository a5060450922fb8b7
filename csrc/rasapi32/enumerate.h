/* enumerate.h: the grow protocol of the RasEnum functions (P1 in S4.0), written once.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RASX_ENUMERATE_H
#define RASX_ENUMERATE_H

#include <stddef.h>

#include "machine.h"

/* Fills `element`: zeroed, room for the newest layout, dwSize already set. A writer may fill every field of the newest layout:
 * only the caller's version_size bytes of it are handed out, because fields are only ever appended (S5.3). */
typedef void (*sim_element_writer)(void *context, uint32_t index, uint32_t version_size, void *element);

/* The arguments alone: 87 for a missing `bytes` or `count`, 632 for a dwSize that no version has (list may be NULL), else 0.
 * For functions that look at something else, such as a phone book, before they know how many elements there are. */
uint32_t sim_enumerate_check(const void *list, const uint32_t *bytes, const uint32_t *count, const uint32_t *sizes,
                             size_t size_count);

/* The whole protocol, the checks above included. `sizes` are the element's historical sizes, oldest first, newest last and at
 * most 2048. Returns 0, 87, 603 or 632. Does not call sim_enter or sim_leave. Any thread. */
uint32_t sim_enumerate(enum sim_function function, void *list, uint32_t *bytes, uint32_t *count, const uint32_t *sizes,
                       size_t size_count, uint32_t available, sim_element_writer write, void *context);

/* Forgets lists that are in the middle of seeming to grow (knob list_grows); for the machine's reset. */
void sim_enumerate_reset(void);

/* Copies UTF-8 text into an array of `room` UTF-16 units, cut at a character when it is too long; always ends in NUL. Malformed
 * bytes become U+FFFD. */
void sim_copy_utf16(char16_t *out, size_t room, const char *text);

#endif
