#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "base/text.h"
#include "client/files.h"
#include "client/wire.h"
#include "fake_authority.h"
#include "unit.h"

/* A host in a directory of its own, and an authority. */
struct world {
    char at[64], url[64];
    struct fake_authority fake;
    struct client_token token;
};

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int make_world(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    char text[80];
    if (secret_start(NULL))
        return -1;
    snprintf(world->at, sizeof(world->at), "/dev/shm/husk-test-client-XXXXXX");
    if (!mkdtemp(world->at))
        return -1;
    fake_start(&world->fake);
    fake_url(&world->fake, world->url);
    fake_token(&world->fake, text);
    assert_ok(client_token_parse(text, &world->token, &error));
    *state = world;
    return 0;
}

static int end_world(void **state)
{
    struct world *world = *state;
    char runtime[128];
    struct stat status;
    fake_stop(&world->fake);
    if (stat(world->at, &status) == 0) {
        snprintf(runtime, sizeof(runtime), "/run/husk/%llx-%llx", (unsigned long long)status.st_dev,
                 (unsigned long long)status.st_ino);
        nftw(runtime, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    }
    nftw(world->at, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(world);
    return 0;
}

static void enroll(struct world *world)
{
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    bool changed = false;
    assert_ok(
        client_enroll(world->at, world->url, &world->token, "web-1", clock_system(), &pin, &changed, &error));
    assert_true(changed);
}

static struct client *open_host(const struct world *world)
{
    struct client *client = NULL;
    assert_ok(client_open(world->at, &client, &error));
    return client;
}

static void read_text(const struct world *world, const char *name, struct buffer *text)
{
    _cleanup_(close_fdp) int fd = open(world->at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char path[128];
    snprintf(path, sizeof(path), "%s", name);
    assert_ok(file_read(fd, path, 65536, text, &error));
}

static const struct client_effort once = {0, 0};

static struct client_decision request(struct client *client, enum error_code expected, const char *words)
{
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    struct client_decision decision = {0};
    struct client_element element = {.keyslot = {7}};
    struct secret *blind = NULL;
    uint8_t message[CLIENT_ID_SIZE];
    randombytes_buf(message, sizeof(message));
    assert_ok(oprf_blind("x", 1, &blind, element.blinded, &error));
    secret_free(blind);
    if (!expected)
        assert_ok(client_request(client, &client->pins[0], message, &element, 1, once, &decision, &findings,
                                 &error));
    else
        assert_fails_saying(expected, words,
                            client_request(client, &client->pins[0], message, &element, 1, once, &decision,
                                           &findings, &error));
    return decision;
}

static void a_host_without_husk_trusts_nobody(void **state)
{
    struct world *world = *state;
    struct client_pin *pin = NULL;
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(client->pin_count, 0);
    assert_fails(ERR_NOT_FOUND, client_choose(client, NULL, &pin, &error));
}

static void enrolling_pins_the_root_and_makes_an_identity_of_root_alone(void **state)
{
    struct world *world = *state;
    struct stat status;
    char path[128];
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(client->pin_count, 1);
    assert_memory_equal(client->pins[0].id, world->token.fingerprint, CLIENT_ID_SIZE);
    assert_memory_equal(client->pins[0].host, world->fake.host, CLIENT_ID_SIZE);
    assert_memory_equal(client->pins[0].descriptor.root, world->fake.root, SIGN_PUBLIC_SIZE);
    assert_string_equal(client->pins[0].name, "web-1");
    assert_string_equal(world->fake.last_name, "web-1");
    snprintf(path, sizeof(path), "%s/.husk/host.key", world->at);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    assert_int_equal(status.st_size, 48);
}

static void enrolling_again_changes_nothing(void **state)
{
    struct world *world = *state;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    _cleanup_(buffer_done) struct buffer before = {0}, after = {0};
    bool changed = true;
    enroll(world);
    read_text(world, ".husk/host.key", &before);
    assert_ok(
        client_enroll(world->at, world->url, &world->token, "web-1", clock_system(), &pin, &changed, &error));
    assert_false(changed);
    read_text(world, ".husk/host.key", &after);
    assert_memory_equal(before.data, after.data, 48);
}

static void enrolling_again_finds_the_authority_elsewhere_for_processes_that_run_too(void **state)
{
    struct world *world = *state;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    bool changed = false;
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    /* As if it was there no more. */
    snprintf(client->pins[0].descriptor.addresses[0], DESCRIPTOR_ADDRESS_SIZE, "http://127.0.0.1:1");
    request(client, ERR_UNREACHABLE, "127.0.0.1:1");
    request(client, ERR_UNREACHABLE, "127.0.0.1:1");
    fake_rotate(&world->fake);
    assert_ok(
        client_enroll(world->at, world->url, &world->token, "web-1", clock_system(), &pin, &changed, &error));
    assert_true(changed);
    assert_int_equal(pin.descriptor.sequence, 2);
    request(client, ERR_UNREACHABLE, "127.0.0.1:1"); /* after which it looks */
    assert_int_equal(request(client, OK, NULL).state, CLIENT_GRANTED);
    assert_int_equal(client->pins[0].descriptor.sequence, 2);
}

static void a_lost_answer_to_enroll_is_made_up_for_by_the_same_command(void **state)
{
    struct world *world = *state;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    bool changed = false;
    world->fake.wire = FAKE_FLIPS_A_BIT;
    assert_fails(ERR_UNREACHABLE, client_enroll(world->at, world->url, &world->token, "web-1", clock_system(),
                                                &pin, &changed, &error));
    world->fake.wire = FAKE_SPEAKS;
    enroll(world); /* with the identity the token is bound to by now */
}

static void another_root_than_the_token_s_is_refused_and_nothing_is_pinned(void **state)
{
    struct world *world = *state;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    bool changed = false;
    world->token.fingerprint[0] ^= 1;
    assert_fails_saying(
        ERR_DENIED, "another authority",
        client_enroll(world->at, world->url, &world->token, "web-1", clock_system(), &pin, &changed, &error));
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(client->pin_count, 0);
}

static void a_token_that_is_not_known_is_denied(void **state)
{
    struct world *world = *state;
    _cleanup_(client_pin_done) struct client_pin pin = {0};
    bool changed = false;
    world->token.token[0] ^= 1;
    assert_fails(ERR_DENIED, client_enroll(world->at, world->url, &world->token, "web-1", clock_system(),
                                           &pin, &changed, &error));
}

static void a_token_is_exactly_that(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",
        "husk1.",
        "husk2.00112233445566778899aabbccddeeff.00112233445566778899aabbccddeeff",
        "husk1.00112233445566778899aabbccddeeff-00112233445566778899aabbccddeeff",
        "husk1.00112233445566778899aabbccddeeff.00112233445566778899aabbccddeef",
        "husk1.00112233445566778899aabbccddeeff.00112233445566778899aabbccddeeff0",
        "husk1.0011223344556677x899aabbccddeeff.00112233445566778899aabbccddeeff",
    };
    struct client_token token;
    assert_ok(client_token_parse("husk1.00112233445566778899aabbccddeeff.ffeeddccbbaa99887766554433221100",
                                 &token, &error));
    assert_int_equal(token.token[15], 0xff);
    assert_int_equal(token.fingerprint[0], 0xff);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_USAGE, client_token_parse(wrong[i], &token, &error));
}

static void a_grant_brings_the_elements_and_moves_the_lineage_on_on_disk(void **state)
{
    struct world *world = *state;
    char first[33];
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    struct client_decision decision = request(client, OK, NULL);
    assert_int_equal(decision.state, CLIENT_GRANTED);
    assert_int_equal(decision.count, 1);
    assert_string_equal(world->fake.last_lineage, ""); /* the first boot has none */
    text_format_hex(first, world->fake.offered, 16);
    _cleanup_(buffer_done) struct buffer text = {0};
    read_text(world, ".husk/lineage", &text);
    assert_non_null(strstr(text.data, first));
    request(client, OK, NULL);
    assert_string_equal(world->fake.last_lineage, first);
    assert_int_equal(world->fake.stale_lineages, 0);
}

static void a_crash_between_receiving_and_storing_raises_no_alarm(void **state)
{
    struct world *world = *state;
    _cleanup_(buffer_done) struct buffer before = {0};
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    request(client, OK, NULL);
    request(client, OK, NULL);
    read_text(world, ".husk/lineage", &before);
    request(client, OK, NULL); /* what it stored is lost in the crash: */
    assert_ok(file_write_durable(client->husk_fd, "lineage", 0600, before.data, before.length, &error));
    request(client, OK, NULL);
    request(client, OK, NULL);
    assert_int_equal(world->fake.stale_lineages, 0);
    /* An older copy of the disk is one: two further on, the token before is not taken any more. */
    assert_ok(file_write_durable(client->husk_fd, "lineage", 0600, before.data, before.length, &error));
    request(client, OK, NULL);
    assert_int_equal(world->fake.stale_lineages, 1);
}

static void write_boot_file(const struct world *world, const char *name, const char *text)
{
    struct utsname names;
    char path[256];
    assert_int_equal(uname(&names), 0);
    snprintf(path, sizeof(path), "%s/boot", world->at);
    assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
    snprintf(path, sizeof(path), "%s/boot/%s-%s", world->at, name, names.release);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void assert_fact(const struct world *world, const char *member, const char *text)
{
    uint8_t hash[32], reported[32];
    crypto_generichash(hash, sizeof(hash), (const uint8_t *)text, strlen(text), NULL, 0);
    assert_ok(json_get_hex(world->fake.last_facts, member, reported, sizeof(reported), &error));
    assert_memory_equal(hash, reported, sizeof(hash));
}

static void beat(struct client *client, const uint8_t *probe)
{
    _cleanup_(client_news_done) struct client_news news = {0};
    assert_ok(client_heartbeat(client, &client->pins[0], probe, once, &news, &error));
}

static void a_boot_is_told_by_its_kernel_and_initramfs_where_they_can_be_read(void **state)
{
    struct world *world = *state;
    const uint8_t probe[CLIENT_ID_SIZE] = {1};
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    beat(client, NULL);
    assert_non_null(json_object_get(world->fake.last_facts, "kernel"));
    assert_null(json_object_get(world->fake.last_facts, "kernel_hash"));
    assert_null(json_object_get(world->fake.last_facts, "initramfs_hash"));
    write_boot_file(world, "vmlinuz", "a kernel");
    write_boot_file(world, "initrd.img", "an initramfs");
    beat(client, NULL);
    assert_fact(world, "kernel_hash", "a kernel");
    assert_fact(world, "initramfs_hash", "an initramfs");
    /* It may take longer to read them than a probe waits. */
    write_boot_file(world, "initrd.img", "another one");
    beat(client, probe);
    assert_fact(world, "initramfs_hash", "an initramfs");
    beat(client, NULL);
    assert_fact(world, "initramfs_hash", "another one");
    _cleanup_(client_closep) struct client *booted = open_host(world);
    (void)request(booted, OK, NULL);
    assert_fact(world, "kernel_hash", "a kernel");
    assert_fact(world, "initramfs_hash", "another one");
}

static void heartbeats_and_requests_share_the_lineage(void **state)
{
    struct world *world = *state;
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    for (int i = 0; i < 4; i++) {
        _cleanup_(client_news_done) struct client_news news = {0};
        request(client, OK, NULL);
        assert_ok(client_heartbeat(client, &client->pins[0], NULL, once, &news, &error));
    }
    assert_int_equal(world->fake.stale_lineages, 0);
}

static void a_ticket_is_noted_for_one_boot(void **state)
{
    struct world *world = *state;
    int64_t expires_at = 0;
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_ok(client_ticket(client, &client->pins[0], CLIENT_REBOOT, &expires_at, &error));
    assert_int_equal(expires_at, 2000000000);
    request(client, OK, NULL);
    assert_true(world->fake.last_planned);
    request(client, OK, NULL);
    assert_false(world->fake.last_planned);
}

static void stale_nonces_are_replaced_three_times_at_most(void **state)
{
    struct world *world = *state;
    int64_t expires_at = 0;
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    world->fake.stale_times = 3;
    assert_ok(client_ticket(client, &client->pins[0], CLIENT_REBOOT, &expires_at, &error));
    world->fake.stale_times = 4;
    assert_fails(ERR_CHANGED, client_ticket(client, &client->pins[0], CLIENT_REBOOT, &expires_at, &error));
    assert_int_equal(world->fake.tickets, 1);
}

static void the_nonce_of_the_last_answer_is_kept_between_programs(void **state)
{
    struct world *world = *state;
    int64_t expires_at = 0;
    enroll(world);
    const unsigned before = world->fake.messages;
    for (int i = 0; i < 2; i++) {
        _cleanup_(client_closep) struct client *client = open_host(world);
        assert_ok(client_ticket(client, &client->pins[0], CLIENT_REBOOT, &expires_at, &error));
    }
    assert_int_equal(world->fake.messages, before + 2);
}

static void a_host_that_slept_through_rotations_takes_the_new_descriptor(void **state)
{
    struct world *world = *state;
    enroll(world);
    fake_rotate(&world->fake);
    fake_rotate(&world->fake);
    {
        _cleanup_(client_closep) struct client *client = open_host(world);
        assert_int_equal(request(client, OK, NULL).state, CLIENT_GRANTED);
    }
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(client->pins[0].descriptor.sequence, 3);
}

static void a_descriptor_without_an_address_to_use_is_not_taken(void **state)
{
    struct world *world = *state;
    struct descriptor *descriptor = &world->fake.descriptor;
    char right[DESCRIPTOR_ADDRESS_SIZE];
    enroll(world);
    memcpy(right, descriptor->addresses[0], sizeof(right));
    snprintf(descriptor->addresses[0], DESCRIPTOR_ADDRESS_SIZE, "https://127.0.0.1:%u", world->fake.port);
    fake_rotate(&world->fake);
    {
        _cleanup_(client_closep) struct client *client = open_host(world);
        request(client, ERR_UNREACHABLE, "without an address");
        assert_int_equal(client->pins[0].descriptor.sequence, 1);
    }
    memcpy(descriptor->addresses[0], right, sizeof(right));
    fake_rotate(&world->fake);
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(request(client, OK, NULL).state, CLIENT_GRANTED);
    assert_int_equal(client->pins[0].descriptor.sequence, 3);
}

static void a_descriptor_of_another_root_changes_nothing(void **state)
{
    struct world *world = *state;
    struct secret *other = NULL;
    enroll(world);
    struct secret *root = world->fake.root_key;
    uint8_t public_key[SIGN_PUBLIC_SIZE];
    assert_ok(sign_key_new(&other, public_key, &error));
    world->fake.root_key = other;
    fake_rotate(&world->fake); /* signed by a root nobody pinned */
    {
        _cleanup_(client_closep) struct client *client = open_host(world);
        request(client, ERR_UNREACHABLE, "another authority");
    }
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(client->pins[0].descriptor.sequence, 1);
    secret_free(root);
}

static void an_authority_that_does_not_know_the_host_is_told_as_such(void **state)
{
    struct world *world = *state;
    enroll(world);
    world->fake.identity[0] ^= 1;
    _cleanup_(client_closep) struct client *client = open_host(world);
    request(client, ERR_UNREACHABLE, "does not know it");
}

static void what_is_not_authenticated_is_no_answer(void **state)
{
    struct world *world = *state;
    static const enum fake_wire ways[] = {FAKE_TRIES_AGAIN, FAKE_SAYS_503,    FAKE_SAYS_NOTHING,
                                          FAKE_CUTS_SHORT,  FAKE_FLIPS_A_BIT, FAKE_ANSWERS_BEFORE,
                                          FAKE_IS_CHUNKED};
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    request(client, OK, NULL);
    for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
        world->fake.wire = ways[i];
        request(client, ERR_UNREACHABLE, "authority");
    }
    world->fake.wire = FAKE_SPEAKS;
    assert_int_equal(request(client, OK, NULL).state, CLIENT_GRANTED);
    assert_int_equal(world->fake.stale_lineages, 0);
}

static void a_host_with_patience_tries_again(void **state)
{
    struct world *world = *state;
    int64_t expires_at = 0;
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    world->fake.wire_times = 1;
    world->fake.wire = FAKE_SAYS_NOTHING;
    const int64_t start = clock_monotonic_ns();
    assert_ok(client_ticket(client, &client->pins[0], CLIENT_REBOOT, &expires_at, &error));
    assert_true(clock_monotonic_ns() - start >= CLOCK_NS_PER_S);
}

static void every_address_is_tried(void **state)
{
    struct world *world = *state;
    struct descriptor *descriptor = &world->fake.descriptor;
    descriptor->address_count = 4;
    snprintf(descriptor->addresses[0], DESCRIPTOR_ADDRESS_SIZE, "https://127.0.0.1:1");
    snprintf(descriptor->addresses[1], DESCRIPTOR_ADDRESS_SIZE, "http://127.0.0.1:1");
    snprintf(descriptor->addresses[2], DESCRIPTOR_ADDRESS_SIZE, "http://[::1]:1/below");
    snprintf(descriptor->addresses[3], DESCRIPTOR_ADDRESS_SIZE, "http://localhost:%u/", world->fake.port);
    fake_rotate(&world->fake);
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_int_equal(request(client, OK, NULL).state, CLIENT_GRANTED);
}

static void decisions_are_told_apart(void **state)
{
    struct world *world = *state;
    static const struct {
        enum fake_policy policy;
        enum client_state state;
    } states[] = {
        {FAKE_PENDING, CLIENT_PENDING}, {FAKE_DENIES, CLIENT_DENIED}, {FAKE_EXPIRES, CLIENT_EXPIRED}};
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
        world->fake.policy = states[i].policy;
        struct client_decision decision = request(client, OK, NULL);
        assert_int_equal(decision.state, states[i].state);
        assert_string_equal(decision.code, "1234");
        assert_string_equal(decision.flags, "clock");
        assert_string_equal(decision.reasons, "the test wants it so");
    }
    world->fake.policy = FAKE_ERASED;
    request(client, ERR_ERASED, "the test wants it so");
    world->fake.policy = FAKE_HELD;
    request(client, ERR_PENDING, "held");
}

static void a_request_is_asked_for_again_by_its_id(void **state)
{
    struct world *world = *state;
    _cleanup_(finding_list_done) struct finding_list findings = {0};
    struct client_decision again = {0};
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    world->fake.policy = FAKE_PENDING;
    struct client_decision decision = request(client, OK, NULL);
    world->fake.policy = FAKE_GRANTS;
    assert_ok(
        client_request_again(client, &client->pins[0], decision.request, 1, once, &again, &findings, &error));
    assert_int_equal(again.state, CLIENT_GRANTED);
    assert_memory_equal(again.request, decision.request, CLIENT_ID_SIZE);
    decision.request[0] ^= 1;
    assert_fails(ERR_NOT_FOUND, client_request_again(client, &client->pins[0], decision.request, 1, once,
                                                     &again, &findings, &error));
}

static void a_boot_keeps_its_id_and_another_host_has_another(void **state)
{
    struct world *world = *state;
    uint8_t first[CLIENT_ID_SIZE], second[CLIENT_ID_SIZE], other[CLIENT_ID_SIZE];
    char below[80];
    _cleanup_(client_closep) struct client *one = open_host(world);
    _cleanup_(client_closep) struct client *two = open_host(world);
    assert_ok(client_boot_id(one, first, &error));
    assert_ok(client_boot_id(two, second, &error));
    assert_memory_equal(first, second, sizeof(first));
    snprintf(below, sizeof(below), "%s/other", world->at);
    assert_int_equal(mkdir(below, 0700), 0);
    struct client *third = NULL;
    assert_ok(client_open(below, &third, &error));
    assert_ok(client_boot_id(third, other, &error));
    assert_memory_not_equal(first, other, sizeof(first));
    /* What another boot of the kernel left is not taken. */
    assert_ok(file_write_durable(one->runtime_fd, "boot", 0600,
                                 "00000000-0000-0000-0000-000000000000 00112233445566778899aabbccddeeff\n",
                                 70, &error));
    client_close(one);
    one = open_host(world);
    assert_ok(client_boot_id(one, second, &error));
    assert_memory_not_equal(first, second, sizeof(first));
    assert_int_not_equal(second[15], 0xff);
    assert_int_equal(unlinkat(third->runtime_fd, "boot", 0), 0);
    (void)unlinkat(third->runtime_fd, "boot.lock", 0);
    char runtime[128];
    snprintf(runtime, sizeof(runtime), "/run/husk/%llx-%llx", (unsigned long long)third->device,
             (unsigned long long)third->inode);
    assert_int_equal(rmdir(runtime), 0);
    client_close(third);
}

static void a_damaged_file_of_an_authority_is_said_and_not_passed_over(void **state)
{
    struct world *world = *state;
    _cleanup_(buffer_done) struct buffer text = {0};
    struct client *none = NULL;
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    assert_ok(client_pin_format(&client->pins[0], &text, &error));
    char *digit = strstr(text.data, "\"descriptor\":\"") + 14;
    *digit = *digit == '0' ? '1' : '0'; /* of the signature */
    _cleanup_(close_fdp) int fd = openat(client->husk_fd, "authorities", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char name[64];
    snprintf(name, sizeof(name), "%s.json", client_id_shown(client->pins[0].id));
    assert_ok(file_write_durable(fd, name, 0600, text.data, text.length, &error));
    assert_fails_saying(ERR_CORRUPT, name, client_open(world->at, &none, &error));
}

static void a_pin_under_another_id_is_no_pin(void **state)
{
    struct world *world = *state;
    _cleanup_(buffer_done) struct buffer text = {0};
    struct client_pin pin = {0};
    enroll(world);
    _cleanup_(client_closep) struct client *client = open_host(world);
    uint8_t id[CLIENT_ID_SIZE];
    memcpy(id, client->pins[0].id, sizeof(id));
    assert_ok(client_pin_format(&client->pins[0], &text, &error));
    assert_ok(client_pin_parse(text.data, text.length, id, &pin, &error));
    client_pin_done(&pin);
    id[0] ^= 1;
    assert_fails_saying(ERR_CORRUPT, "another authority",
                        client_pin_parse(text.data, text.length, id, &pin, &error));
}

static void a_lineage_file_reads_back(void **state)
{
    (void)state;
    struct lineage lineage = {.count = 2}, read;
    _cleanup_(buffer_done) struct buffer text = {0};
    memset(lineage.entries[0].authority, 1, CLIENT_ID_SIZE);
    lineage.entries[0].has_token = true;
    memset(lineage.entries[0].token, 2, CLIENT_ID_SIZE);
    memset(lineage.entries[1].authority, 3, CLIENT_ID_SIZE);
    lineage.entries[1].planned_until = 5;
    assert_ok(lineage_format(&lineage, &text, &error));
    assert_ok(lineage_parse(text.data, text.length, &read, &error));
    assert_memory_equal(&read, &lineage, sizeof(read));
    for (size_t length = 0; length + 2 < text.length; length++)
        assert_fails(ERR_CORRUPT, lineage_parse(text.data, length, &read, &error));
    assert_fails(ERR_TOO_NEW, lineage_parse("{\"version\":2,\"authorities\":[]}", 30, &read, &error));
}

static void addresses_are_taken_apart_and_odd_ones_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host, *port, *path;
    } right[] = {
        {"http://husk.example", "husk.example", "80", ""},
        {"http://192.0.2.1:8470/", "192.0.2.1", "8470", ""},
        {"http://[2001:db8::1]:8470/husk/", "2001:db8::1", "8470", "/husk"},
        {"http://a/b/c", "a", "80", "/b/c"},
    };
    static const char *const wrong[] = {
        "",
        "husk.example",
        "ftp://a",
        "http://",
        "http://:80",
        "http://a:",
        "http://a:0",
        "http://a:65536",
        "http://a:8x",
        "http://[::1",
        "http://u@h/",
        "http://a b/",
        "http://a/?q",
        "http://a/\r\nX: y",
        "http://a/#f",
        "http://[]:1",
    };
    struct url url;
    for (size_t i = 0; i < ARRAY_SIZE(right); i++) {
        assert_ok(url_parse(right[i].text, &url, &error));
        assert_string_equal(url.host, right[i].host);
        assert_string_equal(url.port, right[i].port);
        assert_string_equal(url.path, right[i].path);
    }
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_USAGE, url_parse(wrong[i], &url, &error));
    assert_fails(ERR_UNSUPPORTED, url_parse("https://a", &url, &error));
}

static void a_head_is_read_strictly(void **state)
{
    (void)state;
    static const char right[] = "HTTP/1.1 200 OK\r\nDate: now\r\ncontent-length:  7 \r\n\r\nthe body";
    static const char *const wrong[] = {
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\n continued\r\nContent-Length: 1\r\n\r\n",
    };
    struct client_head head = {0};
    assert_ok(client_head_parse(right, sizeof(right) - 1, &head, &error));
    assert_int_equal(head.status, 200);
    assert_int_equal(head.body_size, 7);
    assert_string_equal(right + head.size, "the body");
    for (size_t length = 0; length < head.size; length++)
        assert_fails(ERR_PENDING, client_head_parse(right, length, &head, &error));
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_fails(ERR_CORRUPT, client_head_parse(wrong[i], strlen(wrong[i]), &head, &error));
    char endless[CLIENT_HEAD_MAXIMUM];
    memset(endless, 'a', sizeof(endless));
    assert_fails(ERR_CORRUPT, client_head_parse(endless, sizeof(endless), &head, &error));
}

#define in_a_world(test) cmocka_unit_test_setup_teardown(test, make_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        in_a_world(a_host_without_husk_trusts_nobody),
        in_a_world(enrolling_pins_the_root_and_makes_an_identity_of_root_alone),
        in_a_world(enrolling_again_changes_nothing),
        in_a_world(enrolling_again_finds_the_authority_elsewhere_for_processes_that_run_too),
        in_a_world(a_lost_answer_to_enroll_is_made_up_for_by_the_same_command),
        in_a_world(another_root_than_the_token_s_is_refused_and_nothing_is_pinned),
        in_a_world(a_token_that_is_not_known_is_denied),
        cmocka_unit_test(a_token_is_exactly_that),
        in_a_world(a_grant_brings_the_elements_and_moves_the_lineage_on_on_disk),
        in_a_world(a_crash_between_receiving_and_storing_raises_no_alarm),
        in_a_world(a_boot_is_told_by_its_kernel_and_initramfs_where_they_can_be_read),
        in_a_world(heartbeats_and_requests_share_the_lineage),
        in_a_world(a_ticket_is_noted_for_one_boot),
        in_a_world(stale_nonces_are_replaced_three_times_at_most),
        in_a_world(the_nonce_of_the_last_answer_is_kept_between_programs),
        in_a_world(a_host_that_slept_through_rotations_takes_the_new_descriptor),
        in_a_world(a_descriptor_without_an_address_to_use_is_not_taken),
        in_a_world(a_descriptor_of_another_root_changes_nothing),
        in_a_world(an_authority_that_does_not_know_the_host_is_told_as_such),
        in_a_world(what_is_not_authenticated_is_no_answer),
        in_a_world(a_host_with_patience_tries_again),
        in_a_world(every_address_is_tried),
        in_a_world(decisions_are_told_apart),
        in_a_world(a_request_is_asked_for_again_by_its_id),
        in_a_world(a_boot_keeps_its_id_and_another_host_has_another),
        in_a_world(a_damaged_file_of_an_authority_is_said_and_not_passed_over),
        in_a_world(a_pin_under_another_id_is_no_pin),
        cmocka_unit_test(a_lineage_file_reads_back),
        cmocka_unit_test(addresses_are_taken_apart_and_odd_ones_refused),
        cmocka_unit_test(a_head_is_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
