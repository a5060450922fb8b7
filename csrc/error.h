/* error.h: codes, their names and our own texts for them, shared by the core and the simulated machine.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RASX_ERROR_H
#define RASX_ERROR_H

#include <stddef.h>
#include <stdint.h>

typedef struct rasx__error {
    uint32_t    code;
    const char *name;      /* the vendor's */
    const char *text;      /* ours, UTF-8, ends in a full stop */
    char        group;     /* 'A' to 'P' as in S6, 'W' other system codes, 'X' ours */
    uint8_t     transient; /* 1: an identical retry later may succeed */
    uint8_t     deprecated;
} rasx__error;

/* Both: static storage, NULL for a code that is not in ras_errors.def; any thread, no lock. */
const rasx__error *rasx__error_find(uint32_t code);
const char        *rasx__error_text(uint32_t code);

/* "error 12345", or "error 0x80420112" from 0x80000000 on (S8.26). Always ends in NUL when room > 0; 20 bytes are enough. */
void rasx__error_fallback(uint32_t code, char *text, size_t room);

#endif
