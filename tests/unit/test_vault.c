/* vault.json and host.json as bytes: round trips, and every member damaged, missing, swapped or too new. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "vault/header.h"
#include "vault/host.h"
#include "json/json.h"

static void fill(uint8_t *bytes, size_t length, uint8_t first)
{
    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(first + i);
}

static struct vault_key_copy key_copy(uint8_t first, enum keyslot_kind kind, int64_t removed,
                                      int64_t exported)
{
    struct vault_key_copy copy = {
        .kind = kind, .created_unix_s = 1700000000, .removed_unix_s = removed, .exported_unix_s = exported};
    fill(copy.id.bytes, sizeof(copy.id.bytes), first);
    return copy;
}

/* A vault with two directories, one of a hard name, two symlinks and three keyslots, one of them removed. */
static void make_vault(struct vault *vault)
{
    *vault = (struct vault){.name = "data",
                            .fd = -1,
                            .created_unix_s = 1700000000,
                            .protected_since_unix_s = 1700000100,
                            .born_encrypted = true,
                            .sequence = 7,
                            .key_copies_forgotten = 3};
    fill(vault->id.bytes, sizeof(vault->id.bytes), 1);
    fill(vault->identifier.bytes, sizeof(vault->identifier.bytes), 50);
    fill(vault->filesystem_uuid, sizeof(vault->filesystem_uuid), 80);
    vault->directories = calloc(2, sizeof(*vault->directories));
    vault->directories[0].path = strdup("srv/a \"b\\\xff\x01\n");
    vault->directories[1].path = strdup("var");
    vault->directory_count = 2;
    fill(vault->directories[0].nonce.bytes, 16, 100);
    fill(vault->directories[1].nonce.bytes, 16, 120);
    vault->symlinks = calloc(2, sizeof(*vault->symlinks));
    vault->symlinks[0] = (struct vault_symlink){strdup("bin"), strdup("var/bin"), 0, 0, 0777};
    vault->symlinks[1] = (struct vault_symlink){strdup("x\ty"), strdup("/var/\xfe"), UINT32_MAX, 12, 0777};
    vault->symlink_count = 2;
    vault->key_copies = calloc(3, sizeof(*vault->key_copies));
    vault->key_copies[0] = key_copy(10, KEYSLOT_PASSPHRASE, 0, 1700000200);
    vault->key_copies[1] = key_copy(20, KEYSLOT_KEYFILE, 1700000300, 0);
    vault->key_copies[2] = key_copy(30, KEYSLOT_RECOVERY, 0, 0);
    vault->key_copy_count = 3;
    vault->keyslots = calloc(2, sizeof(*vault->keyslots));
    vault->keyslots[0] = vault->key_copies[0].id;
    vault->keyslots[1] = vault->key_copies[2].id;
    vault->keyslot_count = 2;
}

/* Its file. The MAC is not checked by the parser, so any bytes do. */
static struct buffer make_file(void)
{
    struct vault vault;
    struct buffer body = {0}, file = {0};
    uint8_t mac[32];
    fill(mac, sizeof(mac), 200);
    make_vault(&vault);
    assert_ok(vault_body_format(&vault, &body, &error));
    assert_ok(vault_file_format(&body, mac, &file, &error));
    buffer_done(&body);
    vault_header_done(&vault);
    return file;
}

static void everything_comes_back_from_the_file(void **state)
{
    (void)state;
    struct vault expected, vault = {.fd = 5, .mark = VAULT_ERASING};
    struct buffer file = make_file(), body = {0};
    make_vault(&expected);
    assert_ok(vault_body_format(&expected, &body, &error));
    assert_ok(vault_header_parse(file.data, file.length, "data", &vault, &error));
    assert_string_equal(vault.name, "data");
    assert_memory_equal(&vault.id, &expected.id, sizeof(vault.id));
    assert_memory_equal(&vault.identifier, &expected.identifier, sizeof(vault.identifier));
    assert_memory_equal(vault.filesystem_uuid, expected.filesystem_uuid, 16);
    assert_true(vault.created_unix_s == 1700000000 && vault.protected_since_unix_s == 1700000100);
    assert_true(vault.born_encrypted);
    assert_true(vault.sequence == 7 && vault.key_copies_forgotten == 3);
    assert_int_equal(vault.directory_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(vault.directories[i].path, expected.directories[i].path);
        assert_memory_equal(&vault.directories[i].nonce, &expected.directories[i].nonce, 16);
        assert_string_equal(vault.symlinks[i].path, expected.symlinks[i].path);
        assert_string_equal(vault.symlinks[i].target, expected.symlinks[i].target);
        assert_int_equal(vault.symlinks[i].uid, expected.symlinks[i].uid);
        assert_int_equal(vault.symlinks[i].gid, expected.symlinks[i].gid);
        assert_int_equal(vault.symlinks[i].mode, expected.symlinks[i].mode);
        assert_memory_equal(&vault.keyslots[i], &expected.keyslots[i], 16);
    }
    assert_int_equal(vault.symlink_count, 2);
    assert_int_equal(vault.keyslot_count, 2); /* the removed one is none */
    assert_int_equal(vault.key_copy_count, 3);
    assert_true(vault.key_copies[1].removed_unix_s == 1700000300 &&
                vault.key_copies[1].kind == KEYSLOT_KEYFILE);
    assert_true(vault.key_copies[0].exported_unix_s == 1700000200);
    assert_int_equal(vault.body.length, body.length);
    assert_memory_equal(vault.body.data, body.data, body.length);
    assert_int_equal(vault.mac[0], 200);
    assert_int_equal(vault.fd, 5); /* what is not from the file is left alone */
    assert_int_equal(vault.mark, VAULT_ERASING);
    buffer_done(&body);
    buffer_done(&file);
    vault_header_done(&vault);
    vault_header_done(&expected);
}

static void assert_refused(enum error_code expected, const char *text, size_t length, const char *name,
                           const char *words)
{
    struct vault vault = {.fd = -1};
    _cleanup_(freep) char *bytes = malloc(length ? length : 1); /* exact, for the sanitizer */
    memcpy(bytes, text, length);
    assert_fails_saying(expected, words, vault_header_parse(bytes, length, name, &vault, &error));
    assert_null(vault.directories);
    assert_null(vault.key_copies);
    assert_null(vault.body.data);
}

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct buffer file = make_file();
    for (size_t length = 0; length + 1 < file.length; length++) /* the newline at the end may go */
        assert_refused(ERR_CORRUPT, file.data, length, "data", VAULT_FILE_NAME);
    buffer_done(&file);
}

/* Either the parser refuses, or the MAC does: body and MAC are all that is left to be different. */
static void a_bit_flipped_anywhere_is_noticed(void **state)
{
    (void)state;
    struct secret *key = NULL;
    struct buffer file = {0}, body = {0};
    struct vault vault;
    uint8_t mac[32];
    make_vault(&vault);
    assert_ok(secret_new_random(32, &key, &error));
    assert_ok(vault_body_format(&vault, &body, &error));
    assert_ok(mac_compute(key, body.data, body.length, mac, &error));
    assert_ok(vault_file_format(&body, mac, &file, &error));
    unsigned parsed = 0;
    for (size_t bit = 0; bit < 8 * (file.length - 1); bit++) {
        struct vault read = {.fd = -1};
        file.data[bit / 8] ^= (char)(1 << (bit % 8));
        struct error error = ERROR_NONE;
        enum error_code code = vault_header_parse(file.data, file.length, "data", &read, &error);
        if (!code) {
            /* A hexadecimal digit of the MAC may become its capital: the same MAC, and no harm. */
            bool same = read.body.length == body.length && !memcmp(read.body.data, body.data, body.length) &&
                        !memcmp(read.mac, mac, sizeof(mac));
            parsed += !same;
            if (!same && mac_verify(key, read.body.data, read.body.length, read.mac, NULL) == OK)
                fail_msg("bit %zu flipped goes unnoticed", bit);
        } else if (code != ERR_CORRUPT && code != ERR_TOO_NEW) {
            fail_msg("bit %zu flipped: %s (%s)", bit, error_word(code), error.message);
        }
        vault_header_done(&read);
        file.data[bit / 8] ^= (char)(1 << (bit % 8));
    }
    assert_true(parsed > 0);
    buffer_done(&file);
    buffer_done(&body);
    vault_header_done(&vault);
    secret_free(key);
}

/* A file whose body is the vault's with one thing in it replaced. */
static struct buffer file_with(const char *from, const char *to)
{
    struct vault vault;
    struct buffer body = {0}, changed = {0}, file = {0};
    uint8_t mac[32] = {0};
    make_vault(&vault);
    assert_ok(vault_body_format(&vault, &body, &error));
    const char *place = strstr(body.data, from);
    if (!place)
        fail_msg("the body has no %s: %s", from, body.data);
    assert_ok(buffer_append(&changed, body.data, (size_t)(place - body.data), &error));
    assert_ok(buffer_append(&changed, to, strlen(to), &error));
    place += strlen(from);
    assert_ok(buffer_append(&changed, place, strlen(place), &error));
    assert_ok(vault_file_format(&changed, mac, &file, &error));
    buffer_done(&body);
    buffer_done(&changed);
    vault_header_done(&vault);
    return file;
}

#define NONCE_1 "6465666768696a6b6c6d6e6f70717273"
#define NONCE_2 "78797a7b7c7d7e7f8081828384858687"
#define SLOT_1 "0a0b0c0d0e0f10111213141516171819"
#define SLOT_2 "1415161718191a1b1c1d1e1f20212223"

static void every_member_out_of_its_bounds_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"name\":\"data\"", "\"name\":\"\"", "name"},
        {"\"name\":\"data\"", "\"name\":\"other\"", "that of the vault other, not of data"},
        {"\"name\":\"data\"", "\"name\":\"../data\"", "name"},
        {"\"name\":\"data\"", "\"name\":\"data.new\"", "name"},
        {"\"name\":\"data\"", "\"name\":7", "name"},
        {"\"name\":\"data\"",
         "\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "too long"},
        {"\"name\":\"data\",", "", "name"},
        {"\"id\":\"01020304", "\"id\":\"01", "id"},
        {"\"id\":\"01020304", "\"id\":\"0102030405", "id"},
        {"\"id\":\"01020304", "\"id\":\"0102030x", "id"},
        {"\"created\":1700000000,\"filesystem\"", "\"created\":-1,\"filesystem\"", "created"},
        {"\"created\":1700000000,\"filesystem\"", "\"created\":\"1\",\"filesystem\"", "created"},
        {"\"created\":1700000000,\"filesystem\"", "\"created\":1.5,\"filesystem\"", "created"},
        {"\"filesystem\":\"5051", "\"filesystem\":\"50", "filesystem"},
        {"\"contents\":\"AES-256-XTS\"", "\"contents\":\"Adiantum\"", "policy"},
        {"\"names\":\"AES-256-CTS\"", "\"names\":\"AES-256-HCTR2\"", "policy"},
        {"\"padding\":32", "\"padding\":16", "policy"},
        {"\"padding\":32", "\"padding\":64", "padding"},
        {"\"identifier\":\"3233", "\"identifier\":\"32", "identifier"},
        {"\"identifier\"", "\"flags\":0,\"identifier\"", "does not belong"},
        {"\"born_encrypted\":true", "\"born_encrypted\":1", "born_encrypted"},
        {"\"protected_since\":1700000100", "\"protected_since\":-5", "protected_since"},
        {"\"sequence\":7", "\"sequence\":0", "sequence"},
        {"\"sequence\":7", "\"sequence\":9223372036854775808", "line"},
        {"\"sequence\":7", "\"sequence\":7,\"sequence\":7", "duplicate"},
        {"\"sequence\":7", "\"sequence\":7,\"extra\":7", "does not belong"},
        {"\"kind\":\"passphrase\"", "\"kind\":\"fingerprint\"", "kind"},
        {"\"kind\":\"passphrase\"", "\"kind\":null", "kind"},
        {"\"removed\":1700000300", "\"removed\":-1", "removed"},
        {"\"exported\":1700000200", "\"exported\":true", "exported"},
        {"\"exported\":1700000200", "\"exported\":0,\"pin\":\"\"", "does not belong"},
        {SLOT_2, SLOT_1, "keyslot named twice"},
        {SLOT_2, "14", "id"},
        {"\"keyslots_forgotten\":3", "\"keyslots_forgotten\":-3", "keyslots_forgotten"},
        {"\"path\":\"var\"", "\"path\":\"\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"/var\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"var/\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"a//b\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"a/./b\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"..\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"a/..\"", "path of a protected directory"},
        {"\"path\":\"var\"", "\"path\":\"srv\"", "twice or inside another"},
        {"\"path\":\"var\"", "\"path\":\"v\\\\x00r\"", "path"},
        {"\"path\":\"var\"", "\"path\":\"v\\\\xzz\"", "path"},
        {"\"path\":\"var\"", "\"path\":\"v\\u0000r\"", "line"},
        {"\"path\":\"var\",", "", "path"},
        {"\"path\":\"var\",", "\"path\":\"var\",\"policy\":1,", "does not belong"},
        {"\"directories\":[", "\"directories\":[7,", "path"},
        {NONCE_2, NONCE_2 "00", "nonce"},
        {"\"path\":\"bin\"", "\"path\":\"usr/bin\"", "symlink at the root"},
        {"\"path\":\"bin\"", "\"path\":\".\"", "symlink at the root"},
        {"\"path\":\"bin\"", "\"path\":\"var\"", "twice or like a directory"},
        {"\"path\":\"bin\"", "\"path\":\"x\\ty\"", "twice or like a directory"},
        {"\"target\":\"var/bin\"", "\"target\":\"\"", "without a target"},
        {"\"uid\":4294967295", "\"uid\":4294967296", "uid"},
        {"\"gid\":12", "\"gid\":-1", "gid"},
        {"\"mode\":511", "\"mode\":4096", "mode"},
        {"\"authorities\":[]", "\"authorities\":[{}]", "authorities"},
        {",\"authorities\":[]", "", "authorities"},
        {"\"symlinks\":[", "\"symlinks\":7,\"links\":[", "does not belong"},
        {"{\"name\"", "[{\"name\"", "line"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buffer file = file_with(cases[i].from, cases[i].to);
        assert_refused(ERR_CORRUPT, file.data, file.length, "data", cases[i].words);
        buffer_done(&file);
    }
}

static void every_member_is_needed(void **state)
{
    (void)state;
    struct vault vault;
    struct buffer body = {0};
    _cleanup_(json_freep) json_t *object = NULL;
    make_vault(&vault);
    assert_ok(vault_body_format(&vault, &body, &error));
    assert_ok(json_parse_object(body.data, body.length, "body", &object, &error));
    const char *member;
    json_t *value;
    unsigned count = 0;
    json_object_foreach(object, member, value)
    {
        _cleanup_(json_freep) json_t *less = json_copy(object);
        struct buffer less_body = {0}, file = {0};
        json_object_del(less, member);
        assert_ok(json_format(less, &less_body, &error));
        assert_ok(vault_file_format(&less_body, vault.mac, &file, &error));
        assert_refused(ERR_CORRUPT, file.data, file.length, "data", member);
        buffer_done(&less_body);
        buffer_done(&file);
        count++;
    }
    assert_int_equal(count, 13);
    buffer_done(&body);
    vault_header_done(&vault);
}

static void too_many_of_anything_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *list, *item;
        unsigned most;
    } cases[] = {
        {"\"directories\":[", "{\"path\":\"d%u\",\"nonce\":\"" NONCE_1 "\"},", VAULT_DIRECTORIES_MAXIMUM},
        {"\"symlinks\":[", "{\"path\":\"l%u\",\"target\":\"var\",\"uid\":0,\"gid\":0,\"mode\":511},",
         VAULT_SYMLINKS_MAXIMUM},
        {"\"keyslots\":[",
         "{\"id\":\"%032x\",\"kind\":\"keyfile\",\"created\":1,\"removed\":1,\"exported\":0},",
         VAULT_KEY_COPIES_MAXIMUM},
        {"\"keyslots\":[",
         "{\"id\":\"%032x\",\"kind\":\"keyfile\",\"created\":1,\"removed\":0,\"exported\":0},",
         VAULT_KEYSLOTS_MAXIMUM},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct buffer list = {0};
        assert_ok(buffer_append(&list, cases[i].list, strlen(cases[i].list), &error));
        for (unsigned n = 0; n < cases[i].most; n++) {
            char item[256];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(item, sizeof(item), cases[i].item, n);
#pragma GCC diagnostic pop
            assert_ok(buffer_append(&list, item, strlen(item), &error));
        }
        struct buffer file = file_with(cases[i].list, list.data);
        assert_refused(ERR_CORRUPT, file.data, file.length, "data", "");
        buffer_done(&list);
        buffer_done(&file);
    }
}

static void the_outside_has_three_members_and_a_version(void **state)
{
    (void)state;
    static const struct {
        enum error_code code;
        const char *text, *words;
    } cases[] = {
        {ERR_TOO_NEW, "{\"version\":2}", "newer husk (format 2"},
        {ERR_TOO_NEW, "{\"version\":9223372036854775807,\"other\":[]}", "newer husk"},
        {ERR_CORRUPT, "{\"version\":0,\"body\":\"{}\",\"mac\":\"\"}", "version"},
        {ERR_CORRUPT, "{\"version\":\"1\",\"body\":\"{}\",\"mac\":\"\"}", "version"},
        {ERR_CORRUPT, "{\"body\":\"{}\"}", "version"},
        {ERR_CORRUPT, "{\"version\":1,\"body\":\"{}\"}", "mac"},
        {ERR_CORRUPT, "{\"version\":1,\"body\":{},\"mac\":\"\"}", "body"},
        {ERR_CORRUPT, "{\"version\":1,\"body\":\"{}\",\"mac\":\"00\"}", "mac"},
        {ERR_CORRUPT, "{\"version\":1,\"body\":\"{}\",\"mac\":\"\",\"x\":1}", "does not belong"},
        {ERR_CORRUPT, "null", "expected"},
        {ERR_CORRUPT, "", "vault.json"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(cases[i].code, cases[i].text, strlen(cases[i].text), "data", cases[i].words);
}

static void a_header_in_another_vaults_directory_is_refused(void **state)
{
    (void)state;
    struct buffer file = make_file();
    assert_refused(ERR_CORRUPT, file.data, file.length, "other", "that of the vault data, not of other");
    buffer_done(&file);
}

static void names_of_vaults(void **state)
{
    (void)state;
    static const char *const good[] = {"a",
                                       "data",
                                       "0",
                                       "A.b_c-9",
                                       "x.newer",
                                       "new",
                                       "0123456789012345678901234567890123456789012345678901234567890123"};
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      "-a",
                                      "_a",
                                      ".a",
                                      "a/b",
                                      "/",
                                      "a b",
                                      "a\n",
                                      "\xc3\xa4",
                                      "a.new",
                                      "01234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_ok(vault_check_name(good[i], &error));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_fails(ERR_USAGE, vault_check_name(bad[i], &error));
}

static void a_failing_allocation_leaves_nothing_behind(void **state)
{
    (void)state;
    struct buffer file = make_file();
    struct vault vault = {.fd = -1};
    enum error_code code = OK;
    with_every_allocation_failing(code = vault_header_parse(file.data, file.length, "data", &vault, NULL), {
        if (!code)
            vault_header_done(&vault);
        assert_null(vault.directories);
        assert_null(vault.symlinks);
        assert_null(vault.body.data);
    });
    assert_int_equal(code, OK);
    struct buffer body = {0};
    with_every_allocation_failing(code = vault_body_format(&vault, &body, NULL), buffer_done(&body));
    assert_int_equal(code, OK);
    buffer_done(&body);
    buffer_done(&file);
    vault_header_done(&vault);
}

#define HOST_VAULT "\"vault\":\"0102030405060708090a0b0c0d0e0f10\""

static void key_files_of_a_host_come_back(void **state)
{
    (void)state;
    struct host_keyfile keyfiles[2] = {{.path = strdup("/root/a key\xff")}, {.path = strdup("boot/key")}};
    struct host_record record = {keyfiles, 2}, back = {0};
    struct buffer text = {0};
    fill(keyfiles[0].vault.bytes, 16, 1);
    fill(keyfiles[1].vault.bytes, 16, 9);
    assert_ok(host_record_format(&record, &text, &error));
    assert_ok(host_record_parse(text.data, text.length, &back, &error));
    assert_int_equal(back.keyfile_count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(back.keyfiles[i].path, keyfiles[i].path);
        assert_memory_equal(&back.keyfiles[i].vault, &keyfiles[i].vault, 16);
        free(keyfiles[i].path);
    }
    host_record_done(&back);
    for (size_t length = 0; length + 1 < text.length; length++)
        assert_fails(ERR_CORRUPT, host_record_parse(text.data, length, &back, &error));
    buffer_done(&text);
}

static void a_damaged_host_record_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum error_code code;
        const char *text, *words;
    } cases[] = {
        {ERR_TOO_NEW, "{\"version\":2,\"keyfiles\":[]}", "version 2"},
        {ERR_CORRUPT, "{\"version\":1}", "host.json: the member \"keyfiles\""},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":{}}", "keyfiles"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[],\"x\":0}", "does not belong"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[0]}", "vault"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[{" HOST_VAULT "}]}", "path"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[{\"vault\":\"01\",\"path\":\"/k\"}]}", "vault"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[{" HOST_VAULT ",\"path\":\"\"}]}", "path of a keyfile"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[{" HOST_VAULT ",\"path\":\"/\"}]}", "path of a keyfile"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[{" HOST_VAULT ",\"path\":\"/a/../b\"}]}",
         "path of a keyfile"},
        {ERR_CORRUPT, "{\"version\":1,\"keyfiles\":[{" HOST_VAULT ",\"path\":\"/a\",\"x\":0}]}",
         "does not belong"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct host_record record = {0};
        assert_fails_saying(cases[i].code, cases[i].words,
                            host_record_parse(cases[i].text, strlen(cases[i].text), &record, &error));
        assert_null(record.keyfiles);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back_from_the_file),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(a_bit_flipped_anywhere_is_noticed),
        cmocka_unit_test(every_member_out_of_its_bounds_is_refused),
        cmocka_unit_test(every_member_is_needed),
        cmocka_unit_test(too_many_of_anything_is_refused),
        cmocka_unit_test(the_outside_has_three_members_and_a_version),
        cmocka_unit_test(a_header_in_another_vaults_directory_is_refused),
        cmocka_unit_test(names_of_vaults),
        cmocka_unit_test(a_failing_allocation_leaves_nothing_behind),
        cmocka_unit_test(key_files_of_a_host_come_back),
        cmocka_unit_test(a_damaged_host_record_is_refused),
    };
    if (secret_start(&(struct error){0}))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
