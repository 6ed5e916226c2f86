//! Registered buffers: the table, and its tags.

use super::register::*;
use super::*;

pub const CASES: &[Case] = &[
    case("buffers_tags_of_what_is_in_use", tags_in_use),
    case("buffers_tags_of_what_two_use", tags_of_two_users),
    case("buffers_tags_of_what_is_cancelled", tags_of_cancelled),
    case("buffers_replaced_in_use", replaced_in_use),
    case("buffers_registration_errors", registration_errors),
    case("buffers_registration_limits", limits),
    case("buffers_sparse_registration", sparse),
    case("buffers_update_errors", update_errors),
    case("buffers_update_stops_at_an_error", update_stops),
    case("buffers_tags_of_unregistered", tags_of_unregistered),
    case("buffers_tags_of_replaced", tags_of_replaced),
    case("buffers_tags_of_nothing", tags_of_nothing),
    case("buffers_tags_in_the_overflow_list", tags_overflow),
    case("buffers_clone_errors", clone_errors),
    case("buffers_clone_of_its_own", clone_own),
];

const CLONE_BUFFERS: u32 = 30;
const REPLACE: u32 = 2;

/// So many pages, each a buffer.
fn pages(count: usize) -> Vec<libc::iovec> {
    let memory = vec![0u8; count * 4096].leak();
    let page = |index| iovec(memory[index * 4096..].as_ptr() as u64, 4096);
    (0..count).map(page).collect()
}

fn tagged(buffers: &[libc::iovec], tags: &[u64]) -> [u64; 4] {
    rsrc_register(buffers.len() as u32, 0, at(buffers), at(tags))
}

fn registration_errors(bench: &mut Bench) {
    let page = pages(1)[0];
    bench.register_at("no array", REGISTER_BUFFERS, 0, 1);
    bench.register("none", REGISTER_BUFFERS, &[page], 0);
    bench.register_at("no memory of iovecs", REGISTER_BUFFERS, 8, 1);
    let second = |addr, len| [page, iovec(addr, len)];
    bench.register("a length of nothing", REGISTER_BUFFERS, &second(0, 1), 2);
    bench.register("no length", REGISTER_BUFFERS, &second(at(&page), 0), 2);
    bench.register("no memory", REGISTER_BUFFERS, &second(8, 8), 2);
    bench.register(
        "endless",
        REGISTER_BUFFERS,
        &second(at(&page), usize::MAX),
        2,
    );
    bench.register("too long", REGISTER_BUFFERS, &second(at(&page), 1 << 41), 2);
    bench.register_at("nothing there", UNREGISTER_BUFFERS, 0, 0);
    bench.register("two", REGISTER_BUFFERS, &second(0, 0), 2);
    bench.register("again", REGISTER_BUFFERS, &[page], 1);
    bench.register("again, none", REGISTER_BUFFERS, &[page], 0);
    bench.register("with an argument", UNREGISTER_BUFFERS, &[page], 0);
    bench.register_at("with a count", UNREGISTER_BUFFERS, 0, 1);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.register_at("end again", UNREGISTER_BUFFERS, 0, 0);
}

fn limits(bench: &mut Bench) {
    let holes = vec![iovec(0, 0); 16385];
    bench.register("too many", REGISTER_BUFFERS, &holes[..], 16385);
    bench.register("as many as may be", REGISTER_BUFFERS, &holes[..], 16384);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.register(
        "too many empty",
        REGISTER_BUFFERS2,
        &rsrc_register(16385, SPARSE, 0, 0),
        RSRC,
    );
}

fn sparse(bench: &mut Bench) {
    let good = rsrc_register(2, SPARSE, 0, 0);
    let page = pages(1);
    bench.register("too short", REGISTER_BUFFERS2, &good, RSRC - 8);
    bench.register(
        "none",
        REGISTER_BUFFERS2,
        &rsrc_register(0, SPARSE, 0, 0),
        RSRC,
    );
    bench.register(
        "a flag",
        REGISTER_BUFFERS2,
        &rsrc_register(2, 2, 0, 0),
        RSRC,
    );
    bench.register(
        "data",
        REGISTER_BUFFERS2,
        &rsrc_register(1, SPARSE, at(&page[..]), 0),
        RSRC,
    );
    bench.register("reserved", REGISTER_BUFFERS2, &[good[0], 1, 0, 0], RSRC);
    bench.register("two", REGISTER_BUFFERS2, &good, RSRC);
    bench.register("again", REGISTER_BUFFERS2, &good, RSRC);
    let update = |offset| rsrc_update2(offset, at(&page[..]), 0, 1);
    bench.register("fill one", BUFFERS_UPDATE, &update(1), RSRC);
    bench.register("fill another", BUFFERS_UPDATE, &update(2), RSRC);
}

fn update_errors(bench: &mut Bench) {
    let buffers = [pages(1)[0], iovec(0, 0)];
    let update = |offset, nr| rsrc_update2(offset, at(&buffers), 0, nr);
    bench.register("no table", BUFFERS_UPDATE, &update(0, 1), RSRC);
    bench.register(
        "overflow of no table",
        BUFFERS_UPDATE,
        &update(u32::MAX, 1),
        RSRC,
    );
    bench.register(
        "table",
        REGISTER_BUFFERS2,
        &rsrc_register(2, SPARSE, 0, 0),
        RSRC,
    );
    bench.register("none", BUFFERS_UPDATE, &update(0, 0), RSRC);
    bench.register("too many", BUFFERS_UPDATE, &update(1, 2), RSRC);
    bench.register("overflow", BUFFERS_UPDATE, &update(u32::MAX, 1), RSRC);
    bench.register("too short", BUFFERS_UPDATE, &update(0, 1), 16);
    bench.register_at("no argument", BUFFERS_UPDATE, 0, RSRC);
    bench.register("no iovecs", BUFFERS_UPDATE, &rsrc_update2(0, 8, 0, 1), RSRC);
    bench.register(
        "no tags",
        BUFFERS_UPDATE,
        &rsrc_update2(0, at(&buffers), 8, 1),
        RSRC,
    );
    bench.register(
        "reserved",
        BUFFERS_UPDATE,
        &[1 << 32, at(&buffers), 0, 1],
        RSRC,
    );
    bench.register(
        "reserved too",
        BUFFERS_UPDATE,
        &[0, at(&buffers), 0, 1 << 32 | 1],
        RSRC,
    );
    bench.register("both", BUFFERS_UPDATE, &update(0, 2), RSRC);
}

fn update_stops(bench: &mut Bench) {
    let page = pages(1)[0];
    let tags = [0u64, 61, 62, 63];
    let table = [iovec(0, 0), page, page, page];
    bench.register("table", REGISTER_BUFFERS2, &tagged(&table, &tags), RSRC);
    let wrong = [page, iovec(0, 0), iovec(0, 1), page];
    bench.register(
        "stops",
        BUFFERS_UPDATE,
        &rsrc_update2(0, at(&wrong), 0, 4),
        RSRC,
    );
    bench.wait(1);
    bench.register(
        "at once",
        BUFFERS_UPDATE,
        &rsrc_update2(0, at(&wrong[2]), 0, 2),
        RSRC,
    );
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.wait(2);
}

fn tags_of_unregistered(bench: &mut Bench) {
    let buffers = pages(3);
    bench.register(
        "tagged",
        REGISTER_BUFFERS2,
        &tagged(&buffers, &[51, 0, 53]),
        RSRC,
    );
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.wait(2);
    bench.run(opcode::Nop::new().build(), 1);
}

fn tags_of_replaced(bench: &mut Bench) {
    let buffers = pages(3);
    bench.register(
        "tagged",
        REGISTER_BUFFERS2,
        &tagged(&buffers, &[51, 52, 53]),
        RSRC,
    );
    let tags = [61u64, 62];
    let update = rsrc_update2(1, at(&buffers[..]), at(&tags), 2);
    bench.register("replace", BUFFERS_UPDATE, &update, RSRC);
    bench.wait(2);
    let holes = [iovec(0, 0); 2];
    bench.register(
        "empty",
        BUFFERS_UPDATE,
        &rsrc_update2(0, at(&holes), 0, 2),
        RSRC,
    );
    bench.wait(2);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.wait(1);
}

fn tags_of_nothing(bench: &mut Bench) {
    let buffers = [pages(1)[0], iovec(0, 0)];
    bench.register(
        "of a hole",
        REGISTER_BUFFERS2,
        &tagged(&buffers, &[51, 52]),
        RSRC,
    );
    bench.register(
        "no tags",
        REGISTER_BUFFERS2,
        &rsrc_register(2, 0, at(&buffers), 8),
        RSRC,
    );
    let sparse = rsrc_register(2, SPARSE, 0, at(&[1u64, 2]));
    bench.register("of a sparse table", REGISTER_BUFFERS2, &sparse, RSRC);
    bench.register("good", REGISTER_BUFFERS2, &tagged(&buffers, &[51, 0]), RSRC);
    let update = rsrc_update2(0, at(&buffers[1]), at(&[7u64]), 1);
    bench.register("put a tagged hole", BUFFERS_UPDATE, &update, RSRC);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.wait(1);
}

fn tags_overflow(bench: &mut Bench) {
    let buffers = pages(1);
    for user_data in 0..u64::from(CQ_ENTRIES) {
        bench.push(opcode::Nop::new().build(), user_data);
    }
    bench.submit();
    bench.register("tagged", REGISTER_BUFFERS2, &tagged(&buffers, &[51]), RSRC);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.wait(CQ_ENTRIES as usize + 1);
}

/// `io_uring_clone_buffers`; `src_fd` is this ring.
fn clone(bench: &Bench, flags: u32, (src_off, dst_off, nr): (u32, u32, u32)) -> [u32; 8] {
    let fd = bench.ring.as_raw_fd() as u32;
    [fd, flags, src_off, dst_off, nr, 0, 0, 0]
}

fn clone_errors(bench: &mut Bench) {
    let good = clone(bench, 0, (0, 0, 0));
    bench.register_at("no argument", CLONE_BUFFERS, 0, 1);
    bench.register("a count", CLONE_BUFFERS, &good, 2);
    bench.register_at("no memory", CLONE_BUFFERS, 8, 1);
    bench.register("nothing there", CLONE_BUFFERS, &good, 1);
    bench.register("a flag", CLONE_BUFFERS, &clone(bench, 4, (0, 0, 0)), 1);
    bench.register("padding", CLONE_BUFFERS, &[good[0], 0, 0, 0, 0, 0, 0, 1], 1);
    bench.register("no ring", CLONE_BUFFERS, &[9999, 0, 0, 0, 0, 0, 0, 0], 1);
    let file = std::fs::File::open("/dev/null").expect("/dev/null");
    let file = file.as_raw_fd() as u32;
    bench.register("not a ring", CLONE_BUFFERS, &[file, 0, 0, 0, 0, 0, 0, 0], 1);
    let buffers = pages(3);
    bench.register("three", REGISTER_BUFFERS, &buffers[..], 3);
    bench.register("there are some", CLONE_BUFFERS, &good, 1);
    bench.register(
        "some, and padding",
        CLONE_BUFFERS,
        &[good[0], 0, 0, 0, 0, 0, 0, 1],
        1,
    );
    let mut refused = |what, range| {
        let clone = clone(bench, REPLACE, range);
        bench.register(what, CLONE_BUFFERS, &clone, 1);
    };
    refused("an offset without a count", (1, 0, 0));
    refused("another", (0, 1, 0));
    refused("more than there are", (0, 0, 4));
    refused("beyond", (1, 0, 3));
    refused("overflow", (u32::MAX, 0, 1));
    refused("overflow here", (0, u32::MAX, 1));
    refused("too many here", (0, 16384, 1));
}

fn clone_own(bench: &mut Bench) {
    let buffers = pages(3);
    bench.register(
        "three",
        REGISTER_BUFFERS2,
        &tagged(&buffers, &[51, 52, 53]),
        RSRC,
    );
    let some = clone(bench, REPLACE, (0, 2, 2));
    bench.register("two behind two", CLONE_BUFFERS, &some, 1);
    bench.wait(1);
    let update = |offset| rsrc_update2(offset, at(&buffers[..]), 0, 1);
    bench.register("there is a fourth", BUFFERS_UPDATE, &update(3), RSRC);
    bench.register("and no fifth", BUFFERS_UPDATE, &update(4), RSRC);
    let all = clone(bench, REPLACE, (0, 0, 0));
    bench.register("all", CLONE_BUFFERS, &all, 1);
    bench.wait(2);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.run(opcode::Nop::new().build(), 1);
}

/// A receive into the registered buffer 0, of which this is the memory.
fn read_fixed(buffer: &libc::iovec) -> squeue::Entry {
    let memory = buffer.iov_base.cast();
    opcode::ReadFixed::new(types::Fixed(0), memory, 64, 0).build()
}

/// Receives that wait, into a buffer with a tag.
fn waiting(bench: &mut Bench, receives: u64) -> Vec<libc::iovec> {
    bench.bound();
    let buffers = pages(1);
    bench.register("tagged", REGISTER_BUFFERS2, &tagged(&buffers, &[51]), RSRC);
    for _ in 0..receives {
        bench.push(read_fixed(&buffers[0]), 1);
    }
    bench.submit();
    buffers
}

fn tags_in_use(bench: &mut Bench) {
    let _buffers = waiting(bench, 1);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.run(opcode::Nop::new().build(), 2);
    bench.peer_sends(b"and then the tag");
    bench.wait(2);
}

fn tags_of_two_users(bench: &mut Bench) {
    let _buffers = waiting(bench, 2);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.peer_sends(b"one");
    bench.wait(1);
    bench.run(opcode::Nop::new().build(), 2);
    bench.peer_sends(b"two");
    bench.wait(2);
}

fn tags_of_cancelled(bench: &mut Bench) {
    let _buffers = waiting(bench, 1);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.cancel(1);
    bench.wait(3);
}

fn replaced_in_use(bench: &mut Bench) {
    let old = waiting(bench, 1);
    let new = pages(1);
    let update = rsrc_update2(0, at(&new[..]), at(&[61u64]), 1);
    bench.register("replace", BUFFERS_UPDATE, &update, RSRC);
    bench.peer_sends(b"into the old one");
    bench.wait(2);
    // SAFETY: the pages are leaked.
    let got = unsafe { std::slice::from_raw_parts(old[0].iov_base.cast::<u8>(), 16) }.to_vec();
    bench.say(got);
    // The old one's memory lies outside the new one.
    bench.run(read_fixed(&old[0]), 3);
    bench.register_at("end", UNREGISTER_BUFFERS, 0, 0);
    bench.wait(1);
    bench.run(read_fixed(&old[0]), 4);
}
