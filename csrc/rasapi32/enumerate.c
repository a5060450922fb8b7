/* enumerate.c: the grow protocol of the RasEnum functions (P1 in S4.0), written once.
 *
 * SPDX-License-Identifier: MIT
 */
#include "enumerate.h"

#include <string.h>

#include "../text.h"

enum { NEWEST_BYTES = 2048 };

/* How often the list of a function has seemed to grow since the last success. Unordered on purpose: two callers at once may
 * share the growths among them, each still ends. */
static rasx__a32 grown[SIM_FUNCTION_COUNT];

void sim_enumerate_reset(void)
{
    for (size_t i = 0; i < SIM_FUNCTION_COUNT; i++)
        rasx__store(&grown[i], 0);
}

static uint32_t version_of(const void *list, const uint32_t *sizes, size_t size_count)
{
    uint32_t size;

    memcpy(&size, list, sizeof size); /* the caller's array need not be aligned */
    for (size_t i = 0; i < size_count; i++)
        if (sizes[i] == size)
            return size;
    return 0;
}

/* The order is the one that S4.4 reports: NULL before dwSize, and dwSize even when *bytes says that there is no room. */
uint32_t sim_enumerate_check(const void *list, const uint32_t *bytes, const uint32_t *count, const uint32_t *sizes,
                             size_t size_count)
{
    if (bytes == NULL || count == NULL)
        return 87;
    if (list != NULL && version_of(list, sizes, size_count) == 0)
        return 632;
    return 0;
}

/* Without a list the newest layout counts (assumed: no dwSize says otherwise). On 603 the array stays untouched and *count is
 * what is available, which programs rely on (S4.0). Room for less than one element gives 603 even for an empty list, as
 * measured on Windows 11 (S4.2).
 *
 * Knob list_grows: an array that would have been large enough is answered with 603 as often as the knob says, as if something
 * had been added since the size was asked, each time one element more than fits; then the real list comes, shorter than
 * announced, which is the other half of S8.55. */
uint32_t sim_enumerate(enum sim_function function, void *list, uint32_t *bytes, uint32_t *count, const uint32_t *sizes,
                       size_t size_count, uint32_t available, sim_element_writer write, void *context)
{
    uint64_t scratch[NEWEST_BYTES / sizeof(uint64_t)];
    uint32_t code = sim_enumerate_check(list, bytes, count, sizes, size_count);
    uint32_t size;
    uint32_t most;

    if (code != 0)
        return code;
    size = list == NULL ? sizes[size_count - 1] : version_of(list, sizes, size_count);
    most = UINT32_MAX / size; /* elements that *bytes can express */
    if (available > most)
        available = most;
    if (list == NULL) {
        if (available == 0)
            goto empty;
        *bytes = available * size;
        *count = available;
        return 603;
    }
    if (*bytes < size || *bytes / size < available) {
        *bytes = (available == 0 ? 1 : available) * size;
        *count = available;
        return 603;
    }
    if ((int64_t)rasx__load(&grown[function]) < sim_knob(NULL, SIM_KNOB_list_grows) && *bytes / size < most) {
        rasx__add(&grown[function], 1);
        *count = *bytes / size + 1;
        *bytes = *count * size;
        return 603;
    }
    rasx__store(&grown[function], 0);
    if (available == 0)
        goto empty;
    for (uint32_t i = 0; i < available; i++) {
        memset(scratch, 0, sizes[size_count - 1]);
        memcpy(scratch, &size, sizeof size);
        write(context, i, size, scratch);
        memcpy((uint8_t *)list + (size_t)i * size, scratch, size);
    }
    *bytes = available * size;
    *count = available;
    return 0;

empty:
    *count = 0;
    if (sim_knob(NULL, SIM_KNOB_empty_touches) != 0)
        *bytes = 0;
    return 0;
}

/* One character of strict UTF-8, or U+FFFD for one byte that begins none. Reads no further than the NUL. */
static uint32_t next_character(const unsigned char **at)
{
    const unsigned char *p = *at;
    uint32_t more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 : 1;
    uint32_t c;

    *at = p + 1;
    if (p[0] < 0x80)
        return p[0];
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return 0xFFFD;
    c = p[0] & (0x3Fu >> more);
    for (uint32_t i = 1; i <= more; i++) {
        if ((p[i] & 0xC0u) != 0x80)
            return 0xFFFD;
        c = c << 6 | (p[i] & 0x3Fu);
    }
    if ((more == 2 && c < 0x800) || (more == 3 && c < 0x10000) || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
        return 0xFFFD;
    *at = p + 1 + more;
    return c;
}

void sim_copy_utf16(char16_t *out, size_t room, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t units = 0;

    while (*at != 0) {
        uint32_t c = next_character(&at);
        size_t need = c > 0xFFFF ? 2 : 1;

        if (units + need >= room)
            break;
        if (need == 2) {
            c -= 0x10000;
            out[units++] = (char16_t)(0xD800 | c >> 10);
            out[units++] = (char16_t)(0xDC00 | (c & 0x3FF));
        } else {
            out[units++] = (char16_t)c;
        }
    }
    if (room > 0)
        out[units] = 0;
}
