//! Hooks of shared objects, in C, over whole bursts and at ROUTE_DECISION.

use std::path::Path;
use std::process::Command;

use sluice_hooks::abi::{self, Opened};
use sluice_policy::DropReason;

use super::choice::{to, two_ways};
use super::*;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What `cc` makes of a source file.
fn built(source: &Path) -> Vec<u8> {
    let object = tempfile::NamedTempFile::new().unwrap();
    let compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"])
        .arg(format!("-I{ROOT}/include"))
        .arg("-o")
        .args([object.path(), source])
        .output()
        .unwrap();
    assert!(compiler.status.success(), "{}", String::from_utf8_lossy(&compiler.stderr));
    std::fs::read(object.path()).unwrap()
}

/// The hook that a file exports, or why it is not loaded.
fn opened(source: &Path) -> Result<sluice_hooks::Loadable, String> {
    match abi::open(source, &built(source)).map_err(|error| error.to_string())? {
        Opened::Hook(hook) => Ok(hook),
        Opened::Module(_) => Err("a module".to_owned()),
    }
}

/// A hook whose description has these fields beside the usual ones; what stands ahead of it is `code`.
fn described(code: &str, fields: &str) -> Result<sluice_hooks::Loadable, String> {
    let mut source = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
    let text = format!(
        "#include <sluice/hook.h>\n{code}\n
        static const char *const counters[] = {{ \"seen\", \"named\", NULL }};
        const struct sluice_hook_program sluice_hook_program = {{ .abi = SLUICE_HOOK_ABI,
        .name = \"tried\", .summary = \"is tried\", .counters = counters,
        .events = SLUICE_FORWARDING | SLUICE_OBSERVING | SLUICE_ROUTE_DECISION, {fields} }};"
    );
    std::io::Write::write_all(&mut source, text.as_bytes()).unwrap();
    opened(source.path())
}

fn placed_at(hook: &sluice_hooks::Loadable, event: Event, told: &[(&str, &str)]) -> Registration {
    let told = told.iter().map(|&(key, value)| (key.into(), value.to_owned())).collect();
    let made = hook.make(event, &told, 1).unwrap();
    placed("tried", event, Hint::None, made.factory)
}

/// Does with each packet what its first byte says, over a whole burst at a time.
const BURST: &str = "
    static void burst(void *context, struct sluice_packet *const *packets, uint32_t *verdicts,
        uint32_t count)
    {
        (void)context;
        for (uint32_t i = 0; i < count; i++) {
            const struct sluice_calls *calls = packets[i]->calls;
            size_t length;
            const uint8_t *bytes = calls->bytes(packets[i], &length);

            switch (bytes[28]) {
            case 'd': verdicts[i] = SLUICE_DROP; break;
            case 'n': verdicts[i] = SLUICE_DROP_AS + 1; break;
            case 'c': verdicts[i] = SLUICE_CONSUMED; break;
            case 'w': calls->write(packets[i], 29, \"W\", 1); calls->write_checksums(packets[i]); break;
            case 't': {
                /* It is put into the place of the next, which is then done with. */
                sluice_owned *taken = calls->take(packets[i]);
                if (calls->length(packets[i]) == 0 && i + 1 < count &&
                    calls->replace(packets[i + 1], taken) == 0)
                    i++;
                break;
            }
            }
        }
    }";
const WHOLE: &str = ".size = sizeof(struct sluice_hook_program), .burst = burst";

#[test]
fn a_hook_in_c_is_shown_a_burst_and_each_packet_has_the_verdict_of_its_place() {
    let hook = described(BURST, WHOLE).unwrap();
    let mut router = ready(&three_ports(), vec![placed_at(&hook, Event::Forwarding, &[])]);
    let payloads: [&[u8]; 8] = [b"k1", b"d2", b"n3", b"c4", b"w5", b"t6", b"k7", b"k8"];
    let frames: Vec<_> = payloads.iter().map(|payload| across(payload)).collect();
    let out = router.receive(0, &frames);
    let payload = |frame: &Vec<u8>| String::from_utf8(ipv4_of(frame).1[8..10].to_vec()).unwrap();
    let out: Vec<_> = out[&1].iter().map(payload).collect();
    assert_eq!(out, ["k1", "wW", "t6", "k8"]);
    assert_eq!(router.dropped(DropReason::HookDropped), 2);
    let consumed = router.statistics.worker(0).core().consumed.get();
    assert_eq!(consumed, 2, "one by its word, one that was taken");
    router.assert_balanced();
}

/// Tries to change what it is shown.
const LOOKS: &str = "
    static void burst(void *context, struct sluice_packet *const *packets, uint32_t *verdicts,
        uint32_t count)
    {
        size_t length;
        (void)context;
        verdicts[0] = SLUICE_DROP;
        packets[0]->calls->count(packets[0], 0, count);
        if (packets[0]->calls->bytes_mut(packets[0], &length) != NULL ||
            packets[0]->calls->write(packets[0], 0, \"x\", 1) != SLUICE_READ_ONLY_PACKET ||
            packets[0]->calls->take(packets[0]) != NULL)
            packets[0]->calls->count(packets[0], 1, 1);
    }";

#[test]
fn at_observing_a_burst_comes_packet_by_packet_and_cannot_be_changed() {
    let hook = described(LOOKS, &format!("{WHOLE}, .flags = SLUICE_READ_ONLY")).unwrap();
    let mut router = ready(&three_ports(), vec![placed_at(&hook, Event::Observing, &[])]);
    let out = router.receive(0, &[across(b"a"), across(b"b"), across(b"c")]);
    assert_eq!(out[&1].len(), 3);
    let own = router.statistics.worker(0).own(0);
    assert_eq!((own[0].get(), own[1].get()), (6, 0), "each once in and once out");
    router.assert_balanced();
}

/// A description of the first release of this version, which ended ahead of `burst`.
const PACKET: &str = "
    static uint32_t packet(void *context, struct sluice_packet *packet)
    { (void)context; (void)packet; return SLUICE_DROP; }";

#[test]
fn a_description_of_an_earlier_release_is_read_and_one_of_a_later_refused() {
    let earlier = ".size = offsetof(struct sluice_hook_program, burst), .packet = packet";
    let hook = described(PACKET, earlier).unwrap();
    let mut router = ready(&three_ports(), vec![placed_at(&hook, Event::Forwarding, &[])]);
    assert_eq!(router.forward(0, &across(b"k")), None);
    assert_eq!(router.dropped(DropReason::HookDropped), 1);
    let wrong = |code: &str, fields: &str| described(code, fields).err().unwrap();
    let both = format!("{WHOLE}, .packet = packet");
    assert!(wrong(&format!("{PACKET}{BURST}"), &both).contains("give one of them"));
    let neither = ".size = sizeof(struct sluice_hook_program)";
    assert!(wrong("", neither).contains("`burst` as well: give one"));
    let short = ".size = 16, .packet = packet";
    assert!(wrong(PACKET, short).contains("`size` is 16, not"));
    // A later release has another field, and this file makes use of it.
    let later = |used: &str| {
        let code = format!(
            "#include <sluice/hook.h>\n{PACKET}
            const struct {{ struct sluice_hook_program now; void *later; }} later
            __asm__(\"sluice_hook_program\") = {{ .now = {{ .abi = SLUICE_HOOK_ABI,
            .size = sizeof(later), .name = \"tried\", .summary = \"s\", .packet = packet,
            .events = SLUICE_FORWARDING }}, .later = {used} }};"
        );
        let mut source = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
        std::io::Write::write_all(&mut source, code.as_bytes()).unwrap();
        opened(source.path()).map(drop)
    };
    assert_eq!(later("0"), Ok(()));
    assert!(later("\"x\"").unwrap_err().contains("what this release does not have"));
}

#[test]
fn l4_the_example_in_c_sends_packets_to_a_port_by_another_table() {
    let example = Path::new(ROOT).join("examples/c/by_port.c");
    let hook = opened(&example).unwrap();
    let by = |port, table| {
        let told = [("port", port), ("table", table)];
        ready(&two_ways(), vec![placed_at(&hook, Event::RouteDecision, &told)])
    };
    for (port, table, out, counted) in
        [("6000", "dmz", 2, (1, 0)), ("6001", "dmz", 1, (0, 0)), ("6000", "gone", 1, (0, 1))]
    {
        let mut router = by(port, table);
        assert_eq!(router.forward(0, &to(1, b"x")).unwrap().0, out, "{port} {table}");
        let own = router.statistics.worker(0).own(0);
        assert_eq!((own[0].get(), own[1].get()), counted, "{port} {table}");
        router.assert_balanced();
    }
    let refused = hook.make(Event::RouteDecision, &Default::default(), 1).err().unwrap();
    assert!(refused.to_string().contains("say `port` (1 to 65535) and `table`"), "{refused}");
}

/// Asks and chooses; what is not as it has to be is counted at place 1, by how often.
const CHOOSES: &str = "
    static void expect(struct sluice_packet *packet, int holds)
    { packet->calls->count(packet, holds ? 0 : 1, 1); }
    static int is(const struct sluice_address *address, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
    {
        const uint8_t *is = address->bytes;
        return address->version == 4 && is[0] == a && is[1] == b && is[2] == c && is[3] == d;
    }
    static uint32_t packet(void *context, struct sluice_packet *packet)
    {
        const struct sluice_calls *calls = packet->calls;
        struct sluice_address hop = { 0 }, dmz = { 4, { 10, 0, 2, 2 } };
        struct sluice_address lost = { 4, { 10, 0, 2, 77 } }, far = { 4, { 203, 0, 113, 1 } };
        struct sluice_address odd = { 7, { 0 } };
        struct sluice_route route;
        (void)context;
        if (calls->event(packet) != SLUICE_ROUTE_DECISION) {
            expect(packet, calls->candidate(packet, &hop) == SLUICE_NOT_FOUND);
            expect(packet, calls->choose_next_hop(packet, &dmz, -1) == SLUICE_NOT_HERE);
            return SLUICE_CONTINUE;
        }
        expect(packet, calls->candidate(packet, &hop) == 2 && is(&hop, 10, 0, 1, 2));
        expect(packet, calls->candidate(packet, NULL) == 2);
        expect(packet, calls->candidate_route(packet, &route) == 0);
        expect(packet, is(&route.prefix, 192, 0, 2, 0) && route.length == 24);
        expect(packet, route.table == calls->table_named(packet, \"main\"));
        expect(packet, route.owner[0] == 's' && route.owner[6] == 0);
        expect(packet, calls->choose_next_hop(packet, NULL, SLUICE_NO_INTERFACE) == SLUICE_INVALID);
        expect(packet, calls->choose_next_hop(packet, &odd, 3) == SLUICE_INVALID);
        expect(packet, calls->choose_next_hop(packet, NULL, 77) == SLUICE_NOT_FOUND);
        expect(packet, calls->choose_next_hop(packet, &far, -1) == SLUICE_NOT_FOUND);
        expect(packet, calls->choose_next_hop(packet, &lost, -1) == SLUICE_NO_ROUTE);
        expect(packet, calls->choose_table(packet, 77) == SLUICE_NOT_FOUND);
        expect(packet, calls->choose_table(packet, -1) == SLUICE_NOT_FOUND);
        expect(packet, calls->table_named(packet, \"no\") == SLUICE_NOT_FOUND);
        /* What was refused has left it where it was. */
        expect(packet, calls->candidate(packet, NULL) == 2);
        expect(packet, calls->choose_next_hop(packet, &dmz, -1) == 0);
        expect(packet, calls->candidate(packet, &hop) == 3 && is(&hop, 10, 0, 2, 2));
        expect(packet, calls->candidate_route(packet, &route) == SLUICE_NOT_FOUND);
        return SLUICE_CONTINUE;
    }";

#[test]
fn l4_a_hook_in_c_sees_the_candidate_and_chooses_a_next_hop() {
    let fields = ".size = sizeof(struct sluice_hook_program), .packet = packet";
    let hook = described(CHOOSES, fields).unwrap();
    let mut router = ready(&two_ways(), vec![placed_at(&hook, Event::RouteDecision, &[])]);
    assert_eq!(router.forward(0, &to(1, b"x")).unwrap().0, 2);
    let own = router.statistics.worker(0).own(0);
    assert_eq!((own[0].get(), own[1].get()), (18, 0), "as expected, and otherwise");
    router.assert_balanced();
    let mut router = ready(&two_ways(), vec![placed_at(&hook, Event::Forwarding, &[])]);
    assert_eq!(router.forward(0, &to(1, b"x")).unwrap().0, 1);
    let own = router.statistics.worker(0).own(0);
    assert_eq!((own[0].get(), own[1].get()), (2, 0), "as expected, and otherwise");
    router.assert_balanced();
}
