/* test_text.c: UTF-8 and UTF-16, both ways, well-formed and not.
 *
 * SPDX-License-Identifier: MIT
 */
#include "../../csrc/text.h"
#include "testhelp.h"

/* UTF-8 by the definition, written apart from text.c. Returns the length. */
static size_t encode(uint32_t code, char *out)
{
    static const uint32_t limits[] = { 0x80, 0x800, 0x10000, 0x110000 };
    static const uint32_t leads[] = { 0x00, 0xC0, 0xE0, 0xF0 };
    size_t length = 1, i;
    while (code >= limits[length - 1]) length++;
    for (i = length; i-- > 1; code >>= 6) out[i] = (char)(unsigned char)(0x80 | (code & 0x3F));
    out[0] = (char)(unsigned char)(leads[length - 1] | code);
    out[length] = '\0';
    return length;
}

/* "Every character but NUL survives the way there and back; surrogates are refused." */
TEST(test_text_every_character)
{
    uint32_t code;
    for (code = 1; code <= 0x10FFFF; code++) {
        char text[8], back[8];
        char16_t wide[4];
        size_t units = 99;
        const size_t length = encode(code, text);
        const int result = rasx__to_utf16(text, wide, 4, &units);
        if (code >= 0xD800 && code <= 0xDFFF) {
            CHECK_EQ(result, -1);
            CHECK_EQ(wide[0], 0);
            continue;
        }
        CHECK_EQ(result, 0);
        CHECK_EQ(units, code >= 0x10000 ? 2 : 1);
        CHECK_EQ(wide[units], 0);
        CHECK_EQ(code >= 0x10000 ? 0x10000 + ((wide[0] - 0xD800u) << 10) + (wide[1] - 0xDC00u) : wide[0], code);
        CHECK_EQ(rasx__to_utf8(wide, 4, back, sizeof back), length);
        CHECK_STR(back, text);
    }
}

/* "Malformed UTF-8 is refused wherever it stands, and leaves the empty text." */
TEST(test_text_refuses_malformed)
{
    static const char *const bad[] = {
        "\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xC2\xC2", "\xDF\xC0",      /* stray, overlong, cut */
        "\xE0\x80\x80", "\xE0\x9F\xBF", "\xE1\x80", "\xE1\x80\x41", "\xED\xA0\x80", "\xED\xBF\xBF", /* overlong, surrogates */
        "\xF0\x80\x80\x80", "\xF0\x8F\xBF\xBF", "\xF1\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", /* above U+10FFFF */
        "\xF8\x88\x80\x80\x80", "\xFC\x84\x80\x80\x80\x80", "\xFE", "\xFF"
    };
    static const char16_t pad[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    size_t i;
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[32];
        char16_t wide[16] = { 7, 7, 7 };
        size_t units = 99, k;
        CHECK_EQ(rasx__to_utf16(bad[i], wide, 16, &units), -1);
        CHECK_EQ(units, 0);
        CHECK_EQ(wide[0], 0);
        snprintf(text, sizeof text, "ab%scd", bad[i]);
        CHECK_EQ(rasx__to_utf16(text, wide, 16, NULL), -1);
        CHECK_EQ(wide[0], 0);
        CHECK_EQ(rasx__to_utf16_masked(text, pad, wide, 16, &units), -1);
        CHECK_EQ(units, 0);
        for (k = 0; k < 16; k++) CHECK_EQ(wide[k], 0); /* half a secret is wiped */
    }
}

/* "The limit is room - 1 units; a pair counts two; room 0 writes nothing." */
TEST(test_text_limits)
{
    char16_t wide[8] = { 9, 9, 9, 9, 9, 9, 9, 9 };
    size_t units = 99;
    CHECK_EQ(rasx__to_utf16("abc", wide, 4, &units), 0);
    CHECK_EQ(units, 3);
    CHECK_EQ(wide[3], 0);
    CHECK_EQ(wide[4], 9);
    CHECK_EQ(rasx__to_utf16("abcd", wide, 4, &units), -1);
    CHECK_EQ(units, 0);
    CHECK_EQ(wide[4], 9);
    CHECK_EQ(rasx__to_utf16("a\xF0\x9F\x98\x80", wide, 4, &units), 0);
    CHECK_EQ(units, 3);
    CHECK_EQ(rasx__to_utf16("ab\xF0\x9F\x98\x80", wide, 4, &units), -1);
    CHECK_EQ(wide[4], 9);
    CHECK_EQ(rasx__to_utf16("", wide, 1, &units), 0);
    CHECK_EQ(units, 0);
    CHECK_EQ(rasx__to_utf16("a", wide, 1, &units), -1);
    wide[0] = 9;
    CHECK_EQ(rasx__to_utf16("", wide, 0, &units), -1);
    CHECK_EQ(wide[0], 9);
    CHECK_EQ(rasx__to_utf16(NULL, wide, 4, &units), 0); /* no text is the empty text */
    CHECK_EQ(wide[0], 0);
}

/* "A masked text is the clear one XOR the pad, unit by unit, without a NUL behind it." */
TEST(test_text_masks)
{
    static const char text[] = "p\xC3\xA4ss\xF0\x9F\x98\x80";
    char16_t pad[8], clear[8], masked[8];
    uint64_t seed = 5;
    size_t i, units = 0, masked_units = 0;
    for (i = 0; i < 8; i++) {
        pad[i] = (char16_t)test_random(&seed);
        masked[i] = 0x1234;
    }
    CHECK_EQ(rasx__to_utf16(text, clear, 8, &units), 0);
    CHECK_EQ(rasx__to_utf16_masked(text, pad, masked, 8, &masked_units), 0);
    CHECK_EQ(units, 6);
    CHECK_EQ(masked_units, 6);
    for (i = 0; i < 6; i++) CHECK_EQ(masked[i] ^ pad[i], clear[i]);
    CHECK_EQ(masked[6], 0x1234);
    CHECK_EQ(rasx__to_utf16_masked(text, pad, masked, 7, &masked_units), 0);
    CHECK_EQ(rasx__to_utf16_masked(text, pad, masked, 6, &masked_units), -1);
}

/* "Unpaired surrogates become U+FFFD, also where the field ends between two halves." */
TEST(test_text_repairs_surrogates)
{
    static const struct { char16_t wide[5]; size_t most; const char *text; } rows[] = {
        { { 0xD800, 0 }, 5, "\xEF\xBF\xBD" },
        { { 0xDC00, 0 }, 5, "\xEF\xBF\xBD" },
        { { 'a', 0xDBFF, 'b', 0 }, 5, "a\xEF\xBF\xBD" "b" },
        { { 0xDC00, 0xD800, 0 }, 5, "\xEF\xBF\xBD\xEF\xBF\xBD" },
        { { 0xD83D, 0xD83D, 0xDE00, 0 }, 5, "\xEF\xBF\xBD\xF0\x9F\x98\x80" },
        { { 0xD83D, 0xDE00, 0 }, 1, "\xEF\xBF\xBD" },
        { { 'a', 'b', 'c', 'd', 'e' }, 5, "abcde" }, /* no NUL in the field */
        { { 'a', 'b', 0, 'd', 'e' }, 5, "ab" },
        { { 0 }, 5, "" }
    };
    size_t i;
    for (i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[32];
        CHECK_EQ(rasx__to_utf8(rows[i].wide, rows[i].most, text, sizeof text), strlen(rows[i].text));
        CHECK_STR(text, rows[i].text);
    }
}

/* "A text that does not fit is cut between characters and always ends in NUL." */
TEST(test_text_cuts_at_characters)
{
    static const char16_t wide[] = { 'a', 0xE4, 0x20AC, 0xD83D, 0xDE00, 'z', 0 }; /* 1 + 2 + 3 + 4 + 1 bytes */
    static const size_t expected[] = { 0, 0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11 };
    size_t room;
    for (room = 0; room < sizeof expected / sizeof *expected; room++) {
        char text[16];
        memset(text, '#', sizeof text);
        CHECK_EQ(rasx__to_utf8(wide, 100, text, room), expected[room]);
        if (room > 0) CHECK_EQ(text[expected[room]], '\0');
        CHECK_EQ(text[room], '#');
    }
}

TEST(test_text_length)
{
    static const char16_t wide[] = { 'a', 'b', 0, 'c' };
    CHECK_EQ(rasx__utf16_length(wide, 4), 2);
    CHECK_EQ(rasx__utf16_length(wide, 2), 2);
    CHECK_EQ(rasx__utf16_length(wide, 1), 1);
    CHECK_EQ(rasx__utf16_length(wide, 0), 0);
    CHECK_EQ(rasx__utf16_length(wide + 2, 2), 0);
}

#define TESTS(X)                                                                             \
    X(test_text_every_character) X(test_text_refuses_malformed) X(test_text_limits)          \
    X(test_text_masks) X(test_text_repairs_surrogates) X(test_text_cuts_at_characters)       \
    X(test_text_length)
TEST_MAIN(TESTS)
