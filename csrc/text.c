/* text.c: UTF-8 on our side, UTF-16 on the vendor's.
 *
 * SPDX-License-Identifier: MIT
 */
#include "text.h"

#include "os.h"

#define BAD 0xFFFFFFFFu

/* Takes one character off well-formed UTF-8 (RFC 3629): overlong forms, surrogates and anything above U+10FFFF are BAD. A NUL
 * is no continuation byte, so a text that is cut in the middle of a character ends here and is not read past. */
static uint32_t take_utf8(const unsigned char **at)
{
    const unsigned char *p = *at;
    const uint32_t lead = *p++;
    uint32_t code, least;
    int more;
    if (lead < 0x80) { *at = p; return lead; }
    if (lead >= 0xC2 && lead <= 0xDF) { code = lead & 0x1F; more = 1; least = 0x80; }
    else if (lead >= 0xE0 && lead <= 0xEF) { code = lead & 0x0F; more = 2; least = 0x800; }
    else if (lead >= 0xF0 && lead <= 0xF4) { code = lead & 0x07; more = 3; least = 0x10000; }
    else return BAD;
    while (more-- > 0) {
        const uint32_t next = *p;
        if ((next & 0xC0) != 0x80) return BAD;
        p++;
        code = code << 6 | (next & 0x3F);
    }
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return BAD;
    *at = p;
    return code;
}

/* Both directions of the public pair: pad NULL for clear text. Each unit goes through registers only. */
static int convert(const char *text, const char16_t *pad, char16_t *out, size_t most, size_t *length)
{
    const unsigned char *p = (const unsigned char *)(text != NULL ? text : "");
    size_t n = 0;
    for (;;) {
        char16_t pair[2];
        size_t i, count = 1;
        uint32_t code = take_utf8(&p);
        if (code == 0) break;
        if (code == BAD) return -1;
        if (code >= 0x10000) {
            code -= 0x10000;
            pair[0] = (char16_t)(0xD800 + (code >> 10));
            pair[1] = (char16_t)(0xDC00 + (code & 0x3FF));
            count = 2;
        } else {
            pair[0] = (char16_t)code;
            pair[1] = 0;
        }
        if (count > most - n) return -1;
        for (i = 0; i < count; i++, n++) out[n] = pad != NULL ? (char16_t)(pair[i] ^ pad[n]) : pair[i];
    }
    *length = n;
    return 0;
}

/* A failure leaves the empty text, so that a caller who ignores the code does not dial half a name. */
int rasx__to_utf16(const char *text, char16_t *out, size_t room, size_t *units)
{
    size_t n = 0;
    const int code = room > 0 ? convert(text, NULL, out, room - 1, &n) : -1;
    if (code != 0) n = 0;
    if (room > 0) out[n] = 0;
    if (units != NULL) *units = n;
    return code;
}

int rasx__to_utf16_masked(const char *text, const char16_t *pad, char16_t *out, size_t room, size_t *units)
{
    size_t n = 0;
    const int code = room > 0 ? convert(text, pad, out, room - 1, &n) : -1;
    if (code != 0) {
        n = 0;
        if (room > 0) rasx__wipe(out, room * sizeof *out); /* half a password is of use to an attacker only */
    }
    if (units != NULL) *units = n;
    return code;
}

size_t rasx__utf16_length(const char16_t *text, size_t most)
{
    size_t n = 0;
    while (n < most && text[n] != 0) n++;
    return n;
}

size_t rasx__to_utf8(const char16_t *text, size_t most, char *out, size_t room)
{
    size_t i = 0, n = 0;
    if (room == 0) return 0;
    while (i < most && text[i] != 0) {
        unsigned char bytes[4];
        size_t k, count;
        uint32_t code = text[i++];
        if (code >= 0xD800 && code <= 0xDFFF) {
            const uint32_t low = i < most ? text[i] : 0;
            if (code <= 0xDBFF && low >= 0xDC00 && low <= 0xDFFF) {
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                i++;
            } else {
                code = 0xFFFD;
            }
        }
        if (code < 0x80) {
            bytes[0] = (unsigned char)code;
            count = 1;
        } else if (code < 0x800) {
            bytes[0] = (unsigned char)(0xC0 | code >> 6);
            bytes[1] = (unsigned char)(0x80 | (code & 0x3F));
            count = 2;
        } else if (code < 0x10000) {
            bytes[0] = (unsigned char)(0xE0 | code >> 12);
            bytes[1] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
            bytes[2] = (unsigned char)(0x80 | (code & 0x3F));
            count = 3;
        } else {
            bytes[0] = (unsigned char)(0xF0 | code >> 18);
            bytes[1] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
            bytes[2] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
            bytes[3] = (unsigned char)(0x80 | (code & 0x3F));
            count = 4;
        }
        if (count > room - 1 - n) break;
        for (k = 0; k < count; k++) out[n++] = (char)bytes[k];
    }
    out[n] = '\0';
    return n;
}
