/* text.h: UTF-8 on our side, UTF-16 on the vendor's.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RASX_TEXT_H
#define RASX_TEXT_H

#include <stddef.h>
#include <stdint.h>
#ifdef __APPLE__
typedef uint_least16_t char16_t; /* macOS has no <uchar.h> */
#elif !defined(__cplusplus)
#include <uchar.h>
#endif

/* Strict: 0, or -1 for malformed UTF-8 (overlong, surrogates, above U+10FFFF) or more than room - 1 units. Always ends in NUL
 * when room > 0; *units (may be NULL) is the length. */
int rasx__to_utf16(const char *text, char16_t *out, size_t room, size_t *units);
/* Like rasx__to_utf16, but each unit is combined with pad[i] (XOR), so that the clear text never stands in memory. `out` gets
 * no NUL. */
int rasx__to_utf16_masked(const char *text, const char16_t *pad, char16_t *out, size_t room, size_t *units);
/* Reads at most `most` units or up to a NUL; unpaired surrogates become U+FFFD; cuts at a character when room is short.
 * Always ends in NUL. Returns the bytes written without the NUL. */
size_t rasx__to_utf8(const char16_t *text, size_t most, char *out, size_t room);
size_t rasx__utf16_length(const char16_t *text, size_t most); /* units before the NUL, at most `most` */

#endif
