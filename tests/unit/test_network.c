/* A host's network recorded, lost, set again and undone, in a network namespace of its own. Needs root. */
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "loop_disk.h"
#include "network/network.h"
#include "unit.h"

static char at[] = "/tmp/husk-network-XXXXXX";

static bool ip(const char *arguments)
{
    char command[256];
    snprintf(command, sizeof(command), "ip %s", arguments);
    return run_program("sh", "-c", command, NULL);
}

static bool says(const char *command, const char *pattern)
{
    char script[512];
    snprintf(script, sizeof(script), "%s | grep -q -- '%s'", command, pattern);
    return run_program("sh", "-c", script, NULL);
}

/* As rented machines have it: a /32 whose gateway is no neighbour of it, a small MTU, IPv6 beside. */
static int start(void **state)
{
    (void)state;
    char husk[64];
    /* What a bond is made of is read in /sys, which shows the namespace it was mounted in. */
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("sysfs", "/sys", "sysfs", 0, NULL) < 0 || !mkdtemp(at))
        return -1;
    snprintf(husk, sizeof(husk), "%s/.husk", at);
    return mkdir(husk, 0700) == 0 && ip("link set lo up") &&
                   ip("link add card0 address 02:00:00:00:00:01 type veth peer name other0") &&
                   ip("link set other0 up") && ip("link set card0 mtu 1450 up") &&
                   ip("addr add 203.0.113.5/32 dev card0") && ip("route add 172.31.1.1 dev card0") &&
                   ip("route add default via 172.31.1.1 dev card0 onlink") &&
                   ip("addr add 2001:db8::5/64 dev card0 nodad") &&
                   ip("-6 route add default via fe80::1 dev card0 metric 512")
               ? 0
               : -1;
}

static int stop(void **state)
{
    (void)state;
    return run_program("rm", "-r", at, NULL) ? 0 : -1;
}

static void lose(void)
{
    assert_true(ip("addr flush dev card0"));
    assert_true(ip("link set card0 down mtu 1500"));
}

static void recorded_and_lost_it_comes_back_as_it_was(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    struct network *network = NULL;
    bool changed = false;
    assert_fails(ERR_NOT_FOUND, network_compare(at, &findings, &error));
    assert_ok(network_record(at, NULL, &changed, &findings, &error));
    assert_true(changed);
    assert_ok(network_record(at, NULL, &changed, &findings, &error));
    assert_false(changed);
    assert_ok(network_compare(at, &findings, &error));

    json_t *names = json_pack("{s:[s]}", "authority.test", "192.0.2.1"), *kept = NULL;
    assert_ok(network_record(at, names, &changed, &findings, &error));
    assert_true(changed);
    assert_ok(network_record(at, NULL, &changed, &findings, &error));
    assert_false(changed);
    assert_ok(network_read_names(at, &kept, &error));
    assert_true(json_equal(names, kept));
    json_decref(names);
    json_decref(kept);

    /* What comes later does no harm; what goes does. */
    assert_true(ip("addr add 192.0.2.7/32 dev card0"));
    assert_ok(network_compare(at, &findings, &error));
    assert_true(ip("link set card0 mtu 1400"));
    assert_fails(ERR_CHANGED, network_compare(at, &findings, &error));
    assert_true(ip("link set card0 mtu 1450"));
    assert_true(ip("addr del 192.0.2.7/32 dev card0"));
    assert_ok(network_compare(at, &findings, &error));

    lose();
    assert_fails(ERR_NOT_FOUND, network_compare(at, &findings, &error));
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 5, &error));
    assert_true(says("ip route", "^default via 172.31.1.1 dev card0 .*onlink"));
    assert_true(says("ip link show card0", "mtu 1450"));
    assert_true(says("ip -6 addr show dev card0", "2001:db8::5/64"));
    assert_false(says("ip -6 addr show dev card0", "2001:db8::5.*tentative"));
    assert_ok(network_compare(at, &findings, &error));

    network_undo(network);
    assert_false(says("ip link show card0", "UP"));
    assert_true(says("ip link show card0", "mtu 1500"));
    assert_false(says("ip addr show dev card0", "inet"));
    assert_false(says("ip route", "card0"));
    assert_int_equal(findings.count, 0);
    finding_list_done(&findings);
}

/* A tunnel's or a cloud's way: the gateway is the other end of the address. */
static void an_address_with_a_peer_comes_back_with_the_way_to_it(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    struct network *network = NULL;
    lose();
    assert_true(ip("link set other0 up"));
    assert_true(ip("link set card0 up"));
    assert_true(ip("addr add 192.0.2.5 peer 192.0.2.1/32 dev card0"));
    assert_true(ip("addr add 198.51.100.66 peer 192.0.2.67/26 dev card0"));
    assert_true(ip("route add default via 192.0.2.1"));
    assert_ok(network_record(at, NULL, NULL, &findings, &error));
    lose();
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 5, &error));
    assert_true(says("ip addr show dev card0", "192.0.2.5"));
    assert_true(says("ip addr show dev card0", "198.51.100.66/32"));
    assert_true(says("ip route", "^192.0.2.1 dev card0"));
    assert_true(says("ip route", "^192.0.2.64/26 dev card0"));
    assert_true(says("ip route", "^default via 192.0.2.1 dev card0"));
    assert_ok(network_compare(at, &findings, &error));
    network_undo(network);
    assert_int_equal(findings.count, 0);
    finding_list_done(&findings);
}

static void each_way_of_a_route_that_has_several_comes_back(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    struct network *network = NULL;
    lose();
    assert_true(ip("link add card3 address 02:00:00:00:00:03 type veth peer name other3"));
    assert_true(ip("link set other3 up"));
    assert_true(ip("link set card0 up"));
    assert_true(ip("link set card3 up"));
    assert_true(ip("addr add 192.0.2.5/25 dev card0"));
    assert_true(ip("addr add 192.0.2.205/25 dev card3"));
    assert_true(ip("route add default metric 7 nexthop via 192.0.2.1 nexthop via 192.0.2.201"));
    assert_ok(network_record(at, NULL, NULL, &findings, &error));
    lose();
    assert_true(ip("addr flush dev card3"));
    assert_true(ip("link set card3 down"));
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 5, &error));
    assert_true(says("ip route", "^default via 192.0.2.1 dev card0 .*metric 7"));
    assert_true(says("ip route", "^default via 192.0.2.201 dev card3 .*metric 8"));
    network_undo(network);
    assert_true(ip("link del card3"));
    finding_list_done(&findings);
}

/* What the permanent MAC of a card is only a real one tells: the first boot of tests/vm has one. */
static void a_card_that_ran_with_another_mac_gets_it_again_and_its_own_back(void **state)
{
    (void)state;
    struct network *network = NULL;
    char path[128];
    snprintf(path, sizeof(path), "%s/.husk/network.json", at);
    struct finding_list findings = {0};
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 5, &error));
    assert_ok(network_record(at, NULL, NULL, &findings, &error));
    network_undo(network);
    assert_true(run_program(
        "sed", "-i", "s/\"mac\": *\"02:00:00:00:00:01\"/&,\"set_mac\":\"02:00:00:00:00:77\"/", path, NULL));
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 5, &error));
    assert_true(says("ip link show card0", "link/ether 02:00:00:00:00:77"));
    assert_true(says("ip addr show card0", "203.0.113.5/32"));
    assert_ok(network_apply(network, at, 5, &error));
    assert_true(says("ip link show card0", "link/ether 02:00:00:00:00:77"));
    assert_true(says("ip link show card0", "UP"));
    network_undo(network);
    assert_true(says("ip link show card0", "link/ether 02:00:00:00:00:01"));
    assert_false(says("ip link show card0", "UP"));
    /* One that takes the MAC and not the MTU does not come up, and gets its own back all the same. */
    assert_true(run_program("sed", "-i", "s/\"mtu\": *1450/\"mtu\":99999/", path, NULL));
    assert_ok(network_open(&network, &error));
    assert_fails(ERR_FAILED, network_apply(network, at, 5, &error));
    assert_true(says("ip link show card0", "link/ether 02:00:00:00:00:77"));
    network_undo(network);
    assert_true(says("ip link show card0", "link/ether 02:00:00:00:00:01"));
    assert_true(run_program(
        "sed", "-i", "s/,\"set_mac\":\"02:00:00:00:00:77\"//;s/\"mtu\":99999/\"mtu\":1450/", path, NULL));
    finding_list_done(&findings);
}

static void what_somebody_else_has_up_stays_as_it_is(void **state)
{
    (void)state;
    struct network *network = NULL;
    lose();
    assert_true(ip("addr add 192.0.2.7/24 dev card0"));
    assert_true(ip("link set card0 up"));
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 5, &error));
    assert_false(says("ip addr show dev card0", "203.0.113.5"));
    network_undo(network);
    assert_true(says("ip addr show dev card0", "192.0.2.7/24"));
}

static void a_carrier_that_comes_later_finds_the_card_set_up(void **state)
{
    (void)state;
    struct network *network = NULL;
    lose();
    assert_true(ip("link set other0 down"));
    assert_ok(network_open(&network, &error));
    assert_false(network_awaits_carrier(network));
    assert_fails_saying(ERR_NOT_FOUND, "no carrier", network_apply(network, at, 0, &error));
    assert_true(network_awaits_carrier(network));
    assert_false(network_has_address());
    assert_true(ip("link set other0 up"));
    assert_true(network_has_address());
    /* Tried again it is not lost. */
    assert_ok(network_apply(network, at, 5, &error));
    assert_true(network_has_address());
    assert_false(network_awaits_carrier(network));
    assert_true(says("ip route", "^default via 172.31.1.1 dev card0 .*onlink"));
    assert_true(says("ip addr show dev card0", "203.0.113.5/32"));
    assert_true(says("ip -6 addr show dev card0", "2001:db8::5/64"));
    assert_true(says("ip -6 route", "^default via fe80::1 dev card0"));
    network_undo(network);
    assert_false(says("ip link show card0", "UP"));
    assert_false(says("ip addr show dev card0", "inet"));
    assert_true(ip("link set card0 up"));
    assert_false(network_has_address());
    assert_true(ip("link set card0 down"));
}

/* Two cables in a bond with a VLAN on it, and a VLAN on the card with the address. False where this kernel
 * has no such links (tests/vm runs this in a guest whose kernel has). */
static bool make_stacked(void)
{
    return ip("link add bond7 type bond mode active-backup miimon 100") &&
           ip("link add card1 address 02:00:00:00:01:01 type veth peer name other1") &&
           ip("link add card2 address 02:00:00:00:01:02 type veth peer name other2") &&
           ip("link set other1 up") && ip("link set other2 up") && ip("link set card1 master bond7") &&
           ip("link set card2 master bond7") && ip("link set bond7 address 02:00:00:00:01:07 up") &&
           ip("addr add 10.9.0.2/24 dev bond7") && ip("link add link bond7 name bond7.5 type vlan id 5") &&
           ip("link set bond7.5 mtu 1400 up") && ip("addr add 10.9.5.2/24 dev bond7.5") &&
           ip("route add 10.10.0.0/16 via 10.9.5.1") &&
           ip("link add link card0 name lan9 type vlan id 9 proto 802.1ad") && ip("link set lan9 up") &&
           ip("addr add 10.9.9.2/24 dev lan9");
}

static void check_stacked(void)
{
    assert_true(says("ip -d link show bond7", "bond mode active-backup "));
    assert_true(says("ip -d link show bond7", " miimon 100 "));
    assert_true(says("ip link show bond7", "02:00:00:00:01:07"));
    assert_true(says("ip link show card1", "master bond7"));
    assert_true(says("ip link show card2", "master bond7"));
    assert_true(says("ip -d link show bond7.5", "mtu 1400"));
    assert_true(says("ip -d link show bond7.5", "802.1Q id 5"));
    assert_true(says("ip route", "^10.10.0.0/16 via 10.9.5.1 dev bond7.5"));
    assert_true(says("ip -d link show lan9", "lan9@card0"));
    assert_true(says("ip -d link show lan9", "802.1ad id 9"));
}

static void a_bond_and_vlans_are_made_again_and_go(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    struct network *network = NULL;
    if (!ip("link add bond7 type bond 2>/dev/null"))
        skip();
    assert_true(ip("link del bond7"));
    assert_true(ip("link set card0 up"));
    assert_true(ip("addr add 203.0.113.5/32 dev card0"));
    assert_true(make_stacked());
    assert_ok(network_record(at, NULL, NULL, &findings, &error));
    assert_ok(network_compare(at, &findings, &error));
    assert_int_equal(findings.count, 0);

    assert_true(ip("link del lan9"));
    assert_true(ip("link del bond7"));
    assert_true(ip("link set card1 down"));
    assert_true(ip("link set card2 down"));
    lose();
    assert_ok(network_open(&network, &error));
    /* As the module makes one when it is loaded. */
    assert_true(ip("link add bond7 type bond mode balance-rr"));
    assert_ok(network_apply(network, at, 5, &error));
    check_stacked();
    assert_ok(network_compare(at, &findings, &error));
    const unsigned bond = if_nametoindex("bond7"), vlan = if_nametoindex("bond7.5");
    assert_ok(network_apply(network, at, 5, &error));
    check_stacked();
    assert_int_equal(if_nametoindex("bond7"), bond);
    assert_int_equal(if_nametoindex("bond7.5"), vlan);

    network_undo(network);
    assert_false(says("ip link", "bond7"));
    assert_false(says("ip link", "lan9"));
    assert_true(says("ip link show card1", "02:00:00:00:01:01"));
    assert_true(says("ip link show card2", "02:00:00:00:01:02"));
    assert_false(says("ip link show card1", "UP"));
    assert_false(says("ip link show card0", "UP"));

    /* One cable that is gone is what the other is for; somebody else's VLAN stays. */
    assert_true(ip("link set card2 address 02:00:00:00:01:99"));
    assert_true(ip("link set card0 up"));
    assert_true(ip("link add link card0 name lan9 type vlan id 11"));
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 1, &error));
    assert_true(says("ip link show bond7", "LOWER_UP"));
    assert_true(says("ip -d link show lan9", "id 11"));
    network_undo(network);
    assert_true(says("ip -d link show lan9", "id 11"));
    assert_true(ip("link del lan9"));
    assert_false(says("ip link", "bond7"));
    finding_list_done(&findings);
}

static bool bonds(const char *name, const char *port, const char *other_port)
{
    char command[128];
    snprintf(command, sizeof(command),
             "link add %s type bond mode 802.3ad lacp_rate fast xmit_hash_policy layer3+4 miimon 100", name);
    bool is_made = ip(command);
    for (int i = 0; i < 2 && is_made; i++) {
        snprintf(command, sizeof(command), "link set %s down", i ? other_port : port);
        is_made = ip(command);
        snprintf(command, sizeof(command), "link set %s master %s", i ? other_port : port, name);
        is_made = is_made && ip(command);
    }
    snprintf(command, sizeof(command), "link set %s up", name);
    return is_made && ip(command);
}

static void a_bond_by_lacp_is_ready_when_its_partner_is(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    struct network *network = NULL;
    if (!ip("link add bond7 type bond 2>/dev/null"))
        skip();
    assert_true(ip("link del bond7"));
    lose();
    assert_true(ip("link add lacp1 address 02:00:00:00:02:01 type veth peer name far1"));
    assert_true(ip("link add lacp2 address 02:00:00:00:02:02 type veth peer name far2"));
    assert_true(bonds("bond7", "lacp1", "lacp2"));
    assert_true(ip("addr add 10.9.0.2/24 dev bond7"));
    assert_true(ip("link add link bond7 name bond7.5 type vlan id 5"));
    assert_true(ip("link set bond7.5 up"));
    assert_true(ip("addr add 10.9.5.2/24 dev bond7.5"));
    assert_ok(network_record(at, NULL, NULL, &findings, &error));
    assert_true(ip("link del bond7"));
    assert_true(ip("link set lacp1 down"));
    assert_true(ip("link set lacp2 down"));

    /* The other side may speak no LACP: it has the time there is, and then is asked over all the same. */
    assert_true(ip("link set far1 up"));
    assert_true(ip("link set far2 up"));
    assert_ok(network_open(&network, &error));
    const int64_t begun_ns = clock_monotonic_ns();
    assert_ok(network_apply(network, at, 6, &error));
    assert_true(clock_monotonic_ns() - begun_ns >= 6 * CLOCK_NS_PER_S);
    assert_false(network_awaits_carrier(network));
    network_undo(network);

    assert_true(bonds("bond8", "far1", "far2"));
    assert_ok(network_open(&network, &error));
    assert_ok(network_apply(network, at, 60, &error));
    assert_true(says("cat /sys/class/net/lacp*/bonding_slave/ad_actor_oper_port_state", "^63"));
    assert_true(says("ip -d link show bond7", "bond mode 802.3ad "));
    assert_true(says("ip -d link show bond7", " xmit_hash_policy layer3+4 "));
    assert_true(says("ip -d link show bond7", " lacp_rate fast "));
    assert_true(
        says("cat /sys/class/net/bond7/bonding/ad_partner_mac /sys/class/net/bond8/address | uniq -c", "2 "));
    network_undo(network);
    assert_true(ip("link del bond8"));
    assert_true(ip("link del lacp1"));
    assert_true(ip("link del lacp2"));
    finding_list_done(&findings);
}

static void a_card_without_a_cable_keeps_no_other_waiting(void **state)
{
    (void)state;
    struct finding_list findings = {0};
    struct network *network = NULL;
    lose();
    assert_true(ip("link add card4 index 9999 address 02:00:00:00:00:04 type veth peer name other4"));
    assert_true(ip("link set other4 up"));
    assert_true(ip("link set card0 up"));
    assert_true(ip("link set card4 up"));
    assert_true(ip("addr add 192.0.2.5/25 dev card0"));
    assert_true(ip("addr add 192.0.2.205/25 dev card4"));
    assert_ok(network_record(at, NULL, NULL, &findings, &error));
    lose();
    assert_true(ip("addr flush dev card4"));
    assert_true(ip("link set card4 down"));
    assert_true(ip("link set other0 down")); /* of the first of both */
    assert_ok(network_open(&network, &error));
    const int64_t begun_ns = clock_monotonic_ns();
    assert_ok(network_apply(network, at, 15, &error));
    assert_true(clock_monotonic_ns() - begun_ns < 10 * CLOCK_NS_PER_S);
    assert_true(says("ip addr show dev card4", "192.0.2.205/25"));
    assert_true(says("ip addr show dev card0", "192.0.2.5/25")); /* for when it comes */
    network_undo(network);
    assert_true(ip("link set other0 up"));
    assert_true(ip("link del card4"));
    finding_list_done(&findings);
}

static void a_card_that_is_not_there_is_said(void **state)
{
    (void)state;
    struct network *network = NULL;
    assert_true(ip("link set card0 down address 02:00:00:00:00:99"));
    assert_ok(network_open(&network, &error));
    assert_fails_saying(ERR_NOT_FOUND, "not there", network_apply(network, at, 0, &error));
    network_undo(network);
    assert_true(ip("link set card0 address 02:00:00:00:00:01"));
}

static void a_damaged_record_changes_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "{}",
                                        "{\"version\":2,\"links\":[]}",
                                        "{\"version\":1,\"links\":{}}",
                                        "{\"version\":1,\"links\":[{\"name\":\"x\",\"mac\":\"card\",\"mtu\":"
                                        "1,\"addresses\":[],\"routes\":[]}]}",
                                        "{\"version\":1,\"links\":[{\"name\":\"../../x\",\"kind\":\"bond\","
                                        "\"mac\":\"02:00:00:00:00:01\",\"mtu\":1500,\"addresses\":[],"
                                        "\"routes\":[],\"options\":{},\"ports\":[]}]}",
                                        "{\"version\":1,\"links\":[{\"name\":\"v\",\"kind\":\"vlan\","
                                        "\"mac\":\"02:00:00:00:00:01\",\"mtu\":1500,\"addresses\":[],"
                                        "\"routes\":[],\"parent\":\"v\",\"id\":5,\"protocol\":33024}]}",
                                        "{\"version\":1,\"links\":[{\"name\":\"t\",\"kind\":\"team\","
                                        "\"mac\":\"02:00:00:00:00:01\",\"mtu\":1500,\"addresses\":[],"
                                        "\"routes\":[]}]}",
                                        "{\"version\":1,\"links\":[{\"mac\":\"02:00:00:00:00:01\",\"mtu\":-1,"
                                        "\"addresses\":[],\"routes\":[]}]}"};
    char path[64];
    snprintf(path, sizeof(path), "%s/.husk", at);
    _cleanup_(close_fdp) int husk_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    lose();
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        struct network *network = NULL;
        assert_ok(file_write_durable(husk_fd, NETWORK_FILE, 0600, texts[i], strlen(texts[i]), &error));
        assert_ok(network_open(&network, &error));
        assert_int_not_equal(network_apply(network, at, 0, NULL), OK);
        assert_false(says("ip link show card0", "UP"));
        network_undo(network);
    }
}

static void the_other_way_is_a_program_and_ends_with_it(void **state)
{
    (void)state;
    assert_ok(network_run("/bin/true", &error));
    assert_fails(ERR_UNREACHABLE, network_run("/bin/false", &error));
    assert_fails(ERR_FAILED, network_run("/nowhere", &error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_and_lost_it_comes_back_as_it_was),
        cmocka_unit_test(a_card_that_ran_with_another_mac_gets_it_again_and_its_own_back),
        cmocka_unit_test(what_somebody_else_has_up_stays_as_it_is),
        cmocka_unit_test(a_carrier_that_comes_later_finds_the_card_set_up),
        cmocka_unit_test(a_card_without_a_cable_keeps_no_other_waiting),
        cmocka_unit_test(a_card_that_is_not_there_is_said),
        cmocka_unit_test(a_damaged_record_changes_nothing),
        cmocka_unit_test(the_other_way_is_a_program_and_ends_with_it),
        cmocka_unit_test(a_bond_and_vlans_are_made_again_and_go),
        cmocka_unit_test(a_bond_by_lacp_is_ready_when_its_partner_is),
        cmocka_unit_test(an_address_with_a_peer_comes_back_with_the_way_to_it),
        cmocka_unit_test(each_way_of_a_route_that_has_several_comes_back),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
