/* phonebook.c: reads rasphone.pbk files (S7) and keeps the last few books.
 *
 * SPDX-License-Identifier: MIT
 *
 * A book is one allocation: the tables, counted in a first pass over the bytes, and behind them the text in UTF-8, which the
 * second pass cuts up in place: a NUL replaces each line end, the first '=' of a line and the brackets of a section header.
 * So every string is a pointer into the text, nothing is lost, and pbk_format only has to walk over it.
 */
#include "phonebook.h"

#include <stdlib.h>
#include <string.h>

#include "../os.h"

enum { CACHED_BOOKS = 8, PATH_ROOM = 4096, MAX_DEVICES = 4 };

typedef struct pbk_slot { /* of the name table; open addressing, index 0 = free */
    uint32_t hash;
    uint32_t index;       /* entry + 1 */
} pbk_slot;

struct pbk_book {
    rasx__a32    references;
    uint32_t     entry_count;
    uint32_t     preamble_count; /* comment and blank lines before the first section */
    uint32_t     mask;           /* of slots */
    uint64_t     seed;
    const char  *path;
    pbk_line    *preamble;
    pbk_entry   *entries;
    const char **headers;        /* per entry: what stands before its '[' */
    pbk_slot    *slots;
};

/* Addresses that tell apart what has the same text: a line without '=', and a key that was not met yet. */
static const char no_key[] = "";
static const char not_met[] = "";

/* --- Lines ------------------------------------------------------------------------------------------------------------- */

enum line_kind { LINE_PLAIN, LINE_IDLE, LINE_SECTION, LINE_NETCOMPONENTS, LINE_MEDIA, LINE_DEVICE };

/* The next line without its end: CR, LF or CRLF. 0 at the end of the text. */
static int next_line(const char **at, const char *end, const char **line, size_t *length)
{
    const char *p = *at;

    if (p == end)
        return 0;
    *line = p;
    while (p != end && *p != '\r' && *p != '\n')
        p++;
    *length = (size_t)(p - *line);
    if (p != end && *p++ == '\r' && p != end && *p == '\n')
        p++;
    *at = p;
    return 1;
}

static int begins(const char *line, size_t length, const char *marker)
{
    size_t count = strlen(marker);

    return length >= count && memcmp(line, marker, count) == 0;
}

/* Markers are case-sensitive, because DEVICE= begins a group in which Device= is a key (S7.2). A header's name runs from the
 * first '[' to the last ']', so that a name may contain brackets; a '[' without ']' is an ordinary line (assumed). */
static enum line_kind kind_of(const char *line, size_t length)
{
    size_t i = 0;

    while (i < length && (line[i] == ' ' || line[i] == '\t'))
        i++;
    if (i == length || line[i] == ';' || line[i] == '#')
        return LINE_IDLE;
    if (line[i] == '[' && memchr(line + i, ']', length - i) != NULL)
        return LINE_SECTION;
    if (begins(line, length, "MEDIA="))
        return LINE_MEDIA;
    if (begins(line, length, "DEVICE="))
        return LINE_DEVICE;
    return begins(line, length, "NETCOMPONENTS=") ? LINE_NETCOMPONENTS : LINE_PLAIN;
}

/* --- Encoding ---------------------------------------------------------------------------------------------------------- */

/* What cp1252 has at 0x80 to 0x9F; its five holes are the C1 characters of the same number, as Windows maps them. */
static const uint16_t high_1252[32] = {
    0x20AC, 0x0081, 0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160, 0x2039, 0x0152, 0x008D, 0x017D, 0x008F,
    0x0090, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x009D, 0x017E, 0x0178
};

static uint32_t from_1252(char byte)
{
    uint8_t b = (uint8_t)byte;

    return b >= 0x80 && b < 0xA0 ? high_1252[b - 0x80] : b;
}

static size_t width_1252(const char *bytes, size_t count)
{
    size_t width = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t c = from_1252(bytes[i]);
        width += c < 0x80 ? 1 : c < 0x800 ? 2 : 3;
    }
    return width;
}

static void convert_1252(const char *bytes, size_t count, char *out)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t c = from_1252(bytes[i]);

        if (c < 0x80) {
            *out++ = (char)c;
        } else if (c < 0x800) {
            *out++ = (char)(0xC0 | c >> 6);
            *out++ = (char)(0x80 | (c & 0x3F));
        } else {
            *out++ = (char)(0xE0 | c >> 12);
            *out++ = (char)(0x80 | (c >> 6 & 0x3F));
            *out++ = (char)(0x80 | (c & 0x3F));
        }
    }
}

/* Strict: no overlong forms, no surrogates, nothing above U+10FFFF. */
static int is_utf8(const uint8_t *p, size_t count)
{
    const uint8_t *end = p + count;

    while (p != end) {
        uint8_t b = *p++;
        uint8_t low = 0x80;
        uint8_t high = 0xBF;
        int more;

        if (b < 0x80)
            continue;
        if (b < 0xC2 || b > 0xF4)
            return 0;
        more = b < 0xE0 ? 1 : b < 0xF0 ? 2 : 3;
        if (b == 0xE0) low = 0xA0;
        if (b == 0xED) high = 0x9F;
        if (b == 0xF0) low = 0x90;
        if (b == 0xF4) high = 0x8F;
        while (more-- > 0) {
            if (p == end || *p < low || *p > high)
                return 0;
            p++;
            low = 0x80;
            high = 0xBF;
        }
    }
    return 1;
}

/* --- Names ------------------------------------------------------------------------------------------------------------- */

static char fold(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* FNV-1a from a random start, mixed at the end: a file cannot know which names will collide. */
static uint32_t hash_of(const char *name, uint64_t seed)
{
    uint64_t h = seed ^ UINT64_C(0xCBF29CE484222325);

    for (; *name != '\0'; name++)
        h = (h ^ (uint8_t)fold(*name)) * UINT64_C(0x100000001B3);
    h ^= h >> 32;
    h *= UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(h >> 32);
}

static int same_name(const char *a, const char *b)
{
    while (*a != '\0' && fold(*a) == fold(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

/* The slot that holds the name, or the free one where it belongs. At most half of the slots are used. */
static pbk_slot *slot_of(const pbk_book *book, const char *name, uint32_t hash)
{
    uint32_t i = hash & book->mask;

    while (book->slots[i].index != 0 &&
           (book->slots[i].hash != hash || !same_name(book->entries[book->slots[i].index - 1].name, name)))
        i = (i + 1) & book->mask;
    return &book->slots[i];
}

/* --- Parsing ----------------------------------------------------------------------------------------------------------- */

typedef struct pbk_sizes {
    size_t entries, lines, links, text;
} pbk_sizes;

/* The first pass: checks every limit and counts, so that the second cannot fail. 0 or 625. */
static uint32_t measure(const char *bytes, size_t count, int utf8, pbk_sizes *sizes)
{
    const char *at = bytes;
    const char *line;
    size_t length;

    memset(sizes, 0, sizeof *sizes);
    while (next_line(&at, bytes + count, &line, &length)) {
        enum line_kind kind = kind_of(line, length);
        size_t width = utf8 ? length : width_1252(line, length);

        if (width > PBK_MAX_LINE)
            return 625;
        if (kind == LINE_SECTION) {
            if (++sizes->entries > PBK_MAX_ENTRIES)
                return 625;
            continue;
        }
        if (sizes->entries == 0 && kind != LINE_IDLE)
            return 625;
        if (++sizes->lines > PBK_MAX_LINES)
            return 625;
        if (kind == LINE_MEDIA && ++sizes->links > PBK_MAX_LINKS)
            return 625;
    }
    sizes->text = (utf8 ? count : width_1252(bytes, count)) + 1; /* a last line without end needs its NUL */
    return 0;
}

static size_t rounded(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

/* The book with its empty tables, and the place of its text. NULL without memory. */
static pbk_book *allocate(const char *path, const pbk_sizes *sizes, pbk_line **lines, pbk_link **links, char **text)
{
    size_t slots = 2;
    size_t path_size = strlen(path) + 1;
    size_t total;
    pbk_book *book;
    char *at;

    while (slots < 2 * sizes->entries)
        slots *= 2;
    total = rounded(sizeof *book) + rounded(sizes->entries * sizeof *book->entries) +
            rounded(sizes->entries * sizeof *book->headers) + rounded(slots * sizeof *book->slots) +
            rounded(sizes->links * sizeof **links) + rounded(sizes->lines * sizeof **lines) + path_size + sizes->text;
    book = malloc(total);
    if (book == NULL)
        return NULL;
    memset(book, 0, total - path_size - sizes->text);
    at = (char *)book + rounded(sizeof *book);
    book->entries = (pbk_entry *)(void *)at;
    at += rounded(sizes->entries * sizeof *book->entries);
    book->headers = (const char **)(void *)at;
    at += rounded(sizes->entries * sizeof *book->headers);
    book->slots = (pbk_slot *)(void *)at;
    at += rounded(slots * sizeof *book->slots);
    *links = (pbk_link *)(void *)at;
    at += rounded(sizes->links * sizeof **links);
    *lines = (pbk_line *)(void *)at;
    at += rounded(sizes->lines * sizeof **lines);
    memcpy(at, path, path_size);
    book->path = at;
    *text = at + path_size;
    book->mask = (uint32_t)(slots - 1);
    book->entry_count = 0;
    rasx__store(&book->references, 1);
    if (rasx__random(&book->seed, sizeof book->seed) != 0)
        book->seed = 0;
    return book;
}

/* Cuts a header line: its blanks, the name and what follows the last ']' become three strings in a row. */
static void add_entry(pbk_book *book, char *line, size_t length, pbk_line *lines, pbk_link *links)
{
    pbk_entry *entry = &book->entries[book->entry_count];
    char *open = memchr(line, '[', length);
    char *close = line + length;
    pbk_slot *slot;
    uint32_t hash;

    while (*--close != ']') {}
    *open = '\0';
    *close = '\0';
    entry->name = open + 1;
    entry->lines = lines;
    entry->links = links;
    book->headers[book->entry_count++] = line;
    hash = hash_of(entry->name, book->seed);
    slot = slot_of(book, entry->name, hash);
    if (slot->index == 0) { /* of entries with the same name the first wins */
        slot->hash = hash;
        slot->index = book->entry_count;
    }
}

static void add_link(pbk_link *link, const pbk_line *line, uint32_t number)
{
    link->media = line->value;
    link->port = not_met;
    link->device_name = not_met;
    link->first_line = number;
}

static void add_device(pbk_link *link, const pbk_line *line, uint32_t number)
{
    pbk_device *device = &link->devices[link->device_count++];

    device->type = line->value;
    device->phone_number = not_met;
    device->first_line = number;
}

/* The second pass over the book's own text, which ends in a spare byte. */
static void fill(pbk_book *book, char *text, size_t count, pbk_line *lines, pbk_link *links)
{
    const char *at = text;
    const char *found;
    size_t length;
    pbk_link *link = NULL;
    pbk_device *device = NULL; /* open groups; NULL also inside a fifth device, whose lines are only kept (S7.2: 1 to 4) */

    book->preamble = lines;
    while (next_line(&at, text + count, &found, &length)) {
        char *line = text + (found - text);
        enum line_kind kind = kind_of(line, length);
        pbk_entry *entry;
        uint32_t number;
        char *equals;

        line[length] = '\0';
        if (kind == LINE_SECTION) {
            add_entry(book, line, length, lines, links);
            link = NULL;
            device = NULL;
            continue;
        }
        equals = memchr(line, '=', length);
        lines->key = equals == NULL ? no_key : line;
        lines->value = equals == NULL ? line : equals + 1;
        if (equals != NULL)
            *equals = '\0';
        if (book->entry_count == 0) {
            book->preamble_count++;
            lines++;
            continue;
        }
        entry = &book->entries[book->entry_count - 1];
        number = entry->line_count++;
        if (kind == LINE_MEDIA) {
            link = links++;
            device = NULL;
            entry->link_count++;
            add_link(link, lines, number);
        } else if (kind == LINE_NETCOMPONENTS) {
            link = NULL;
            device = NULL;
        } else if (kind == LINE_DEVICE && link != NULL) {
            device = NULL;
            if (link->device_count < MAX_DEVICES) {
                add_device(link, lines, number);
                device = &link->devices[link->device_count - 1];
            }
        } else if (device != NULL) {
            if (device->phone_number == not_met && strcmp(lines->key, "PhoneNumber") == 0)
                device->phone_number = lines->value;
        } else if (link != NULL && link->device_count == 0) {
            if (link->port == not_met && strcmp(lines->key, "Port") == 0)
                link->port = lines->value;
            else if (link->device_name == not_met && strcmp(lines->key, "Device") == 0)
                link->device_name = lines->value;
        }
        if (link != NULL)
            link->line_count++;
        if (device != NULL)
            device->line_count++;
        lines++;
    }
}

uint32_t pbk_parse(const char *path, const uint8_t *bytes, size_t count, pbk_book **book)
{
    const char *text;
    pbk_sizes sizes;
    pbk_line *lines;
    pbk_link *links;
    char *own;
    uint32_t code;
    int utf8;

    *book = NULL;
    if (count > PBK_MAX_FILE)
        return 625;
    if (count >= 3 && bytes[0] == 0xEF && bytes[1] == 0xBB && bytes[2] == 0xBF) {
        bytes += 3;
        count -= 3;
    }
    if (count == 0)
        bytes = (const uint8_t *)""; /* memchr and memcpy want an address even for nothing */
    if (memchr(bytes, 0, count) != NULL)
        return 625;
    text = (const char *)bytes;
    utf8 = is_utf8(bytes, count);
    code = measure(text, count, utf8, &sizes);
    if (code != 0)
        return code;
    *book = allocate(path == NULL ? "" : path, &sizes, &lines, &links, &own);
    if (*book == NULL)
        return 8;
    if (utf8)
        memcpy(own, text, count);
    else
        convert_1252(text, count, own);
    fill(*book, own, sizes.text - 1, lines, links);
    return 0;
}

/* --- Reading a book ---------------------------------------------------------------------------------------------------- */

void pbk_release(pbk_book *book)
{
    if (book != NULL && rasx__sub(&book->references, 1) == 1)
        free(book);
}

const char *pbk_path(const pbk_book *book)
{
    return book->path;
}

uint32_t pbk_count(const pbk_book *book)
{
    return book->entry_count;
}

const pbk_entry *pbk_at(const pbk_book *book, uint32_t index)
{
    return index < book->entry_count ? &book->entries[index] : NULL;
}

/* "" is no entry even when a file has a section of that name: to RasDial it means "by number". */
const pbk_entry *pbk_find(const pbk_book *book, const char *name)
{
    const pbk_slot *slot;

    if (*name == '\0')
        return NULL;
    slot = slot_of(book, name, hash_of(name, book->seed));
    return slot->index == 0 ? NULL : &book->entries[slot->index - 1];
}

const char *pbk_value(const pbk_entry *entry, const char *key)
{
    uint32_t end = entry->link_count == 0 ? entry->line_count : entry->links[0].first_line;

    for (uint32_t i = 0; i < end; i++)
        if (entry->lines[i].key != no_key && strcmp(entry->lines[i].key, key) == 0)
            return entry->lines[i].value;
    return NULL;
}

/* Appends to the text, or only counts as long as there is none. */
static void put(char *text, size_t *count, const char *piece)
{
    size_t length = strlen(piece);

    if (text != NULL)
        memcpy(text + *count, piece, length);
    *count += length;
}

static void put_lines(char *text, size_t *count, const pbk_line *lines, uint32_t line_count)
{
    for (uint32_t i = 0; i < line_count; i++) {
        put(text, count, lines[i].key);
        if (lines[i].key != no_key)
            put(text, count, "=");
        put(text, count, lines[i].value);
        put(text, count, "\r\n");
    }
}

static size_t put_book(char *text, const pbk_book *book)
{
    size_t count = 0;

    put_lines(text, &count, book->preamble, book->preamble_count);
    for (uint32_t i = 0; i < book->entry_count; i++) {
        const pbk_entry *entry = &book->entries[i];

        put(text, &count, book->headers[i]);
        put(text, &count, "[");
        put(text, &count, entry->name);
        put(text, &count, "]");
        put(text, &count, entry->name + strlen(entry->name) + 1);
        put(text, &count, "\r\n");
        put_lines(text, &count, entry->lines, entry->line_count);
    }
    return count;
}

char *pbk_format(const pbk_book *book, size_t *count)
{
    char *text;

    *count = put_book(NULL, book);
    text = malloc(*count + 1);
    if (text == NULL)
        return NULL;
    put_book(text, book);
    text[*count] = '\0';
    return text;
}

/* --- The cache --------------------------------------------------------------------------------------------------------- */

/* A parse that is under way, so that callers who want the same bytes wait for it instead of doing it again. */
typedef struct pbk_load {
    struct pbk_load *next;
    const char      *path;   /* of the thread that loads, which stays until `waiting` is 0 */
    rasx__file_id    id;
    pbk_book        *book;
    uint32_t         code;
    uint32_t         waiting;
    int              done;
} pbk_load;

typedef struct pbk_cached {
    pbk_book     *book; /* NULL: free */
    rasx__file_id id;
    uint64_t      used;
} pbk_cached;

static rasx__mutex cache_lock = RASX_MUTEX_INIT; /* guards all below; nothing is read or parsed under it */
static rasx__cond  cache_changed = RASX_COND_INIT;
static pbk_cached  cache[CACHED_BOOKS];
static pbk_load   *loads;
static uint64_t    cache_tick;

static int same_file(const rasx__file_id *a, const rasx__file_id *b)
{
    return a->size == b->size && a->mtime_ns == b->mtime_ns && a->inode == b->inode && a->device == b->device;
}

/* The cached book of these very bytes with a reference for the caller, or NULL. Under the lock. */
static pbk_book *cache_get(const char *path, const rasx__file_id *id)
{
    for (size_t i = 0; i < CACHED_BOOKS; i++)
        if (cache[i].book != NULL && same_file(&cache[i].id, id) && strcmp(cache[i].book->path, path) == 0) {
            cache[i].used = ++cache_tick;
            rasx__add(&cache[i].book->references, 1);
            return cache[i].book;
        }
    return NULL;
}

/* Takes a reference of its own. An older state of the same path is replaced, else the book that was unused the longest.
 * Returns what the caller must release after the lock. */
static pbk_book *cache_put(pbk_book *book, const rasx__file_id *id)
{
    pbk_cached *place = &cache[0];
    pbk_book *old;

    for (size_t i = 0; i < CACHED_BOOKS; i++) {
        if (cache[i].book != NULL && strcmp(cache[i].book->path, book->path) == 0) {
            place = &cache[i];
            break;
        }
        if (cache[i].book == NULL ? place->book != NULL : place->book != NULL && cache[i].used < place->used)
            place = &cache[i];
    }
    old = place->book;
    rasx__add(&book->references, 1);
    place->book = book;
    place->id = *id;
    place->used = ++cache_tick;
    return old;
}

static uint32_t load_file(const char *path, rasx__file_id *id, pbk_book **book)
{
    uint8_t *bytes = NULL;
    size_t count = 0;
    uint32_t code = rasx__file_read(path, PBK_MAX_FILE, &bytes, &count, id);

    if (code != 0)
        return code == 8 ? 8 : code == 223 ? 622 : 621;
    code = pbk_parse(path, bytes, count, book);
    free(bytes);
    return code == 625 ? 622 : code;
}

/* Waits for a load that another thread has begun, failed ones included: many threads at a broken file read it once. Under the
 * lock on entry, not on return. */
static uint32_t join_load(pbk_load *load, pbk_book **book)
{
    uint32_t code;

    load->waiting++;
    while (!load->done)
        rasx__cond_wait(&cache_changed, &cache_lock, UINT32_MAX);
    code = load->code;
    if (code == 0) {
        rasx__add(&load->book->references, 1);
        *book = load->book;
    }
    if (--load->waiting == 0)
        rasx__cond_signal_all(&cache_changed);
    rasx__unlock(&cache_lock);
    return code;
}

uint32_t pbk_open(const char *path, pbk_book **book)
{
    char own[PATH_ROOM];
    rasx__file_id id;
    pbk_load load;
    pbk_load **link;
    pbk_book *old = NULL;
    uint32_t code;

    *book = NULL;
    if (path == NULL) {
        if (rasx__default_phonebook(own, sizeof own) != 0)
            return 621;
        path = own;
    }
    code = rasx__file_stat(path, &id);
    if (code != 0)
        return code == 8 ? 8 : 621;
    if (id.size > PBK_MAX_FILE)
        return 622;
    rasx__lock(&cache_lock);
    *book = cache_get(path, &id);
    if (*book != NULL) {
        rasx__unlock(&cache_lock);
        return 0;
    }
    for (pbk_load *other = loads; other != NULL; other = other->next)
        if (same_file(&other->id, &id) && strcmp(other->path, path) == 0)
            return join_load(other, book);
    memset(&load, 0, sizeof load);
    load.path = path;
    load.id = id;
    load.next = loads;
    loads = &load;
    rasx__unlock(&cache_lock);

    code = load_file(path, &id, book); /* the file may have changed since; id is now that of the bytes read */

    rasx__lock(&cache_lock);
    load.done = 1;
    load.code = code;
    load.book = *book;
    if (code == 0)
        old = cache_put(*book, &id);
    for (link = &loads; *link != &load; link = &(*link)->next) {}
    *link = load.next; /* whoever comes now finds the cache, or tries again */
    rasx__cond_signal_all(&cache_changed);
    while (load.waiting > 0)
        rasx__cond_wait(&cache_changed, &cache_lock, UINT32_MAX);
    rasx__unlock(&cache_lock);
    pbk_release(old);
    return code;
}

void pbk_forget_all(void)
{
    pbk_book *old[CACHED_BOOKS];

    rasx__lock(&cache_lock);
    for (size_t i = 0; i < CACHED_BOOKS; i++) {
        old[i] = cache[i].book;
        cache[i].book = NULL;
    }
    rasx__unlock(&cache_lock);
    for (size_t i = 0; i < CACHED_BOOKS; i++)
        pbk_release(old[i]);
}
