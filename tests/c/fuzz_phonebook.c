/* fuzz_phonebook.c: any bytes at all for the phone-book reader, and the round trip parse, format, parse.
 *
 * SPDX-License-Identifier: MIT
 *
 * A libFuzzer target (clang -fsanitize=fuzzer). With -DRASX_FUZZ_MAIN it is a program that replays the files it is given.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../csrc/rasapi32/phonebook.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define MUST(expr) ((expr) ? (void)0 : broken(__LINE__, #expr))

static void broken(int line, const char *what)
{
    fprintf(stderr, "fuzz_phonebook.c:%d: does not hold: %s\n", line, what);
    abort();
}

/* Touches every string and checks that groups lie within each other. */
static void check_entry(const pbk_book *book, const pbk_entry *entry)
{
    uint32_t at = 0;

    MUST(*entry->name == '\0' ? pbk_find(book, entry->name) == NULL : pbk_find(book, entry->name) != NULL);
    MUST(*entry->name == '\0' || pbk_find(book, entry->name) <= entry); /* the first of that name */
    for (uint32_t i = 0; i < entry->line_count; i++)
        MUST(strlen(entry->lines[i].key) + strlen(entry->lines[i].value) <= PBK_MAX_LINE);
    for (uint32_t i = 0; i < entry->link_count; i++) {
        const pbk_link *link = &entry->links[i];
        uint32_t inner = link->first_line;

        MUST(link->first_line >= at && link->line_count >= 1 && link->line_count <= entry->line_count - link->first_line);
        MUST(strcmp(entry->lines[link->first_line].key, "MEDIA") == 0);
        MUST(link->media == entry->lines[link->first_line].value);
        MUST(strlen(link->port) + strlen(link->device_name) <= 2 * PBK_MAX_LINE);
        MUST(link->device_count <= 4);
        at = link->first_line + link->line_count;
        for (uint32_t j = 0; j < link->device_count; j++) {
            const pbk_device *device = &link->devices[j];

            MUST(device->first_line > inner && device->line_count >= 1 && device->first_line + device->line_count <= at);
            MUST(strcmp(entry->lines[device->first_line].key, "DEVICE") == 0);
            MUST(device->type == entry->lines[device->first_line].value);
            MUST(strlen(device->phone_number) <= PBK_MAX_LINE);
            inner = device->first_line;
        }
    }
    (void)pbk_value(entry, "PhoneNumber");
}

static void check_same_entry(const pbk_entry *a, const pbk_entry *b)
{
    MUST(strcmp(a->name, b->name) == 0);
    MUST(a->line_count == b->line_count && a->link_count == b->link_count);
    for (uint32_t i = 0; i < a->line_count; i++)
        MUST(strcmp(a->lines[i].key, b->lines[i].key) == 0 && strcmp(a->lines[i].value, b->lines[i].value) == 0);
    for (uint32_t i = 0; i < a->link_count; i++) {
        const pbk_link *x = &a->links[i];
        const pbk_link *y = &b->links[i];

        MUST(strcmp(x->media, y->media) == 0 && strcmp(x->port, y->port) == 0 && strcmp(x->device_name, y->device_name) == 0);
        MUST(x->device_count == y->device_count && x->first_line == y->first_line && x->line_count == y->line_count);
        for (uint32_t j = 0; j < x->device_count; j++)
            MUST(strcmp(x->devices[j].type, y->devices[j].type) == 0 &&
                 strcmp(x->devices[j].phone_number, y->devices[j].phone_number) == 0 &&
                 x->devices[j].line_count == y->devices[j].line_count);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    pbk_book *book;
    pbk_book *again;
    uint32_t code = pbk_parse("fuzz.pbk", bytes, count, &book);
    char *text;
    char *second;
    size_t length;
    size_t second_length;

    if (code != 0) {
        MUST((code == 625 || code == 8) && book == NULL);
        return 0;
    }
    for (uint32_t i = 0; i < pbk_count(book); i++)
        check_entry(book, pbk_at(book, i));
    MUST(pbk_at(book, pbk_count(book)) == NULL);
    text = pbk_format(book, &length);
    if (text != NULL && length <= PBK_MAX_FILE) {
        MUST(pbk_parse("again.pbk", (const uint8_t *)text, length, &again) == 0);
        MUST(pbk_count(again) == pbk_count(book));
        for (uint32_t i = 0; i < pbk_count(book); i++)
            check_same_entry(pbk_at(book, i), pbk_at(again, i));
        second = pbk_format(again, &second_length);
        MUST(second == NULL || (second_length == length && memcmp(second, text, length) == 0));
        free(second);
        pbk_release(again);
    }
    free(text);
    pbk_release(book);
    return 0;
}

#ifdef RASX_FUZZ_MAIN
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        uint8_t *bytes = NULL;
        size_t count = 0;
        size_t more;

        if (file == NULL) {
            fprintf(stderr, "%s: cannot be read\n", argv[i]);
            return 1;
        }
        do {
            uint8_t *larger = realloc(bytes, count + 65536);

            if (larger == NULL) {
                fprintf(stderr, "%s: too large for the memory\n", argv[i]);
                free(bytes);
                fclose(file);
                return 1;
            }
            bytes = larger;
            more = fread(bytes + count, 1, 65536, file);
            count += more;
        } while (more > 0);
        fclose(file);
        LLVMFuzzerTestOneInput(bytes, count);
        free(bytes);
    }
    printf("ok %d files\n", argc - 1);
    return 0;
}
#endif
