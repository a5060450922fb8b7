/* test_phonebook.c: the reader of rasphone.pbk files: structure, round trip, encodings, limits, cache.
 *
 * SPDX-License-Identifier: MIT
 *
 * Reads tests/data below the current folder, or the folder in RASX_TEST_DATA.
 */
#include "testhelp.h"

#include "../../csrc/os.h"
#include "../../csrc/rasapi32/phonebook.h"

static const char *data_file(const char *name)
{
    static char path[1024];
    const char *folder = getenv("RASX_TEST_DATA");

    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "tests/data", name);
    return path;
}

/* A name for a file of this test process; the caller removes it. */
static const char *scratch_file(char path[1024], const char *name)
{
    const char *folder = getenv("TMPDIR");

    if (folder == NULL) folder = getenv("TEMP");
    if (folder == NULL) folder = ".";
    snprintf(path, 1024, "%s/rasx-%u-%s", folder, (unsigned)rasx__process_id(), name);
    return path;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");

    REQUIRE(file != NULL);
    CHECK_EQ(fwrite(text, 1, strlen(text), file), strlen(text));
    CHECK_EQ(fclose(file), 0);
}

static uint32_t parse(const char *text, pbk_book **book)
{
    return pbk_parse("memory.pbk", (const uint8_t *)text, strlen(text), book);
}

/* Parses text that must be good; NULL (and a failed check) when it is not. */
static pbk_book *good(const char *text)
{
    pbk_book *book = NULL;

    CHECK_EQ(parse(text, &book), 0);
    return book;
}

static void check_format(const char *text, const char *expected)
{
    pbk_book *book = good(text);
    char *out;
    size_t count = 0;

    REQUIRE(book != NULL);
    out = pbk_format(book, &count);
    CHECK_STR(out, expected);
    CHECK_EQ(count, strlen(expected));
    free(out);
    pbk_release(book);
}

static char *repeat(const char *piece, size_t times)
{
    size_t length = strlen(piece);
    char *text = malloc(length * times + 1);

    for (size_t i = 0; text != NULL && i < times; i++)
        memcpy(text + i * length, piece, length);
    if (text != NULL)
        text[length * times] = '\0';
    return text;
}

/* --- Structure --------------------------------------------------------------------------------------------------------- */

/* S7.4: the smallest file that rasdial takes. */
TEST(test_smallest_file)
{
    pbk_book *book = NULL;
    const pbk_entry *entry;

    REQUIRE(pbk_open(data_file("minimal.pbk"), &book) == 0);
    CHECK_EQ(pbk_count(book), 1);
    entry = pbk_find(book, "VPN");
    REQUIRE(entry != NULL);
    CHECK_STR(entry->name, "VPN");
    CHECK_EQ(entry->line_count, 5);
    CHECK_EQ(entry->link_count, 1);
    CHECK_STR(entry->links[0].media, "rastapi");
    CHECK_STR(entry->links[0].port, "VPN2-0");
    CHECK_STR(entry->links[0].device_name, "WAN Miniport (IKEv2)");
    CHECK_EQ(entry->links[0].first_line, 0);
    CHECK_EQ(entry->links[0].line_count, 5);
    CHECK_EQ(entry->links[0].device_count, 1);
    CHECK_STR(entry->links[0].devices[0].type, "vpn");
    CHECK_STR(entry->links[0].devices[0].phone_number, "vpn.example.net");
    CHECK_EQ(entry->links[0].devices[0].first_line, 3);
    CHECK_EQ(entry->links[0].devices[0].line_count, 2);
    CHECK(pbk_value(entry, "PhoneNumber") == NULL); /* belongs to the group */
    CHECK_STR(pbk_path(book), data_file("minimal.pbk"));
    pbk_release(book);
    pbk_forget_all();
}

/* S7.3: a file as Windows 10 writes it, with one entry of each kind of device. */
TEST(test_full_file)
{
    static const char *const names[] = { "Office VPN", "Home PPPoE", "Modem Backup", "Branch Multilink" };
    static const char *const types[] = { "2", "5", "1", "1" };
    static const char *const devices[] = { "vpn", "PPPoE", "modem", "isdn" };
    static const char *const numbers[] = { "vpn.office.example", "example-isp", "555-0100", "555-0200" };
    pbk_book *book = NULL;
    const pbk_entry *entry;
    const pbk_device *device;
    uint32_t alternates = 0;
    uint32_t blobs = 0;

    REQUIRE(pbk_open(data_file("office.pbk"), &book) == 0);
    CHECK_EQ(pbk_count(book), 4);
    for (uint32_t i = 0; i < 4; i++) {
        entry = pbk_at(book, i);
        REQUIRE(entry != NULL && entry->link_count >= 1 && entry->links[0].device_count == 1);
        CHECK_STR(entry->name, names[i]);
        CHECK(pbk_find(book, names[i]) == entry);
        CHECK_STR(pbk_value(entry, "Encoding"), "1");
        CHECK_STR(pbk_value(entry, "PBVersion"), "8");
        CHECK_STR(pbk_value(entry, "Type"), types[i]);
        CHECK_STR(pbk_value(entry, "CustomDialDll"), "");
        CHECK(pbk_value(entry, "ms_server") != NULL);
        CHECK(pbk_value(entry, "NETCOMPONENTS") != NULL);
        CHECK(pbk_value(entry, "MEDIA") == NULL);
        CHECK(pbk_value(entry, "No such key") == NULL);
        CHECK_STR(entry->links[0].devices[0].type, devices[i]);
        CHECK_STR(entry->links[0].devices[0].phone_number, numbers[i]);
    }
    entry = pbk_at(book, 0);
    device = &entry->links[0].devices[0];
    for (uint32_t i = 0; i < device->line_count; i++)
        alternates += strcmp(entry->lines[device->first_line + i].key, "PhoneNumber") == 0;
    CHECK_EQ(alternates, 2);
    for (uint32_t i = 0; i < entry->line_count; i++)
        blobs += strcmp(entry->lines[i].key, "CustomAuthData") == 0;
    CHECK_EQ(blobs, 2);
    CHECK_STR(pbk_value(entry, "CustomAuthData"), "314442431A000000080000000000000001000000");
    entry = pbk_find(book, "Branch Multilink");
    CHECK_EQ(entry->link_count, 2);
    CHECK_STR(entry->links[0].port, "ISDN1-0");
    CHECK_STR(entry->links[1].media, "serial");
    CHECK_STR(entry->links[1].port, "COM4");
    CHECK_EQ(entry->links[1].device_count, 2);
    CHECK_STR(entry->links[1].devices[0].type, "switch");
    CHECK_STR(entry->links[1].devices[0].phone_number, "");
    CHECK_STR(entry->links[1].devices[1].type, "modem");
    CHECK_STR(entry->links[1].devices[1].phone_number, "555-0201");
    CHECK_EQ(entry->links[0].first_line + entry->links[0].line_count, entry->links[1].first_line);
    CHECK_EQ(entry->links[1].first_line + entry->links[1].line_count, entry->line_count);
    pbk_release(book);
    pbk_forget_all();
}

/* S7.2: the markers are told apart from the keys Device= and Media= by case alone; groups end where the next begins. */
TEST(test_groups)
{
    pbk_book *book = good("[e]\r\nDEVICE=stray\r\nPort=early\r\nmedia=key\r\nNETCOMPONENTS=\r\nms_server=1\r\n\r\n"
                          "MEDIA=serial\r\nDevice=The modem\r\nDevice=second\r\nPort=COM1\r\n"
                          "DEVICE=switch\r\nDEVICE=modem\r\nPhoneNumber=\r\nPhoneNumber=2\r\nPort=inner\r\nDEVICE=pad\r\n"
                          "DEVICE=switch\r\nPhoneNumber=4\r\nDEVICE=fifth\r\nPhoneNumber=5\r\n"
                          "MEDIA=\r\nNETCOMPONENTS=\r\nPort=outside\r\n"
                          "[bare]\r\nType=2\r\n[empty]\r\n");
    const pbk_entry *entry;

    REQUIRE(book != NULL);
    REQUIRE(pbk_count(book) == 3);
    entry = pbk_at(book, 0);
    REQUIRE(entry->link_count == 2);
    CHECK_STR(entry->links[0].device_name, "The modem");
    CHECK_STR(entry->links[0].port, "COM1");
    REQUIRE(entry->links[0].device_count == 4);
    CHECK_STR(entry->links[0].devices[0].type, "switch");
    CHECK_EQ(entry->links[0].devices[0].line_count, 1);
    CHECK_STR(entry->links[0].devices[1].phone_number, ""); /* the first one, although it is empty */
    CHECK_STR(entry->links[0].devices[3].type, "switch");
    CHECK_STR(entry->links[0].devices[3].phone_number, "4");
    CHECK_EQ(entry->links[0].devices[3].line_count, 2);
    CHECK_EQ(entry->links[0].line_count, 14); /* the fifth device's lines are the link's all the same */
    CHECK_STR(entry->links[1].media, "");
    CHECK_STR(entry->links[1].port, "");
    CHECK_STR(entry->links[1].device_name, "");
    CHECK_EQ(entry->links[1].device_count, 0);
    CHECK_EQ(entry->links[1].line_count, 1);
    CHECK_STR(pbk_value(entry, "Port"), "early");
    CHECK_EQ(pbk_find(book, "bare")->link_count, 0);
    CHECK_STR(pbk_value(pbk_find(book, "bare"), "Type"), "2");
    CHECK_EQ(pbk_find(book, "empty")->line_count, 0);
    CHECK(pbk_value(pbk_find(book, "empty"), "Type") == NULL);
    CHECK(pbk_at(book, 3) == NULL);
    pbk_release(book);
}

/* Assumed: names compare without ASCII case; of two entries with one name the first is found and both are listed. */
TEST(test_names)
{
    pbk_book *book = good("[Alpha]\r\nn=1\r\n[ALPHA]\r\nn=2\r\n[a]b[c]]\r\nn=3\r\n  [ blanks ] tail\r\nn=4\r\n[]\r\nn=5\r\n"
                          "[\xC3\x9C" "ber]\r\nn=6\r\n");

    REQUIRE(book != NULL);
    CHECK_EQ(pbk_count(book), 6);
    CHECK(pbk_find(book, "alpha") == pbk_at(book, 0));
    CHECK(pbk_find(book, "ALPHA") == pbk_at(book, 0));
    CHECK(pbk_find(book, "a]b[c]") == pbk_at(book, 2));
    CHECK(pbk_find(book, " blanks ") == pbk_at(book, 3));
    CHECK(pbk_find(book, "blanks") == NULL);
    CHECK(pbk_find(book, "") == NULL);
    CHECK(pbk_find(book, "\xC3\x9C" "BER") == pbk_at(book, 5));
    CHECK(pbk_find(book, "\xC3\xBC" "ber") == NULL);
    CHECK(pbk_find(book, "Alph") == NULL);
    CHECK(pbk_find(book, "Alpha ") == NULL);
    pbk_release(book);
}

TEST(test_empty_files)
{
    static const char *const texts[] = { "", "\r\n\r\n", "\xEF\xBB\xBF", "; a comment\r\n# another\r\n\t \r\n" };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        pbk_book *book = good(texts[i]);

        REQUIRE(book != NULL);
        CHECK_EQ(pbk_count(book), 0);
        CHECK(pbk_at(book, 0) == NULL);
        CHECK(pbk_find(book, "x") == NULL);
        pbk_release(book);
    }
    {
        pbk_book *book = NULL;

        CHECK_EQ(pbk_parse(NULL, NULL, 0, &book), 0); /* no path and no bytes at all */
        CHECK(book != NULL && *pbk_path(book) == '\0');
        pbk_release(book);
    }
}

/* --- Round trip -------------------------------------------------------------------------------------------------------- */

TEST(test_round_trip_bytes)
{
    static const char *const names[] = { "office.pbk", "minimal.pbk" };

    for (size_t i = 0; i < 2; i++) {
        rasx__file_id id;
        uint8_t *bytes = NULL;
        size_t count = 0;
        size_t length = 0;
        pbk_book *book = NULL;
        char *text;

        REQUIRE(rasx__file_read(data_file(names[i]), PBK_MAX_FILE, &bytes, &count, &id) == 0);
        CHECK_EQ(pbk_parse("x", bytes, count, &book), 0);
        REQUIRE(book != NULL);
        text = pbk_format(book, &length);
        CHECK(text != NULL && length == count && memcmp(text, bytes, count) == 0);
        free(text);
        free(bytes);
        pbk_release(book);
    }
}

TEST(test_round_trip_oddities)
{
    check_format("; head\n\n[a]\nx=1\n", "; head\r\n\r\n[a]\r\nx=1\r\n");
    check_format("[a]\rx=1\r\rno key\r=no name\r", "[a]\r\nx=1\r\n\r\nno key\r\n=no name\r\n");
    check_format("[a]\r\nx=1", "[a]\r\nx=1\r\n");
    check_format(" \t[a] ]tail=1\r\n[open\r\n[open=1\r\n==\r\n", " \t[a] ]tail=1\r\n[open\r\n[open=1\r\n==\r\n");
    check_format("[a]\n\r\n\rb", "[a]\r\n\r\n\r\nb\r\n");
    check_format("[a]\r\nk = v \r\n# c=1\r\n;\r\n", "[a]\r\nk = v \r\n# c=1\r\n;\r\n");
    check_format("\xEF\xBB\xBF[a]\r\n", "[a]\r\n");
    check_format("", "");
}

/* --- Encodings --------------------------------------------------------------------------------------------------------- */

TEST(test_utf8_with_mark)
{
    pbk_book *book = NULL;

    REQUIRE(pbk_open(data_file("utf8.pbk"), &book) == 0);
    CHECK_EQ(pbk_count(book), 4);
    CHECK(pbk_find(book, "B\xC3\xBCro M\xC3\xBCnchen") != NULL);
    CHECK(pbk_find(book, "Rocket \xF0\x9F\x9A\x80 link") != NULL);
    pbk_release(book);
    pbk_forget_all();
}

TEST(test_cp1252_file)
{
    pbk_book *book = NULL;
    const pbk_entry *entry;

    REQUIRE(pbk_open(data_file("cp1252.pbk"), &book) == 0);
    CHECK(pbk_find(book, "B\xC3\xBCro M\xC3\xBCnchen") == pbk_at(book, 0));
    entry = pbk_find(book, "Caf\xC3\xA9 \xE2\x80\x93 5 \xE2\x82\xAC");
    REQUIRE(entry == pbk_at(book, 1));
    CHECK_STR(entry->links[0].devices[0].phone_number, "vpn.caf\xC3\xA9.example");
    CHECK_STR(pbk_at(book, 2)->name, "Holes \xC2\x81\xC2\x8D\xC2\x8F\xC2\x90\xC2\x9D");
    pbk_release(book);
    pbk_forget_all();
}

/* One byte that no UTF-8 has makes the whole file cp1252; what stood there in good UTF-8 is then read as two characters. */
TEST(test_mixed_is_cp1252)
{
    static const char *const bad[] = { "\xFF", "\xC3", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\x80", "\xF5\x80\x80\x80",
                                       "\x80", "\xF0\x82\x82\xAC", "\xE2\x82" };
    static const char *const fine[] = { "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF", "\xE0\xA0\x80", "\xF0\x90\x80\x80", "\xC2\x80" };
    char text[64];

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pbk_book *book;

        snprintf(text, sizeof text, "[\xC3\xBC]\r\nx=%s\r\n", bad[i]);
        book = good(text);
        REQUIRE(book != NULL);
        CHECK_STR(pbk_at(book, 0)->name, "\xC3\x83\xC2\xBC");
        pbk_release(book);
    }
    for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
        pbk_book *book;

        snprintf(text, sizeof text, "[\xC3\xBC]\r\nx=%s\r\n", fine[i]);
        book = good(text);
        REQUIRE(book != NULL);
        CHECK_STR(pbk_at(book, 0)->name, "\xC3\xBC");
        CHECK_STR(pbk_value(pbk_at(book, 0), "x"), fine[i]);
        pbk_release(book);
    }
}

/* --- Limits and garbage ------------------------------------------------------------------------------------------------ */

TEST(test_garbage)
{
    static const char *const texts[] = { "Key=1\r\n[late]\r\n", "plain text", "MEDIA=rastapi\r\n[x]\r\n", "PK\x03\x04", "[open\r\n",
                                         "\xEF\xBB\xBF\xEF\xBB\xBF[a]\r\n" };
    static const uint8_t nul[] = "[a]\r\nb=\0\r\n";
    static const uint8_t utf16[] = { 0xFF, 0xFE, '[', 0, 'a', 0, ']', 0 };
    pbk_book *book = (pbk_book *)(void *)nul;
    uint64_t seed = test_setting("RASX_SEED", 1);

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        CHECK_EQ(parse(texts[i], &book), 625);
    CHECK_EQ(pbk_parse("x", nul, sizeof nul - 1, &book), 625);
    CHECK_EQ(pbk_parse("x", utf16, sizeof utf16, &book), 625);
    CHECK(book == NULL);
    for (int round = 0; round < 200; round++) {
        uint8_t bytes[512];
        uint32_t code;

        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = test_random(&seed) % 4 == 0 ? (uint8_t)"[]=\r\n;MEDIA"[test_random(&seed) % 11]
                                                     : (uint8_t)test_random(&seed);
        code = pbk_parse("x", bytes, sizeof bytes, &book);
        CHECK(code == 0 || code == 625);
        pbk_release(book);
    }
    pbk_release(NULL);
}

TEST(test_line_limit)
{
    char *text = malloc(PBK_MAX_LINE + 32);
    pbk_book *book = NULL;

    REQUIRE(text != NULL);
    memcpy(text, "[a]\r\n", 5);
    memset(text + 5, 'x', PBK_MAX_LINE + 1);
    CHECK_EQ(pbk_parse("x", (uint8_t *)text, 5 + PBK_MAX_LINE, &book), 0);
    CHECK(book != NULL && pbk_at(book, 0)->line_count == 1);
    pbk_release(book);
    CHECK_EQ(pbk_parse("x", (uint8_t *)text, 5 + PBK_MAX_LINE + 1, &book), 625);
    text[5] = (char)0xFC; /* cp1252: this line takes one byte more as UTF-8, which is what counts */
    CHECK_EQ(pbk_parse("x", (uint8_t *)text, 5 + PBK_MAX_LINE, &book), 625);
    CHECK_EQ(pbk_parse("x", (uint8_t *)text, 5 + PBK_MAX_LINE - 1, &book), 0);
    pbk_release(book);
    free(text);
}

TEST(test_size_limit)
{
    size_t count = (size_t)PBK_MAX_FILE + 1;
    uint8_t *bytes = calloc(count, 1);
    pbk_book *book = NULL;

    REQUIRE(bytes != NULL);
    CHECK_EQ(pbk_parse("x", bytes, count, &book), 625);
    free(bytes);
}

/* The last allowed number of entries works, and find stays fast with different names and with equal ones. */
TEST(test_most_entries)
{
    size_t room = (size_t)PBK_MAX_ENTRIES * 16;
    char *text = malloc(room);
    size_t at = 0;
    char name[16];
    pbk_book *book = NULL;

    REQUIRE(text != NULL);
    for (uint32_t i = 0; i < PBK_MAX_ENTRIES; i++)
        at += (size_t)snprintf(text + at, room - at, "[entry %u]\n", (unsigned)i);
    CHECK_EQ(pbk_parse("x", (uint8_t *)text, at, &book), 0);
    free(text);
    REQUIRE(book != NULL);
    CHECK_EQ(pbk_count(book), PBK_MAX_ENTRIES);
    for (uint32_t i = 0; i < PBK_MAX_ENTRIES; i++) {
        snprintf(name, sizeof name, "ENTRY %u", (unsigned)i);
        CHECK(pbk_find(book, name) == pbk_at(book, i));
    }
    pbk_release(book);
    text = repeat("[same]\n", PBK_MAX_ENTRIES);
    REQUIRE(text != NULL);
    book = good(text);
    free(text);
    REQUIRE(book != NULL);
    CHECK(pbk_find(book, "same") == pbk_at(book, 0));
    CHECK_EQ(pbk_count(book), PBK_MAX_ENTRIES);
    pbk_release(book);
}

TEST(test_million_entries)
{
    char *text = repeat("[a]\nMEDIA=x\n", 1000000);
    pbk_book *book = NULL;

    REQUIRE(text != NULL);
    CHECK_EQ(parse(text, &book), 625);
    CHECK(book == NULL);
    free(text);
}

/* Files that are small but would need very large tables. */
TEST(test_table_limits)
{
    char *lines = repeat("\n", (size_t)PBK_MAX_LINES + 8);
    char *links = repeat("MEDIA=\n", (size_t)PBK_MAX_LINKS + 2);
    pbk_book *book = NULL;

    REQUIRE(lines != NULL && links != NULL);
    CHECK_EQ(parse(lines, &book), 625);
    memcpy(links, "[abcd]\n", 7);
    CHECK_EQ(parse(links, &book), 625);
    links[7 * ((size_t)PBK_MAX_LINKS + 1)] = '\0';
    CHECK_EQ(parse(links, &book), 0);
    CHECK(book != NULL && pbk_at(book, 0)->link_count == PBK_MAX_LINKS);
    pbk_release(book);
    free(lines);
    free(links);
}

/* --- Files and the cache ----------------------------------------------------------------------------------------------- */

TEST(test_open_errors)
{
    char path[1024];
    pbk_book *book = NULL;
    FILE *file;

    CHECK_EQ(pbk_open("no such folder/no.pbk", &book), 621);
    CHECK_EQ(pbk_open("", &book), 621);
    CHECK_EQ(pbk_open(".", &book), 621);
#ifndef _WIN32
    CHECK_EQ(pbk_open("/dev/null", &book), 621);
#endif
    scratch_file(path, "open-errors.pbk");
    write_file(path, "Key=1\r\n");
    CHECK_EQ(pbk_open(path, &book), 622);
    CHECK_EQ(pbk_open(path, &book), 622); /* failures are not kept as books */
    file = fopen(path, "wb");
    REQUIRE(file != NULL);
    CHECK_EQ(fseek(file, (long)PBK_MAX_FILE, SEEK_SET), 0);
    CHECK_EQ(fputc('x', file), 'x');
    CHECK_EQ(fclose(file), 0);
    CHECK_EQ(pbk_open(path, &book), 622);
    CHECK(book == NULL);
    remove(path);
    CHECK_EQ(pbk_open(path, &book), 621);
}

/* The same file gives the same book; a changed one gives a new book, while the old one stays readable. */
TEST(test_cache)
{
    char path[1024];
    pbk_book *first = NULL;
    pbk_book *second = NULL;
    pbk_book *third = NULL;

    write_file(scratch_file(path, "cache.pbk"), "[one]\r\n");
    REQUIRE(pbk_open(path, &first) == 0);
    REQUIRE(pbk_open(path, &second) == 0);
    CHECK(first == second);
    pbk_release(second);
    write_file(path, "[two]\r\n[three]\r\n");
    REQUIRE(pbk_open(path, &second) == 0);
    CHECK(first != second);
    CHECK_EQ(pbk_count(second), 2);
    CHECK(pbk_find(second, "one") == NULL);
    CHECK(pbk_find(first, "one") != NULL);
    remove(path);
    CHECK_EQ(pbk_open(path, &third), 621);
    pbk_forget_all();
    CHECK(pbk_find(second, "three") != NULL);
    CHECK(pbk_find(first, "one") != NULL);
    pbk_release(first);
    pbk_release(second);
}

/* More files than the cache keeps: the least recently used goes, and held books stay valid. */
TEST(test_cache_is_bounded)
{
    enum { FILES = 12 };
    pbk_book *held[FILES] = { NULL };
    pbk_book *again = NULL;
    char path[1024];
    char name[32];

    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "bound-%d.pbk", i);
        scratch_file(path, name);
        snprintf(name, sizeof name, "[n%d]\r\n", i);
        write_file(path, name);
        REQUIRE(pbk_open(path, &held[i]) == 0);
        scratch_file(path, "bound-0.pbk"); /* touched every time, so it stays */
        REQUIRE(pbk_open(path, &again) == 0);
        CHECK(again == held[0]);
        pbk_release(again);
    }
    scratch_file(path, "bound-1.pbk"); /* gone from the cache, so read anew */
    REQUIRE(pbk_open(path, &again) == 0);
    CHECK(again != held[1]);
    pbk_release(again);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof name, "n%d", i);
        CHECK(pbk_find(held[i], name) != NULL);
        pbk_release(held[i]);
        snprintf(name, sizeof name, "bound-%d.pbk", i);
        remove(scratch_file(path, name));
    }
    pbk_forget_all();
}

enum { MOST_OPENERS = 10000 };

static struct {
    rasx__mutex lock;
    rasx__cond changed;
    uint32_t ready, left;
    int go;
    const char *path;
    pbk_book *books[MOST_OPENERS];
    uint32_t codes[MOST_OPENERS];
} crowd = { RASX_MUTEX_INIT, RASX_COND_INIT, 0, 0, 0, NULL, { NULL }, { 0 } };

static void open_in_crowd(void *argument)
{
    size_t number = (size_t)((pbk_book **)argument - crowd.books);

    rasx__lock(&crowd.lock);
    crowd.ready++;
    rasx__cond_signal_all(&crowd.changed);
    while (!crowd.go)
        rasx__cond_wait(&crowd.changed, &crowd.lock, UINT32_MAX);
    rasx__unlock(&crowd.lock);
    crowd.codes[number] = pbk_open(crowd.path, &crowd.books[number]);
    rasx__lock(&crowd.lock);
    crowd.left++;
    rasx__cond_signal_all(&crowd.changed);
    rasx__unlock(&crowd.lock);
}

/* All at once: how many threads could be started. Returns when they have ended. */
static uint32_t run_crowd(const char *path, uint32_t threads)
{
    uint32_t started = 0;

    crowd.ready = crowd.left = 0;
    crowd.go = 0;
    crowd.path = path;
    while (started < threads && rasx__thread_start(open_in_crowd, &crowd.books[started]) == 0)
        started++;
    rasx__lock(&crowd.lock);
    while (crowd.ready < started)
        rasx__cond_wait(&crowd.changed, &crowd.lock, UINT32_MAX);
    crowd.go = 1;
    rasx__cond_signal_all(&crowd.changed);
    while (crowd.left < started)
        rasx__cond_wait(&crowd.changed, &crowd.lock, UINT32_MAX);
    rasx__unlock(&crowd.lock);
    return started;
}

/* Many threads at the same book: one parse, hence one book. RASX_STRESS=15600 makes it 10,000. */
TEST(test_many_threads_one_parse)
{
    uint64_t wanted = test_load(64);
    uint32_t started;

    pbk_forget_all();
    started = run_crowd(data_file("office.pbk"), wanted > MOST_OPENERS ? MOST_OPENERS : (uint32_t)wanted);
    REQUIRE(started > 0);
    for (uint32_t i = 0; i < started; i++) {
        CHECK_EQ(crowd.codes[i], 0);
        CHECK(crowd.books[i] == crowd.books[0]);
        pbk_release(crowd.books[i]);
    }
    pbk_forget_all();
}

/* A broken file: everybody gets the error, nobody waits forever. */
TEST(test_many_threads_broken_file)
{
    char path[1024];
    uint32_t started;

    write_file(scratch_file(path, "crowd.pbk"), "Key=1\r\n");
    started = run_crowd(path, 32);
    for (uint32_t i = 0; i < started; i++) {
        CHECK_EQ(crowd.codes[i], 622);
        CHECK(crowd.books[i] == NULL);
    }
    remove(path);
}

#define TESTS(X)                                                                                                               \
    X(test_smallest_file) X(test_full_file) X(test_groups) X(test_names) X(test_empty_files) X(test_round_trip_bytes)           \
    X(test_round_trip_oddities) X(test_utf8_with_mark) X(test_cp1252_file) X(test_mixed_is_cp1252) X(test_garbage)              \
    X(test_line_limit) X(test_size_limit) X(test_most_entries) X(test_million_entries) X(test_table_limits) X(test_open_errors) \
    X(test_cache) X(test_cache_is_bounded) X(test_many_threads_one_parse) X(test_many_threads_broken_file)
TEST_MAIN(TESTS)
