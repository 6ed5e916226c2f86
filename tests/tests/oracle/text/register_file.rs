//! Tables of direct descriptors. A file descriptor of the process's is no socket of ringwire's, so what
//! the cases put into a table are holes and what cannot be one.

use super::register::*;
use super::*;

pub const CASES: &[Case] = &[
    case(
        "files_allocation_hint_beside_the_range",
        hint_beside_the_range,
    ),
    case("files_registration_errors", registration_errors),
    case("files_registration_of_holes", holes),
    case("files_sparse_registration", sparse),
    case("files_tags_of_holes", tags_of_holes),
    case("files_update_errors", update_errors),
    case("files_update_clears_and_skips", update),
    case("files_update_with_tags", update_with_tags),
    case("files_update_stops_at_an_error", update_stops),
    case("files_update_as_an_operation", update_operation),
    case("files_update_operation_errors", update_operation_errors),
    case("files_allocation_order", allocation_order),
    case(
        "files_allocation_after_replacement",
        allocation_after_replacement,
    ),
    case("files_allocation_range", allocation_range),
    case("files_allocation_range_errors", range_errors),
    case("files_allocation_beside_the_range", beside_the_range),
    case("files_allocation_range_ends_with_the_table", range_ends),
    case(
        "files_unregistered_with_a_receive_in_flight",
        unregistered_in_flight,
    ),
    case(
        "files_replaced_with_a_receive_in_flight",
        replaced_in_flight,
    ),
];

const NO_FD: i32 = 9999;
const SKIP: i32 = -2;

fn open(bench: &mut Bench, slot: Option<u32>, user_data: u64) {
    let slot = slot.map_or_else(types::DestinationSlot::auto_target, |slot| {
        types::DestinationSlot::try_from_slot_target(slot).expect("a slot")
    });
    let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0).file_index(Some(slot));
    bench.run(entry.build(), user_data);
}

fn close(bench: &mut Bench, slot: u32, user_data: u64) {
    bench.run(opcode::Close::new(types::Fixed(slot)).build(), user_data);
}

fn table(bench: &mut Bench, slots: u32) {
    bench.register(
        "table",
        REGISTER_FILES2,
        &rsrc_register(slots, SPARSE, 0, 0),
        RSRC,
    );
}

fn registration_errors(bench: &mut Bench) {
    bench.register_at("no array", REGISTER_FILES, 0, 1);
    bench.register("no slots", REGISTER_FILES, &[-1; 1], 0);
    bench.register("too many", REGISTER_FILES, &[-1; 1], (1 << 20) + 1);
    bench.register_at("no memory", REGISTER_FILES, 8, 1);
    bench.register("no descriptor", REGISTER_FILES, &[-1, NO_FD], 2);
    bench.register("skipped", REGISTER_FILES, &[-1, SKIP], 2);
    bench.register_at("nothing there", UNREGISTER_FILES, 0, 0);
    bench.register("with an argument", UNREGISTER_FILES, &[0; 1], 0);
    bench.register_at("with a count", UNREGISTER_FILES, 0, 1);
}

fn holes(bench: &mut Bench) {
    bench.register("two", REGISTER_FILES, &[-1; 2], 2);
    bench.register("again", REGISTER_FILES, &[-1; 2], 2);
    bench.register("again, too many", REGISTER_FILES, &[-1; 2], u32::MAX);
    (0..3).for_each(|user_data| open(bench, None, user_data));
    bench.register_at("end", UNREGISTER_FILES, 0, 0);
    open(bench, None, 4);
    open(bench, Some(0), 5);
    bench.register("three", REGISTER_FILES, &[-1; 3], 3);
    open(bench, Some(2), 6);
}

fn sparse(bench: &mut Bench) {
    let good = rsrc_register(2, SPARSE, 0, 0);
    bench.register("too short", REGISTER_FILES2, &good, RSRC - 8);
    bench.register("too long", REGISTER_FILES2, &good, RSRC + 8);
    bench.register_at("no memory", REGISTER_FILES2, 8, RSRC);
    bench.register(
        "no slots",
        REGISTER_FILES2,
        &rsrc_register(0, SPARSE, 0, 0),
        RSRC,
    );
    bench.register("a flag", REGISTER_FILES2, &rsrc_register(2, 2, 0, 0), RSRC);
    let fds = [-1; 2];
    bench.register(
        "data",
        REGISTER_FILES2,
        &rsrc_register(2, SPARSE, at(&fds), 0),
        RSRC,
    );
    bench.register("reserved", REGISTER_FILES2, &[good[0], 1, 0, 0], RSRC);
    bench.register(
        "without the flag",
        REGISTER_FILES2,
        &rsrc_register(2, 0, 0, 0),
        RSRC,
    );
    bench.register("again", REGISTER_FILES2, &good, RSRC);
    open(bench, None, 1);
}

fn tags_of_holes(bench: &mut Bench) {
    let (fds, tags) = ([-1; 2], [0u64, 7]);
    let tagged = |data| rsrc_register(2, 0, data, at(&tags));
    bench.register("a tag", REGISTER_FILES2, &tagged(at(&fds)), RSRC);
    bench.register("a tag of nothing", REGISTER_FILES2, &tagged(0), RSRC);
    bench.register(
        "no memory",
        REGISTER_FILES2,
        &rsrc_register(2, 0, at(&fds), 8),
        RSRC,
    );
    let none = [0u64; 2];
    bench.register(
        "no tags",
        REGISTER_FILES2,
        &rsrc_register(2, 0, at(&fds), at(&none)),
        RSRC,
    );
    bench.register_at("end", UNREGISTER_FILES, 0, 0);
    bench.run(opcode::Nop::new().build(), 1);
}

fn update_errors(bench: &mut Bench) {
    let fds = [-1; 3];
    bench.register("no table", FILES_UPDATE, &rsrc_update(0, at(&fds)), 1);
    bench.register(
        "no table, overflow",
        FILES_UPDATE,
        &rsrc_update(u32::MAX, at(&fds)),
        1,
    );
    table(bench, 2);
    bench.register("nothing", FILES_UPDATE, &rsrc_update(0, at(&fds)), 0);
    bench.register("too many", FILES_UPDATE, &rsrc_update(0, at(&fds)), 3);
    bench.register("beyond", FILES_UPDATE, &rsrc_update(2, at(&fds)), 1);
    bench.register(
        "overflow",
        FILES_UPDATE,
        &rsrc_update(u32::MAX, at(&fds)),
        1,
    );
    bench.register("no memory", FILES_UPDATE, &rsrc_update(0, 8), 1);
    bench.register_at("no argument", FILES_UPDATE, 0, 1);
    bench.register("reserved", FILES_UPDATE, &[1u64 << 32, at(&fds)], 1);
    bench.register(
        "no descriptor",
        FILES_UPDATE,
        &rsrc_update(0, at(&[NO_FD])),
        1,
    );
    bench.register("the last", FILES_UPDATE, &rsrc_update(1, at(&fds)), 1);
}

fn update(bench: &mut Bench) {
    table(bench, 4);
    (0..4).for_each(|user_data| open(bench, None, user_data));
    bench.register(
        "update",
        FILES_UPDATE,
        &rsrc_update(1, at(&[-1, SKIP, -1])),
        3,
    );
    for slot in 0..4 {
        bench.run(
            bind_entry(slot, &any_v4(PORT + slot as u16)),
            10 + u64::from(slot),
        );
    }
    bench.register(
        "empty already",
        FILES_UPDATE,
        &rsrc_update(1, at(&[-1; 1])),
        1,
    );
}

fn update_with_tags(bench: &mut Bench) {
    table(bench, 2);
    open(bench, None, 1);
    open(bench, None, 2);
    let fds = [-1, SKIP];
    let update = |tags: &[u64; 2], first: usize| {
        rsrc_update2(0, at(&fds[first]), at(&tags[first]), 2 - first as u32)
    };
    bench.register("a tag", FILES_UPDATE2, &update(&[5, 0], 0), RSRC);
    bench.register("a skipped tag", FILES_UPDATE2, &update(&[0, 5], 1), RSRC);
    bench.register("a tag later", FILES_UPDATE2, &update(&[0, 5], 0), RSRC);
    bench.register("no tags", FILES_UPDATE2, &update(&[0, 0], 0), RSRC);
    bench.register("too short", FILES_UPDATE2, &update(&[0, 0], 0), 16);
    bench.register(
        "nothing",
        FILES_UPDATE2,
        &rsrc_update2(0, at(&fds), 0, 0),
        RSRC,
    );
    bench.register(
        "reserved",
        FILES_UPDATE2,
        &[0, at(&fds), 0, 1 | 1 << 32],
        RSRC,
    );
    bench.register(
        "no memory of tags",
        FILES_UPDATE2,
        &rsrc_update2(0, at(&fds), 8, 1),
        RSRC,
    );
    (0..2).for_each(|slot| close(bench, slot, 10 + u64::from(slot)));
}

fn update_stops(bench: &mut Bench) {
    table(bench, 4);
    (0..4).for_each(|user_data| open(bench, None, user_data));
    bench.register(
        "stops",
        FILES_UPDATE,
        &rsrc_update(0, at(&[-1, SKIP, NO_FD, -1])),
        4,
    );
    (0..4).for_each(|slot| close(bench, slot, 10 + u64::from(slot)));
}

fn update_operation(bench: &mut Bench) {
    table(bench, 3);
    (0..3).for_each(|user_data| open(bench, None, user_data));
    let fds = [-1, SKIP, -1];
    bench.run(opcode::FilesUpdate::new(fds.as_ptr(), 3).build(), 10);
    (0..3).for_each(|slot| close(bench, slot, 20 + u64::from(slot)));
    bench.run(
        opcode::FilesUpdate::new(fds.as_ptr(), 1).offset(2).build(),
        11,
    );
    bench.run(
        opcode::FilesUpdate::new(fds.as_ptr(), 2).offset(2).build(),
        12,
    );
}

fn update_operation_errors(bench: &mut Bench) {
    const ALLOC: i32 = -1;
    let fds = [NO_FD; 2];
    let update = |len| opcode::FilesUpdate::new(fds.as_ptr(), len);
    bench.run(update(1).build(), 1);
    bench.run(update(1).offset(ALLOC).build(), 2);
    table(bench, 2);
    bench.run(update(0).build(), 3);
    bench.run(update(1).build(), 4);
    bench.run(update(1).offset(ALLOC).build(), 5);
    bench.run(update(1).build().flags(squeue::Flags::FIXED_FILE), 6);
    bench.run(opcode::FilesUpdate::new(8 as *const i32, 1).build(), 7);
    bench.run(
        opcode::FilesUpdate::new(8 as *const i32, 1)
            .offset(ALLOC)
            .build(),
        8,
    );
}

fn allocation_order(bench: &mut Bench) {
    table(bench, 4);
    open(bench, Some(2), 1);
    (2..6).for_each(|user_data| open(bench, None, user_data));
    close(bench, 1, 10);
    close(bench, 3, 11);
    (12..15).for_each(|user_data| open(bench, None, user_data));
    bench.register("update", FILES_UPDATE, &rsrc_update(0, at(&[-1; 3])), 3);
    (20..24).for_each(|user_data| open(bench, None, user_data));
}

fn allocation_after_replacement(bench: &mut Bench) {
    table(bench, 5);
    open(bench, Some(0), 1);
    open(bench, Some(3), 2);
    open(bench, Some(0), 3);
    (4..9).for_each(|user_data| open(bench, None, user_data));
}

fn allocation_range(bench: &mut Bench) {
    table(bench, 8);
    bench.register("range", FILE_ALLOC_RANGE, &index_range(2, 3), 0);
    (0..4).for_each(|user_data| open(bench, None, user_data));
    close(bench, 3, 10);
    (11..13).for_each(|user_data| open(bench, None, user_data));
    bench.register("another", FILE_ALLOC_RANGE, &index_range(7, 1), 0);
    (20..22).for_each(|user_data| open(bench, None, user_data));
    bench.register("none", FILE_ALLOC_RANGE, &index_range(0, 0), 0);
    open(bench, None, 30);
    open(bench, Some(0), 31);
    bench.register("all", FILE_ALLOC_RANGE, &index_range(0, 8), 0);
    (40..44).for_each(|user_data| open(bench, None, user_data));
}

fn range_errors(bench: &mut Bench) {
    bench.register(
        "nothing of no table",
        FILE_ALLOC_RANGE,
        &index_range(0, 0),
        0,
    );
    bench.register("of no table", FILE_ALLOC_RANGE, &index_range(0, 1), 0);
    table(bench, 4);
    bench.register("beyond", FILE_ALLOC_RANGE, &index_range(1, 4), 0);
    bench.register("overflow", FILE_ALLOC_RANGE, &index_range(u32::MAX, 2), 0);
    bench.register("reserved", FILE_ALLOC_RANGE, &[1u64 << 32, 1], 0);
    bench.register("a count", FILE_ALLOC_RANGE, &index_range(0, 1), 1);
    bench.register_at("no argument", FILE_ALLOC_RANGE, 0, 0);
    bench.register_at("no memory", FILE_ALLOC_RANGE, 8, 0);
    bench.register("empty at the end", FILE_ALLOC_RANGE, &index_range(4, 0), 0);
    open(bench, None, 1);
}

fn beside_the_range(bench: &mut Bench) {
    table(bench, 8);
    bench.register("range", FILE_ALLOC_RANGE, &index_range(1, 2), 0);
    open(bench, Some(5), 1);
    (2..6).for_each(|user_data| open(bench, None, user_data));
    // What is freed beside the range is not found.
    for slot in [5, 0] {
        open(bench, Some(slot), 10);
        close(bench, slot, 11);
        open(bench, None, 12);
    }
}

fn hint_beside_the_range(bench: &mut Bench) {
    table(bench, 8);
    bench.register("range", FILE_ALLOC_RANGE, &index_range(0, 4), 0);
    open(bench, Some(2), 1);
    open(bench, Some(6), 2);
    open(bench, None, 3);
    open(bench, Some(2), 4);
    close(bench, 2, 5);
    close(bench, 6, 6);
    open(bench, None, 7);
}

fn range_ends(bench: &mut Bench) {
    table(bench, 4);
    bench.register("range", FILE_ALLOC_RANGE, &index_range(2, 1), 0);
    bench.register_at("end", UNREGISTER_FILES, 0, 0);
    table(bench, 4);
    (0..5).for_each(|user_data| open(bench, None, user_data));
}

fn receive(bench: &Bench) -> squeue::Entry {
    opcode::Recv::new(types::Fixed(0), bench.buffers.as_ptr().cast_mut(), 64).build()
}

fn unregistered_in_flight(bench: &mut Bench) {
    bench.bound();
    bench.push(receive(bench), 1);
    bench.submit();
    bench.register_at("end", UNREGISTER_FILES, 0, 0);
    bench.run(receive(bench), 2);
    bench.peer_sends(b"still there");
    bench.wait(1);
    bench.say(bench.buffer(0, 11));
}

fn replaced_in_flight(bench: &mut Bench) {
    bench.bound();
    bench.push(receive(bench), 1);
    bench.submit();
    bench.run(socket(libc::AF_INET, 0), 2);
    bench.peer_sends(b"the old one");
    bench.wait(1);
    bench.say(bench.buffer(0, 11));
    bench.run(bind_entry(0, &any_v4(PORT)), 3);
}
