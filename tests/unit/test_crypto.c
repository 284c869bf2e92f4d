#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/memory.h"
#include "unit.h"

static int start(void **state)
{
    (void)state;
    return secret_start(NULL) == OK ? 0 : -1;
}

/* Up to 256 bytes from hexadecimal. */
struct bytes {
    uint8_t data[256];
    size_t length;
};

static struct bytes bytes_of(const char *hex)
{
    struct bytes bytes = {.length = strlen(hex) / 2};
    assert_true(bytes.length <= sizeof(bytes.data));
    assert_ok(text_parse_hex(hex, bytes.data, bytes.length, &error));
    return bytes;
}

static struct secret *secret_of(const void *bytes, size_t length)
{
    struct secret *secret = NULL;
    assert_ok(secret_new_copy(bytes, length, &secret, &error));
    return secret;
}

static struct secret *secret_of_hex(const char *hex)
{
    struct bytes bytes = bytes_of(hex);
    return secret_of(bytes.data, bytes.length);
}

static void assert_secret_is(const struct secret *secret, const char *hex)
{
    struct bytes bytes = bytes_of(hex);
    assert_int_equal(secret->length, bytes.length);
    assert_memory_equal(secret->bytes, bytes.data, bytes.length);
}

/* RFC 5869 appendix A. */
static void hkdf_gives_the_vectors_of_rfc_5869(void **state)
{
    (void)state;
    static const struct {
        const char *key, *salt, *info;
        size_t length;
        const char *expected;
    } vectors[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c",
         "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9", 42,
         "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f"
         "303132333435363738393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
         "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f"
         "909192939495969798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
         "\xb0\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xbb\xbc\xbd\xbe\xbf\xc0\xc1\xc2\xc3\xc4\xc5\xc6\xc7"
         "\xc8\xc9\xca\xcb\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3\xd4\xd5\xd6\xd7\xd8\xd9\xda\xdb\xdc\xdd\xde\xdf"
         "\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7"
         "\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff",
         82,
         "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
         "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"},
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "", 42,
         "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        _cleanup_(secret_freep) struct secret *key = secret_of_hex(vectors[i].key);
        _cleanup_(secret_freep) struct secret *derived = NULL;
        struct bytes salt = bytes_of(vectors[i].salt);
        assert_ok(kdf_hkdf_sha256(key, salt.length ? salt.data : NULL, salt.length, vectors[i].info,
                                  vectors[i].length, &derived, &error));
        assert_secret_is(derived, vectors[i].expected);
    }
}

static void hkdf_gives_any_length_up_to_its_maximum(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = secret_of("key", 3), *most = NULL;
    assert_ok(kdf_hkdf_sha256(key, NULL, 0, "label", KDF_HKDF_MAXIMUM, &most, &error));
    assert_int_equal(most->length, KDF_HKDF_MAXIMUM);
    static const size_t lengths[] = {1, 31, 32, 33, 64, 8159};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        _cleanup_(secret_freep) struct secret *less = NULL;
        assert_ok(kdf_hkdf_sha256(key, NULL, 0, "label", lengths[i], &less, &error));
        assert_memory_equal(less->bytes, most->bytes, lengths[i]);
    }
    struct secret *none = NULL;
    assert_fails(ERR_FAILED, kdf_hkdf_sha256(key, NULL, 0, "label", 0, &none, &error));
    assert_fails(ERR_FAILED, kdf_hkdf_sha256(key, NULL, 0, "label", KDF_HKDF_MAXIMUM + 1, &none, &error));
    assert_null(none);
}

/* draft-irtf-cfrg-xchacha-03 §A.3.1 */
static const char draft_key[] = "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f";
static const char draft_nonce[] = "404142434445464748494a4b4c4d4e4f5051525354555657";
static const char draft_associated[] = "50515253c0c1c2c3c4c5c6c7";
static const char draft_plaintext[] =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one "
    "tip for the future, sunscreen would be it.";
static const char draft_ciphertext[] =
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
    "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
    "21f9664c97637da9768812f615c68b13b52ec0875924c1c7987947deafd8780acf49";

static void the_aead_opens_the_draft_s_vector(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = secret_of_hex(draft_key), *plaintext = NULL;
    struct bytes nonce = bytes_of(draft_nonce), associated = bytes_of(draft_associated),
                 ciphertext = bytes_of(draft_ciphertext);
    assert_ok(aead_open(key, associated.data, associated.length, nonce.data, ciphertext.data,
                        ciphertext.length, &plaintext, &error));
    assert_int_equal(plaintext->length, strlen(draft_plaintext));
    assert_memory_equal(plaintext->bytes, draft_plaintext, plaintext->length);
}

struct sealed {
    struct secret *key;
    uint8_t associated[5];
    uint8_t nonce[AEAD_NONCE_SIZE];
    uint8_t ciphertext[32 + AEAD_TAG_SIZE];
};

static struct sealed seal(void)
{
    struct sealed sealed = {.associated = "head"};
    _cleanup_(secret_freep) struct secret *plaintext = NULL;
    assert_ok(secret_new_random(AEAD_KEY_SIZE, &sealed.key, &error));
    assert_ok(secret_new_random(32, &plaintext, &error));
    assert_ok(aead_seal(sealed.key, sealed.associated, sizeof(sealed.associated), plaintext, sealed.nonce,
                        sealed.ciphertext, &error));
    struct secret *opened = NULL;
    assert_ok(aead_open(sealed.key, sealed.associated, sizeof(sealed.associated), sealed.nonce,
                        sealed.ciphertext, sizeof(sealed.ciphertext), &opened, &error));
    assert_memory_equal(opened->bytes, plaintext->bytes, 32);
    secret_free(opened);
    return sealed;
}

static void assert_stays_closed(const struct sealed *sealed)
{
    struct secret *opened = NULL;
    assert_fails(ERR_WRONG_KEY,
                 aead_open(sealed->key, sealed->associated, sizeof(sealed->associated), sealed->nonce,
                           sealed->ciphertext, sizeof(sealed->ciphertext), &opened, &error));
    assert_null(opened);
}

static void what_is_sealed_opens_only_when_every_bit_is_right(void **state)
{
    (void)state;
    struct sealed sealed = seal();
    struct {
        uint8_t *bytes;
        size_t length;
    } parts[] = {
        {sealed.key->bytes, sealed.key->length},
        {sealed.associated, sizeof(sealed.associated)},
        {sealed.nonce, sizeof(sealed.nonce)},
        {sealed.ciphertext, sizeof(sealed.ciphertext)},
    };
    for (size_t part = 0; part < ARRAY_SIZE(parts); part++)
        for (size_t bit = 0; bit < parts[part].length * 8; bit++) {
            parts[part].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
            assert_stays_closed(&sealed);
            parts[part].bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
    secret_free(sealed.key);
}

static void a_truncated_ciphertext_stays_closed(void **state)
{
    (void)state;
    struct sealed sealed = seal();
    for (size_t length = 0; length < sizeof(sealed.ciphertext); length++) {
        struct secret *opened = NULL;
        assert_fails(length <= AEAD_TAG_SIZE ? ERR_CORRUPT : ERR_WRONG_KEY,
                     aead_open(sealed.key, sealed.associated, sizeof(sealed.associated), sealed.nonce,
                               sealed.ciphertext, length, &opened, &error));
        assert_null(opened);
    }
    secret_free(sealed.key);
}

static void sealing_twice_never_uses_a_nonce_again(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    assert_ok(secret_new_random(AEAD_KEY_SIZE, &key, &error));
    uint8_t nonces[2][AEAD_NONCE_SIZE], ciphertexts[2][AEAD_KEY_SIZE + AEAD_TAG_SIZE];
    for (size_t i = 0; i < 2; i++)
        assert_ok(aead_seal(key, NULL, 0, key, nonces[i], ciphertexts[i], &error));
    assert_memory_not_equal(nonces[0], nonces[1], AEAD_NONCE_SIZE);
    assert_memory_not_equal(ciphertexts[0], ciphertexts[1], sizeof(ciphertexts[0]));
}

static void keys_of_a_wrong_size_are_refused(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, 31, 33, 64};
    uint8_t nonce[AEAD_NONCE_SIZE] = {0}, ciphertext[64 + AEAD_TAG_SIZE] = {0}, mac[MAC_SIZE] = {0};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        _cleanup_(secret_freep) struct secret *key = NULL;
        struct secret *opened = NULL;
        assert_ok(secret_new(lengths[i], &key, &error));
        assert_fails(ERR_FAILED, aead_seal(key, NULL, 0, key, nonce, ciphertext, &error));
        assert_fails(ERR_FAILED,
                     aead_open(key, NULL, 0, nonce, ciphertext, sizeof(ciphertext), &opened, &error));
        assert_fails(ERR_FAILED, mac_compute(key, "x", 1, mac, &error));
        assert_fails(ERR_FAILED, mac_verify(key, "x", 1, mac, &error));
        assert_null(opened);
    }
}

/* RFC 4231 §4.2 and §4.3, cut to 32 bytes. Their keys are shorter than ours; HMAC fills keys with zeros, so
 * the filled key gives the same. */
static void the_mac_gives_the_vectors_of_rfc_4231(void **state)
{
    (void)state;
    static const struct {
        const char *key, *text, *expected;
    } vectors[] = {
        {"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b000000000000000000000000", "Hi There",
         "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"},
        {"4a65666500000000000000000000000000000000000000000000000000000000", "what do ya want for nothing?",
         "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        _cleanup_(secret_freep) struct secret *key = secret_of_hex(vectors[i].key);
        struct bytes expected = bytes_of(vectors[i].expected);
        uint8_t mac[MAC_SIZE];
        assert_ok(mac_compute(key, vectors[i].text, strlen(vectors[i].text), mac, &error));
        assert_memory_equal(mac, expected.data, MAC_SIZE);
        assert_ok(mac_verify(key, vectors[i].text, strlen(vectors[i].text), mac, &error));
    }
}

static void a_mac_does_not_fit_anything_else(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = NULL;
    assert_ok(secret_new_random(32, &key, &error));
    uint8_t mac[MAC_SIZE];
    char text[] = "manifest";
    assert_ok(mac_compute(key, text, sizeof(text), mac, &error));
    for (size_t bit = 0; bit < MAC_SIZE * 8; bit++) {
        mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_fails(ERR_CORRUPT, mac_verify(key, text, sizeof(text), mac, &error));
        mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t length = 0; length < sizeof(text); length++)
        assert_fails(ERR_CORRUPT, mac_verify(key, text, length, mac, &error));
    text[3] ^= 1;
    assert_fails(ERR_CORRUPT, mac_verify(key, text, sizeof(text), mac, &error));
}

/* Made once with the reference implementation's program: argon2 SALT -id -t 3 -k 65536 -p 1 -l 32 */
static void argon2id_gives_what_the_reference_implementation_gives(void **state)
{
    (void)state;
    static const struct {
        const char *passphrase, *salt;
        uint32_t passes;
        uint64_t memory_bytes;
        const char *expected;
    } vectors[] = {
        {"correct horse battery staple", "somesaltsixteen!", 3, UINT64_C(64) << 20,
         "ee5998803c6dbeeb95f9034ef0d16ad2b0d9c9ecd478c7ff5d3a874da8dde404"},
        {"Gro\xc3\x9f"
         "e Stra\xc3\x9f"
         "e",
         "0123456789abcdef", 4, UINT64_C(128) << 20,
         "e3bd3ebf404bfed1b23080aeea7cf851b59e42d1d881c75aa5dbb838feb163fc"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        _cleanup_(secret_freep) struct secret *passphrase =
            secret_of(vectors[i].passphrase, strlen(vectors[i].passphrase));
        _cleanup_(secret_freep) struct secret *key = NULL;
        struct kdf_argon2_parameters parameters = {.passes = vectors[i].passes,
                                                   .memory_bytes = vectors[i].memory_bytes};
        memcpy(parameters.salt, vectors[i].salt, sizeof(parameters.salt));
        assert_ok(kdf_argon2id(passphrase, &parameters, &key, &error));
        assert_secret_is(key, vectors[i].expected);
    }
}

static void argon2id_parameters_out_of_bounds_are_refused_before_it_runs(void **state)
{
    (void)state;
    static const struct kdf_argon2_parameters bad[] = {
        {.passes = 2, .memory_bytes = KDF_ARGON2_MEMORY_LEAST},
        {.passes = 0, .memory_bytes = KDF_ARGON2_MEMORY_LEAST},
        {.passes = 17, .memory_bytes = KDF_ARGON2_MEMORY_LEAST},
        {.passes = UINT32_MAX, .memory_bytes = KDF_ARGON2_MEMORY_LEAST},
        {.passes = 3, .memory_bytes = 0},
        {.passes = 3, .memory_bytes = KDF_ARGON2_MEMORY_LEAST - (1 << 20)},
        {.passes = 3, .memory_bytes = KDF_ARGON2_MEMORY_LEAST + 1},
        {.passes = 3, .memory_bytes = KDF_ARGON2_MEMORY_MOST + (1 << 20)},
        {.passes = 3, .memory_bytes = UINT64_MAX},
    };
    _cleanup_(secret_freep) struct secret *passphrase = secret_of("passphrase", 10);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct secret *key = NULL;
        assert_fails(ERR_CORRUPT, kdf_argon2id(passphrase, &bad[i], &key, &error));
        assert_null(key);
    }
}

static void argon2id_takes_a_quarter_of_the_machine_within_bounds(void **state)
{
    (void)state;
    static const struct {
        uint64_t machine_mib, expected_mib; /* 0: refused */
    } cases[] = {{0, 0},     {128, 0},    {255, 0},    {256, 64},   {258, 64},     {463, 115},
                 {512, 128}, {1023, 255}, {1024, 256}, {4096, 256}, {1 << 20, 256}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct kdf_argon2_parameters parameters = {0};
        uint64_t machine_bytes = cases[i].machine_mib << 20;
        if (cases[i].expected_mib == 0) {
            assert_fails(ERR_NO_MEMORY, kdf_argon2_choose(machine_bytes, &parameters, &error));
            assert_int_equal(parameters.memory_bytes, 0);
            continue;
        }
        assert_ok(kdf_argon2_choose(machine_bytes, &parameters, &error));
        assert_int_equal(parameters.memory_bytes, cases[i].expected_mib << 20);
        assert_int_equal(parameters.passes, 3);
        assert_false(sodium_is_zero(parameters.salt, sizeof(parameters.salt)));
    }
}

/* A directory that looks like / to memory_read; made and removed by each test. */
struct fake_root {
    char path[64];
    int fd;
};

static void write_file(const struct fake_root *root, const char *path, const char *text)
{
    char part[256];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        if (mkdirat(root->fd, part, 0700) < 0)
            assert_int_equal(errno, EEXIST);
    }
    _cleanup_(close_fdp) int fd = openat(root->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_ok(file_write_all(fd, text, strlen(text), &error));
}

static void remove_below(int directory_fd, const char *name);

static enum error_code remove_one(const char *name, void *context, struct error *reterr)
{
    (void)reterr;
    remove_below(*(int *)context, name);
    return OK;
}

static void remove_below(int directory_fd, const char *name)
{
    if (unlinkat(directory_fd, name, 0) == 0)
        return;
    int fd = -1;
    assert_ok(directory_open(directory_fd, name, &fd, &error));
    assert_ok(directory_list(fd, remove_one, &fd, &error));
    close(fd);
    assert_int_equal(unlinkat(directory_fd, name, AT_REMOVEDIR), 0);
}

static int fake_root_open(void **state)
{
    static struct fake_root root;
    snprintf(root.path, sizeof(root.path), "/tmp/husk-unit-XXXXXX");
    if (!mkdtemp(root.path))
        return -1;
    root.fd = open(root.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = &root;
    return root.fd >= 0 ? 0 : -1;
}

static int fake_root_close(void **state)
{
    struct fake_root *root = *state;
    close(root->fd);
    remove_below(AT_FDCWD, root->path);
    return 0;
}

static const char meminfo[] = "MemTotal:        1000000 kB\nMemFree:          10 kB\n"
                              "MemAvailable:     500000 kB\nSwapTotal: 5 kB\nSwapFree:           1000 kB\n";

static void assert_memory(const struct fake_root *root, uint64_t total_kib, uint64_t available_kib)
{
    struct memory memory;
    assert_ok(memory_read(root->fd, &memory, &error));
    assert_int_equal(memory.total_bytes, total_kib << 10);
    assert_int_equal(memory.available_bytes, available_kib << 10);
}

static void memory_without_control_groups_is_the_machine_s(void **state)
{
    write_file(*state, "proc/meminfo", meminfo);
    assert_memory(*state, 1000000, 501000);
    write_file(*state, "proc/self/cgroup", "0::/\n");
    assert_memory(*state, 1000000, 501000);
}

static void a_control_group_of_version_2_limits_memory(void **state)
{
    write_file(*state, "proc/meminfo", meminfo);
    write_file(*state, "proc/self/cgroup", "0::/a/b\n");
    write_file(*state, "sys/fs/cgroup/a/b/memory.max", "max\n");
    assert_memory(*state, 1000000, 501000);
    write_file(*state, "sys/fs/cgroup/a/b/memory.max", "307200000\n");
    write_file(*state, "sys/fs/cgroup/a/b/memory.current", "204800000\n");
    assert_memory(*state, 300000, 100000);
    write_file(*state, "sys/fs/cgroup/a/b/memory.stat",
               "anon 5\nfile 9999\ninactive_file 51200000\nactive_file 10240000\n");
    assert_memory(*state, 300000, 160000);
}

static void a_control_group_further_up_limits_memory_too(void **state)
{
    write_file(*state, "proc/meminfo", meminfo);
    write_file(*state, "proc/self/cgroup", "0::/a/b\n");
    write_file(*state, "sys/fs/cgroup/a/b/memory.max", "307200000\n");
    write_file(*state, "sys/fs/cgroup/a/memory.max", "204800000\n");
    write_file(*state, "sys/fs/cgroup/a/memory.current", "999999999999\n");
    assert_memory(*state, 200000, 0);
}

static void a_control_group_of_version_1_limits_memory(void **state)
{
    write_file(*state, "proc/meminfo", meminfo);
    write_file(*state, "proc/self/cgroup",
               "9:name=systemd:/\n4:cpu,memory:/service\n3:memoryless:/other\n0::/\n");
    write_file(*state, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    write_file(*state, "sys/fs/cgroup/memory/service/memory.limit_in_bytes", "204800000\n");
    write_file(*state, "sys/fs/cgroup/memory/service/memory.usage_in_bytes", "102400000\n");
    write_file(*state, "sys/fs/cgroup/memory/service/memory.stat",
               "inactive_file 1\ntotal_inactive_file 10240000\ntotal_active_file 0\n");
    write_file(*state, "sys/fs/cgroup/memory/other/memory.limit_in_bytes", "4096\n");
    assert_memory(*state, 200000, 110000);
}

static void garbage_in_proc_is_no_memory(void **state)
{
    struct fake_root *root = *state;
    struct memory memory = {0};
    assert_fails(ERR_FAILED, memory_read(root->fd, &memory, &error));
    static const char *const garbage[] = {"", "\n", "MemTotal:", "MemTotal: x", "NotMemTotal: 5 kB\n"};
    for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
        write_file(root, "proc/meminfo", garbage[i]);
        assert_fails(ERR_FAILED, memory_read(root->fd, &memory, &error));
    }
    write_file(root, "proc/meminfo", meminfo);
    static const char *const groups[] = {"", "\n\n", ":", "::", "0:", "0::", "0::\n0::../../..\n:::::"};
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        write_file(root, "proc/self/cgroup", groups[i]);
        assert_memory(root, 1000000, 501000);
    }
}

static void this_machine_has_memory(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    assert_ok(kdf_machine_memory(&bytes, &error));
    assert_true(bytes >= UINT64_C(128) << 20);
    assert_true(bytes < UINT64_C(1) << 50);
}

static void running_out_of_memory_derives_nothing(void **state)
{
    (void)state;
    _cleanup_(secret_freep) struct secret *key = secret_of_hex(draft_key);
    struct secret *derived = NULL;
    enum error_code code = OK;
    with_every_allocation_failing(code = kdf_hkdf_sha256(key, NULL, 0, "x", 32, &derived, NULL), {
        assert_int_equal(code, ERR_NO_MEMORY);
        assert_null(derived);
    });
    assert_int_equal(code, OK);
    secret_free(derived);
}

#define with_fake_root(test) cmocka_unit_test_setup_teardown(test, fake_root_open, fake_root_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hkdf_gives_the_vectors_of_rfc_5869),
        cmocka_unit_test(hkdf_gives_any_length_up_to_its_maximum),
        cmocka_unit_test(the_aead_opens_the_draft_s_vector),
        cmocka_unit_test(what_is_sealed_opens_only_when_every_bit_is_right),
        cmocka_unit_test(a_truncated_ciphertext_stays_closed),
        cmocka_unit_test(sealing_twice_never_uses_a_nonce_again),
        cmocka_unit_test(keys_of_a_wrong_size_are_refused),
        cmocka_unit_test(the_mac_gives_the_vectors_of_rfc_4231),
        cmocka_unit_test(a_mac_does_not_fit_anything_else),
        cmocka_unit_test(argon2id_gives_what_the_reference_implementation_gives),
        cmocka_unit_test(argon2id_parameters_out_of_bounds_are_refused_before_it_runs),
        cmocka_unit_test(argon2id_takes_a_quarter_of_the_machine_within_bounds),
        with_fake_root(memory_without_control_groups_is_the_machine_s),
        with_fake_root(a_control_group_of_version_2_limits_memory),
        with_fake_root(a_control_group_further_up_limits_memory_too),
        with_fake_root(a_control_group_of_version_1_limits_memory),
        with_fake_root(garbage_in_proc_is_no_memory),
        cmocka_unit_test(this_machine_has_memory),
        cmocka_unit_test(running_out_of_memory_derives_nothing),
    };
    return cmocka_run_group_tests(tests, start, NULL);
}
