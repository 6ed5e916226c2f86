use io_uring::{opcode, types};
use ringwire_abi::register::*;

use super::*;
use crate::engine::bed::Bed;

/// A socket in a slot of the table's choice, or in this one: the slot, or the error.
fn open(bed: &mut Bed, slot: Option<u32>) -> i32 {
    let slot = slot.map(|slot| types::DestinationSlot::try_from_slot_target(slot).expect("a slot"));
    let entry = opcode::Socket::new(libc::AF_INET, libc::SOCK_DGRAM, 0);
    let slot = slot.unwrap_or_else(types::DestinationSlot::auto_target);
    bed.run(entry.file_index(Some(slot)).build())[0].1
}

fn set_range(bed: &mut Bed, off: u32, len: u32) -> Result<i32, Errno> {
    let range = FileIndexRange { off, len, resv: 0 };
    bed.register(IORING_REGISTER_FILE_ALLOC_RANGE, range, 0)
}

fn update(bed: &mut Bed, offset: u32, fds: &[i32]) -> Result<i32, Errno> {
    let update = RsrcUpdate {
        offset,
        resv: 0,
        data: fds.as_ptr() as u64,
    };
    bed.register(IORING_REGISTER_FILES_UPDATE, update, fds.len() as u32)
}

#[test]
fn a_table_is_registered_once_and_within_limits() {
    let mut bed = Bed::new(0);
    let mut register = |nr| {
        let table = RsrcRegister {
            nr,
            flags: IORING_RSRC_REGISTER_SPARSE,
            ..RsrcRegister::default()
        };
        bed.register(IORING_REGISTER_FILES2, table, 32)
    };
    assert_eq!(register(0), Err(Errno::EINVAL));
    assert_eq!(register(MAX_SLOTS + 1), Err(Errno::EMFILE));
    assert_eq!(register(MAX_SLOTS), Ok(0));
    assert_eq!(register(1), Err(Errno::EBUSY));
}

#[test]
fn only_empty_slots_can_be_registered() {
    let mut bed = Bed::new(0);
    let fds = [-1, 0];
    let register =
        |bed: &mut Bed, nr| bed.register_at(IORING_REGISTER_FILES, fds.as_ptr() as u64, nr);
    assert_eq!(register(&mut bed, 2), Err(Errno::EBADF));
    assert_eq!(open(&mut bed, None), Errno::ENFILE.res(), "nothing is left");
    assert_eq!(register(&mut bed, 1), Ok(0));
    assert_eq!(open(&mut bed, None), 0);
}

#[test]
fn an_empty_slot_has_no_tag() {
    let mut bed = Bed::new(0);
    let (fds, tags) = ([-1, -1], [0u64, 7]);
    let table = RsrcRegister {
        nr: 2,
        data: fds.as_ptr() as u64,
        tags: tags.as_ptr() as u64,
        ..RsrcRegister::default()
    };
    assert_eq!(
        bed.register(IORING_REGISTER_FILES2, table, 32),
        Err(Errno::EINVAL)
    );
    assert_eq!(
        bed.register_at(IORING_UNREGISTER_FILES, 0, 0),
        Err(Errno::ENXIO)
    );
}

#[test]
fn the_next_free_slot_is_the_one_behind_the_last_taken() {
    let mut bed = Bed::with_slots(4);
    assert_eq!(open(&mut bed, Some(2)), 0);
    assert_eq!(open(&mut bed, None), 3);
    assert_eq!(open(&mut bed, None), 0, "from the beginning again");
    assert_eq!(open(&mut bed, None), 1);
    assert_eq!(open(&mut bed, None), Errno::ENFILE.res());
}

#[test]
fn the_slot_freed_last_is_the_next_one() {
    let mut bed = Bed::with_slots(4);
    (0..4).for_each(|slot| assert_eq!(open(&mut bed, None), slot));
    assert_eq!(update(&mut bed, 1, &[-1, -1]), Ok(2));
    assert_eq!(open(&mut bed, None), 2);
    assert_eq!(open(&mut bed, None), 1);
}

#[test]
fn a_replaced_socket_does_not_move_the_search() {
    let mut bed = Bed::with_slots(4);
    assert_eq!(open(&mut bed, Some(0)), 0);
    assert_eq!(open(&mut bed, Some(2)), 0);
    assert_eq!(open(&mut bed, Some(0)), 0);
    assert_eq!(open(&mut bed, None), 3);
}

#[test]
fn slots_are_found_in_the_range() {
    let mut bed = Bed::with_slots(8);
    assert_eq!(set_range(&mut bed, 2, 2), Ok(0));
    assert_eq!(open(&mut bed, None), 2);
    assert_eq!(open(&mut bed, None), 3);
    assert_eq!(open(&mut bed, None), Errno::ENFILE.res());
    assert_eq!(set_range(&mut bed, 7, 1), Ok(0));
    assert_eq!(open(&mut bed, None), 7);
    assert_eq!(set_range(&mut bed, 0, 0), Ok(0));
    assert_eq!(open(&mut bed, None), Errno::ENFILE.res());
}

#[test]
fn a_slot_freed_beside_the_range_is_not_found() {
    let mut bed = Bed::with_slots(8);
    assert_eq!(set_range(&mut bed, 1, 1), Ok(0));
    assert_eq!(open(&mut bed, None), 1);
    for slot in [0, 5] {
        assert_eq!(open(&mut bed, Some(slot)), 0);
        assert_eq!(update(&mut bed, slot, &[-1]), Ok(1));
        assert_eq!(open(&mut bed, None), Errno::ENFILE.res());
    }
}

#[test]
fn a_range_lies_in_the_table() {
    let mut bed = Bed::new(0);
    assert_eq!(set_range(&mut bed, 0, 0), Ok(0), "nothing of no table");
    assert_eq!(set_range(&mut bed, 0, 1), Err(Errno::EINVAL));
    let mut bed = Bed::with_slots(4);
    assert_eq!(set_range(&mut bed, 1, 4), Err(Errno::EINVAL));
    assert_eq!(set_range(&mut bed, u32::MAX, 2), Err(Errno::EOVERFLOW));
}

#[test]
fn an_update_says_how_many_slots_it_took_before_an_error() {
    let mut bed = Bed::with_slots(4);
    (0..4).for_each(|slot| assert_eq!(open(&mut bed, None), slot));
    let skip = IORING_REGISTER_FILES_SKIP;
    assert_eq!(update(&mut bed, 0, &[-1, skip, 5, -1]), Ok(2));
    let held = |slot| bed.engine.files.lookup(slot).is_ok();
    assert_eq!([0, 1, 2, 3].map(held), [false, true, false, true]);
    assert_eq!(update(&mut bed, 0, &[5]), Err(Errno::EBADF));
    assert_eq!(update(&mut bed, 3, &[-1, -1]), Err(Errno::EINVAL));
    assert_eq!(update(&mut bed, 0, &[]), Err(Errno::EINVAL));
    assert_eq!(update(&mut Bed::new(0), 0, &[-1]), Err(Errno::ENXIO));
}

#[test]
fn the_operation_updates_as_the_registration_does() {
    let mut bed = Bed::with_slots(2);
    assert_eq!(open(&mut bed, None), 0);
    let fds = [-1];
    let addr = fds.as_ptr() as u64;
    assert_eq!(bed.engine.files_update(addr, 1, 0), Ok(1));
    assert!(bed.engine.files.lookup(0).is_err());
    let alloc = IORING_FILE_INDEX_ALLOC;
    assert_eq!(bed.engine.files_update(addr, 1, alloc), Err(Errno::EBADF));
    assert_eq!(bed.engine.files_update(1, 1, alloc), Err(Errno::EFAULT));
}
