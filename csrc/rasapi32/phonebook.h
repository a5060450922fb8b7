/* phonebook.h: reads rasphone.pbk files (S7): repeated keys, groups, order, unknown keys kept, CRLF, UTF-8 and cp1252.
 *
 * SPDX-License-Identifier: MIT
 *
 * All text in and out is UTF-8. Books are cached by path, size, time and inode, and reference counted, so an entry stays
 * valid until its book is released whatever happens to the file.
 */
#ifndef RASX_PHONEBOOK_H
#define RASX_PHONEBOOK_H

#include <stddef.h>
#include <stdint.h>

#define PBK_MAX_FILE    (64u << 20) /* bytes */
#define PBK_MAX_ENTRIES 65536u
#define PBK_MAX_LINE    65536u      /* bytes without the line end */
#define PBK_MAX_LINES   (1u << 23)  /* assumed, like the next: bounds the memory that a hostile file can claim */
#define PBK_MAX_LINKS   (1u << 18)

typedef struct pbk_line {   /* one line of an entry, as it stood: nothing is lost */
    const char *key;        /* "" for a line without '=' */
    const char *value;      /* then the whole line */
} pbk_line;

/* Lines are numbered within their entry. A group begins with its marker line (MEDIA=, DEVICE=), which counts as its first. */

typedef struct pbk_device { /* one DEVICE= group: a ConnectDevice/DeviceConnected pair */
    const char *type;       /* "vpn", "PPPoE", "modem" ...; case-sensitive */
    const char *phone_number; /* the first PhoneNumber=; "" when there is none */
    uint32_t    first_line, line_count; /* its lines, for alternates and unknown keys */
} pbk_device;

typedef struct pbk_link {   /* one MEDIA= group: a subentry */
    const char *media;      /* "rastapi", "serial" */
    const char *port;       /* Port= */
    const char *device_name;/* Device= */
    uint32_t    device_count;
    pbk_device  devices[4]; /* pre-switch, modem, pad, post-switch */
    uint32_t    first_line, line_count;
} pbk_link;

typedef struct pbk_entry {
    const char *name;
    uint32_t    line_count;
    const pbk_line *lines;  /* all lines after the section header, in order */
    uint32_t    link_count; /* at least 1 in a usable entry */
    const pbk_link *links;
} pbk_entry;

typedef struct pbk_book pbk_book;

/* Parses bytes; path is kept for the caller. 0; 8 no memory; 625 content that no phone book has (NUL bytes, a line over the
 * limit, no section before the first key ...): S1.12 lets callers report it as 621. Does not keep `bytes`. */
uint32_t pbk_parse(const char *path, const uint8_t *bytes, size_t count, pbk_book **book);
/* Opens a file through the cache. path NULL: the default phone book. 0; 621 missing or unreadable; 622 too large or
 * corrupt; 8 no memory. The caller releases *book. Any thread. */
uint32_t pbk_open(const char *path, pbk_book **book);
void     pbk_release(pbk_book *book);
void     pbk_forget_all(void); /* empties the cache (books in use live on) */

const char      *pbk_path(const pbk_book *book);
uint32_t         pbk_count(const pbk_book *book);
const pbk_entry *pbk_at(const pbk_book *book, uint32_t index);
const pbk_entry *pbk_find(const pbk_book *book, const char *name); /* NULL when missing; hashed, names compare without ASCII case */
/* The first value of a key before the first MEDIA= group; NULL when missing. */
const char      *pbk_value(const pbk_entry *entry, const char *key);
/* The file's text again, CRLF, UTF-8: what was read, line by line (also for a later writer). malloc'ed. */
char            *pbk_format(const pbk_book *book, size_t *count);

#endif
