//! The rest of io_uring_register(2): what a ring is told, asked, and restricted to.

use super::register::*;
use super::*;

pub const CASES: &[Case] = &[
    case("register_unknown_opcodes", unknown_opcodes),
    case("probe_errors", probe_errors),
    case("probe_header", probe_header),
    case("clock_registration", clock),
    case("napi_settings", napi_settings),
    case("napi_static_ids", napi_ids),
    case("napi_errors", napi_errors),
    case("workers_registration_errors", workers_errors),
    case("workers_limits_come_back", workers_limits),
    case("personalities", personalities),
    case("personality_of_a_request", personality_of_a_request),
    case("enabling_what_is_enabled", enabling_enabled),
    case("restricting_what_is_enabled", restricting_enabled),
    case("restrictions_errors", restriction_errors).with(disabled),
    case("restrictions_of_registrations", restricted_registrations).with(disabled),
    case("restrictions_of_operations", restricted_operations).with(disabled),
    case("restrictions_of_allowed_flags", restricted_flags).with(disabled),
    case("restrictions_of_required_flags", required_flags).with(disabled),
    case("restrictions_without_any", no_restrictions).with(disabled),
    case("restrictions_order_of_checks", order_of_checks).with(disabled),
    case("registering_before_enabling", before_enabling).with(disabled),
];

const PROBE: u32 = 8;
const PERSONALITY: u32 = 9;
const UNREGISTER_PERSONALITY: u32 = 10;
const RESTRICTIONS: u32 = 11;
const ENABLE_RINGS: u32 = 12;
const IOWQ_AFF: u32 = 17;
const UNREGISTER_IOWQ_AFF: u32 = 18;
const IOWQ_MAX_WORKERS: u32 = 19;
const NAPI: u32 = 27;
const UNREGISTER_NAPI: u32 = 28;
const CLOCK: u32 = 29;

fn disabled(builder: &mut Builder) {
    builder.setup_r_disabled();
}

fn unknown_opcodes(bench: &mut Bench) {
    for opcode in [40, 50, 1 << 30, u32::MAX >> 1] {
        bench.register_at("unknown", opcode, 0, 0);
    }
}

fn probe_errors(bench: &mut Bench) {
    let mut room = [0u64; 257];
    bench.register_at("no argument", PROBE, 0, 1);
    bench.register_at("no memory", PROBE, 8, 1);
    bench.register("too many", PROBE, &room, 257);
    room[0] = 1;
    bench.register("not zeroed", PROBE, &room, 1);
    room[0] = 0;
    room[3] = 1 << 40;
    bench.register("not zeroed behind", PROBE, &room, 2);
    bench.register("not zeroed beyond", PROBE, &room, 1);
}

fn probe_header(bench: &mut Bench) {
    for nr in [0u32, 1] {
        let mut room = [0u64; 8];
        let result = bench.register_quietly(PROBE, room.as_mut_ptr() as u64, nr);
        // The first byte is the kernel's last operation, of which there are more in later ones.
        bench.say((nr, result, room[0] >> 8, &room[1..]));
    }
}

fn clock(bench: &mut Bench) {
    for clock in [
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_BOOTTIME,
        libc::CLOCK_REALTIME,
        -1,
    ] {
        bench.register("clock", CLOCK, &[clock, 0, 0, 0], 0);
    }
    bench.register("reserved", CLOCK, &[1, 0, 0, 1], 0);
    bench.register("a count", CLOCK, &[1, 0, 0, 0], 1);
    bench.register_at("no argument", CLOCK, 0, 0);
    bench.register_at("no memory", CLOCK, 8, 0);
}

/// Microseconds, whether to prefer it, what to do, with what.
fn napi(bench: &mut Bench, opcode: u32, (micros, prefer, what, with): (u32, u8, u8, u32)) {
    let mut napi = [micros, u32::from_ne_bytes([prefer, what, 0, 0]), with, 0];
    let result = bench.register_quietly(opcode, napi.as_mut_ptr() as u64, 1);
    bench.say(("napi", opcode, result, napi));
}

fn napi_settings(bench: &mut Bench) {
    for settings in [
        (50, 1, 0, 0),
        (50_000, 7, 0, 1),
        (3, 0, 0, 2),
        (3, 0, 0, 255),
        (3, 0, 3, 0),
    ] {
        napi(bench, NAPI, settings);
    }
    napi(bench, UNREGISTER_NAPI, (9, 9, 9, 9));
    bench.register_at("without an argument", UNREGISTER_NAPI, 0, 1);
    napi(bench, NAPI, (1, 0, 0, 0));
}

fn napi_ids(bench: &mut Bench) {
    const ID: u32 = 100_000;
    napi(bench, NAPI, (0, 0, 1, ID));
    napi(bench, NAPI, (0, 0, 0, 0));
    napi(bench, NAPI, (0, 0, 1, ID));
    napi(bench, NAPI, (0, 0, 0, 1));
    for (what, id) in [(1, ID), (1, ID), (1, 0), (2, ID), (2, ID), (2, 0), (1, ID)] {
        napi(bench, NAPI, (0, 0, what, id));
    }
    // New settings forget the ids.
    napi(bench, NAPI, (0, 0, 0, 1));
    napi(bench, NAPI, (0, 0, 2, ID));
}

fn napi_errors(bench: &mut Bench) {
    bench.register_at("no argument", NAPI, 0, 1);
    bench.register("no count", NAPI, &[0u32; 4], 0);
    bench.register_at("no memory", NAPI, 8, 1);
    bench.register_at("no memory of the old", UNREGISTER_NAPI, 8, 1);
    bench.register_at("no count of the old", UNREGISTER_NAPI, 0, 0);
    bench.register("padding", NAPI, &[0u32, 1 << 16, 0, 0], 1);
    bench.register("reserved", NAPI, &[0u32, 0, 0, 1], 1);
}

fn workers_errors(bench: &mut Bench) {
    let cpus = [0xffu64; 16];
    bench.register("processors", IOWQ_AFF, &cpus, 128);
    bench.register("some bytes", IOWQ_AFF, &cpus, 1);
    bench.register_at("no argument", IOWQ_AFF, 0, 8);
    bench.register_at("no memory", IOWQ_AFF, 8, 8);
    bench.register("no bytes", IOWQ_AFF, &cpus, 0);
    bench.register_at("end", UNREGISTER_IOWQ_AFF, 0, 0);
    bench.register("end with an argument", UNREGISTER_IOWQ_AFF, &cpus, 0);
    bench.register("too many", IOWQ_MAX_WORKERS, &[1u32 << 31, 0], 2);
    bench.register("too many too", IOWQ_MAX_WORKERS, &[0u32, 1 << 31], 2);
    bench.register("one", IOWQ_MAX_WORKERS, &[0u32, 0], 1);
    bench.register_at("nowhere", IOWQ_MAX_WORKERS, 0, 2);
    bench.register_at("no memory of limits", IOWQ_MAX_WORKERS, 8, 2);
}

fn workers_limits(bench: &mut Bench) {
    // What the limits are at first is the machine's.
    let mut first = [3u32, 5];
    let set = bench.register_quietly(IOWQ_MAX_WORKERS, first.as_mut_ptr() as u64, 2);
    bench.say(set);
    for set in [[0u32, 0], [0, 4], [2, 0], [0, 0]] {
        let mut limits = set;
        let result = bench.register_quietly(IOWQ_MAX_WORKERS, limits.as_mut_ptr() as u64, 2);
        bench.say((set, result, limits));
    }
}

fn personalities(bench: &mut Bench) {
    bench.register_at("first", PERSONALITY, 0, 0);
    bench.register_at("second", PERSONALITY, 0, 0);
    bench.register_at("none", UNREGISTER_PERSONALITY, 0, 0);
    bench.register_at("the first", UNREGISTER_PERSONALITY, 0, 1);
    bench.register_at("again", UNREGISTER_PERSONALITY, 0, 1);
    bench.register_at("unknown", UNREGISTER_PERSONALITY, 0, 65538);
    bench.register("an argument", UNREGISTER_PERSONALITY, &0, 2);
    bench.register_at("third", PERSONALITY, 0, 0);
    bench.register_at("a count", PERSONALITY, 0, 1);
    bench.register("with an argument", PERSONALITY, &0, 0);
}

fn personality_of_a_request(bench: &mut Bench) {
    let nop = |id: u16| opcode::Nop::new().build().personality(id);
    bench.run(nop(1), 1);
    bench.register_at("one", PERSONALITY, 0, 0);
    bench.run(nop(1), 2);
    bench.run(nop(2), 3);
    bench.register_at("end", UNREGISTER_PERSONALITY, 0, 1);
    bench.run(nop(1), 4);
}

fn enabling_enabled(bench: &mut Bench) {
    bench.register_at("enabled", ENABLE_RINGS, 0, 0);
    bench.register_at("a count", ENABLE_RINGS, 0, 1);
    bench.register("an argument", ENABLE_RINGS, &0, 0);
}

const REGISTER_OP: u16 = 0;
const SQE_OP: u16 = 1;
const FLAGS_ALLOWED: u16 = 2;
const FLAGS_REQUIRED: u16 = 3;
const NOP: u8 = 0;
const TIMEOUT: u8 = 11;
const ASYNC: u8 = 1 << 4;
const LINK: u8 = 1 << 2;
const SKIP_SUCCESS: u8 = 1 << 6;

fn restriction((kind, arg): (u16, u8)) -> [u32; 4] {
    [u32::from(kind) | u32::from(arg) << 16, 0, 0, 0]
}

fn restrict(bench: &mut Bench, what: &str, restrictions: &[(u16, u8)]) {
    let list: Vec<_> = restrictions.iter().copied().map(restriction).collect();
    bench.register(what, RESTRICTIONS, &list[..], list.len() as u32);
}

fn enable(bench: &mut Bench) {
    bench.register_at("enable", ENABLE_RINGS, 0, 0);
}

fn restricting_enabled(bench: &mut Bench) {
    restrict(bench, "enabled", &[(SQE_OP, NOP)]);
    bench.register_at("no argument", RESTRICTIONS, 0, 0);
}

fn restriction_errors(bench: &mut Bench) {
    bench.register_at("no argument", RESTRICTIONS, 0, 1);
    bench.register_at("no memory", RESTRICTIONS, 8, 1);
    bench.register("too many", RESTRICTIONS, &[0u32; 4], 1000);
    restrict(bench, "a kind", &[(SQE_OP, NOP), (4, 0)]);
    restrict(bench, "an operation", &[(SQE_OP, 200)]);
    restrict(bench, "a registration", &[(REGISTER_OP, 200)]);
    let mut reserved = restriction((SQE_OP, NOP));
    reserved[0] |= 1 << 24;
    reserved[2] = 1;
    bench.register("reserved", RESTRICTIONS, &reserved, 1);
    restrict(bench, "again", &[(SQE_OP, TIMEOUT)]);
    enable(bench);
    bench.run(opcode::Nop::new().build(), 1);
}

fn restricted_registrations(bench: &mut Bench) {
    let files = REGISTER_FILES2 as u8;
    restrict(bench, "files", &[(REGISTER_OP, files)]);
    bench.register_at("not yet in force", PERSONALITY, 0, 0);
    enable(bench);
    let table = rsrc_register(2, SPARSE, 0, 0);
    bench.register("allowed", REGISTER_FILES2, &table, RSRC);
    bench.register_at("not allowed", UNREGISTER_FILES, 0, 0);
    bench.register_at("not allowed, and wrong", PERSONALITY, 0, 7);
    bench.register_at("enabled, and not allowed", ENABLE_RINGS, 0, 0);
    bench.register_at("unknown", 200, 0, 0);
    bench.run(opcode::Nop::new().build(), 1);
}

fn restricted_operations(bench: &mut Bench) {
    restrict(bench, "NOP", &[(SQE_OP, NOP), (FLAGS_ALLOWED, LINK)]);
    enable(bench);
    bench.run(opcode::Nop::new().build(), 1);
    let time = types::Timespec::new().nsec(1);
    bench.run(opcode::Timeout::new(&time).build(), 2);
    bench.push(opcode::Nop::new().build().flags(link()), 3);
    bench.push(opcode::Timeout::new(&time).build().flags(link()), 4);
    bench.push(opcode::Nop::new().build(), 5);
    bench.wait(3);
}

fn flagged(opcode: squeue::Entry, flags: u8) -> squeue::Entry {
    raw(opcode, |bytes| bytes[1] = flags)
}

fn restricted_flags(bench: &mut Bench) {
    restrict(bench, "ASYNC", &[(SQE_OP, NOP), (FLAGS_ALLOWED, ASYNC)]);
    enable(bench);
    for (user_data, flags) in [
        (1, 0),
        (2, ASYNC),
        (3, SKIP_SUCCESS | ASYNC),
        (4, SKIP_SUCCESS),
    ] {
        bench.run(flagged(opcode::Nop::new().build(), flags), user_data);
    }
}

fn required_flags(bench: &mut Bench) {
    let all = [
        (SQE_OP, NOP),
        (FLAGS_REQUIRED, ASYNC),
        (FLAGS_ALLOWED, LINK),
    ];
    restrict(bench, "ASYNC", &all);
    enable(bench);
    for (user_data, flags) in [(1, 0), (2, ASYNC), (3, LINK), (4, SKIP_SUCCESS | ASYNC)] {
        bench.run(flagged(opcode::Nop::new().build(), flags), user_data);
    }
    bench.push(flagged(opcode::Nop::new().build(), LINK | ASYNC), 5);
    bench.push(flagged(opcode::Nop::new().build(), ASYNC), 6);
    bench.wait(2);
}

fn no_restrictions(bench: &mut Bench) {
    bench.register("none", RESTRICTIONS, &[0u32; 4], 0);
    enable(bench);
    bench.run(opcode::Nop::new().build(), 1);
    bench.register_at("anything", PERSONALITY, 0, 0);
}

fn order_of_checks(bench: &mut Bench) {
    restrict(bench, "NOP", &[(SQE_OP, NOP)]);
    enable(bench);
    let time = types::Timespec::new().nsec(1);
    let timeout = || opcode::Timeout::new(&time).build();
    bench.run(raw(timeout(), |bytes| bytes[0] = 200), 1);
    bench.run(flagged(timeout(), 0x80), 2);
    bench.run(flagged(timeout(), 1 << 5), 3);
    bench.run(raw(timeout(), |bytes| bytes[2] = 1), 4);
    bench.run(timeout().personality(9), 5);
    bench.run(raw(timeout(), |bytes| bytes[24] = 9), 6);
}

fn before_enabling(bench: &mut Bench) {
    let table = rsrc_register(2, SPARSE, 0, 0);
    bench.register("files", REGISTER_FILES2, &table, RSRC);
    bench.register_at("a personality", PERSONALITY, 0, 0);
    bench.push(opcode::Nop::new().build(), 1);
    let refused = bench.ring.submit().map_err(|error| error.raw_os_error());
    bench.say(refused);
    bench.register_at("a count", ENABLE_RINGS, 0, 1);
    enable(bench);
    enable(bench);
    bench.wait(1);
}
