use ringwire_abi::register::*;

use super::*;
use crate::engine::bed::Bed;

/// Where the buffers would be. Nothing here looks into them: there is no memory behind it.
const BASE: u64 = 1 << 20;

const NONE: (u64, usize) = (0, 0);

fn iovecs(buffers: &[(u64, usize)]) -> Vec<libc::iovec> {
    let buffers = buffers.iter();
    buffers
        .map(|&(addr, len)| libc::iovec {
            iov_base: addr as *mut _,
            iov_len: len,
        })
        .collect()
}

fn register(bed: &mut Bed, buffers: &[(u64, usize)]) -> Result<i32, Errno> {
    let iovecs = iovecs(buffers);
    let nr = iovecs.len() as u32;
    bed.register_at(IORING_REGISTER_BUFFERS, iovecs.as_ptr() as u64, nr)
}

fn register_tagged(bed: &mut Bed, buffers: &[(u64, usize)], tags: &[u64]) -> Result<i32, Errno> {
    let iovecs = iovecs(buffers);
    let register = RsrcRegister {
        nr: iovecs.len() as u32,
        data: iovecs.as_ptr() as u64,
        tags: tags.as_ptr() as u64,
        ..RsrcRegister::default()
    };
    bed.register(IORING_REGISTER_BUFFERS2, register, 32)
}

fn update(
    bed: &mut Bed,
    offset: u32,
    buffers: &[(u64, usize)],
    tags: &[u64],
) -> Result<i32, Errno> {
    let iovecs = iovecs(buffers);
    let update = RsrcUpdate2 {
        offset,
        data: iovecs.as_ptr() as u64,
        tags: if tags.is_empty() {
            0
        } else {
            tags.as_ptr() as u64
        },
        nr: iovecs.len() as u32,
        ..RsrcUpdate2::default()
    };
    bed.register(IORING_REGISTER_BUFFERS_UPDATE, update, 32)
}

fn unregister(bed: &mut Bed) -> Result<i32, Errno> {
    bed.register_at(IORING_UNREGISTER_BUFFERS, 0, 0)
}

fn tags(bed: &mut Bed) -> Vec<u64> {
    let completions = bed.completions().into_iter();
    completions
        .map(|(tag, res, flags)| {
            assert_eq!((res, flags), (0, 0), "a tag says nothing else");
            tag
        })
        .collect()
}

fn import(bed: &Bed, index: u16, addr: u64, len: usize) -> Result<Span, Errno> {
    let registered = &bed.engine.registered;
    registered.span(registered.node(index)?, addr, len)
}

#[test]
fn a_span_must_lie_in_its_buffer() {
    let mut bed = Bed::new(0);
    register(&mut bed, &[NONE, (BASE, 100)]).unwrap();
    let inside = |addr, len| Ok(Span { addr, len });
    assert_eq!(import(&bed, 1, BASE, 100), inside(BASE, 100));
    assert_eq!(import(&bed, 1, BASE + 99, 1), inside(BASE + 99, 1));
    assert_eq!(import(&bed, 1, BASE + 100, 0), inside(BASE + 100, 0));
    for (addr, len) in [
        (BASE - 1, 1),
        (BASE, 101),
        (BASE + 101, 0),
        (0, 0),
        (u64::MAX, 2),
    ] {
        assert_eq!(import(&bed, 1, addr, len), Err(Errno::EFAULT), "{addr:#x}");
    }
}

#[test]
fn an_empty_slot_is_no_buffer() {
    let mut bed = Bed::new(0);
    assert_eq!(import(&bed, 0, BASE, 0), Err(Errno::EFAULT), "no table");
    register(&mut bed, &[NONE]).unwrap();
    assert_eq!(import(&bed, 0, BASE, 0), Err(Errno::EFAULT));
    assert_eq!(import(&bed, 1, BASE, 0), Err(Errno::EFAULT));
}

#[test]
fn no_more_is_imported_than_a_result_can_say() {
    let mut bed = Bed::new(0);
    register(&mut bed, &[(BASE, 1 << 32)]).unwrap();
    assert!(import(&bed, 0, BASE, MAX_TRANSFER).is_ok());
    assert_eq!(import(&bed, 0, BASE, MAX_TRANSFER + 1), Err(Errno::EFAULT));
}

#[test]
fn a_table_is_refused_whole() {
    let mut bed = Bed::new(0);
    for wrong in [(0, 1), (BASE, 0), (BASE, MAX_BUFFER_BYTES + 1), (1, 1)] {
        let table = [(BASE, 1), wrong];
        assert_eq!(register(&mut bed, &table), Err(Errno::EFAULT), "{wrong:?}");
    }
    let endless = (BASE, usize::MAX);
    assert_eq!(register(&mut bed, &[endless]), Err(Errno::EINVAL));
    let untaggable = register_tagged(&mut bed, &[(BASE, 1), NONE], &[5, 6]);
    assert_eq!(untaggable, Err(Errno::EINVAL));
    assert_eq!(tags(&mut bed), [], "what never was registered has no end");
    assert_eq!(unregister(&mut bed), Err(Errno::ENXIO));
}

#[test]
fn a_table_is_registered_once_and_within_limits() {
    let mut bed = Bed::new(0);
    assert_eq!(register(&mut bed, &[]), Err(Errno::EINVAL));
    let most = MAX_BUFFERS as usize;
    assert_eq!(
        register(&mut bed, &vec![NONE; most + 1]),
        Err(Errno::EINVAL)
    );
    assert_eq!(register(&mut bed, &vec![NONE; most]), Ok(0));
    assert_eq!(register(&mut bed, &[NONE]), Err(Errno::EBUSY));
    assert_eq!(unregister(&mut bed), Ok(0));
    assert_eq!(register(&mut bed, &[(BASE, 1)]), Ok(0));
}

#[test]
fn the_end_of_a_buffer_is_told_with_its_tag() {
    let mut bed = Bed::new(0);
    let buffers = [(BASE, 10), (BASE, 20), (BASE, 30)];
    register_tagged(&mut bed, &buffers, &[51, 0, 53]).unwrap();
    assert_eq!(update(&mut bed, 0, &[(BASE, 40)], &[54]), Ok(1));
    assert_eq!(tags(&mut bed), [51]);
    unregister(&mut bed).unwrap();
    assert_eq!(tags(&mut bed), [53, 54], "from the last slot to the first");
}

#[test]
fn a_buffer_in_use_ends_with_its_last_user() {
    let mut bed = Bed::new(0);
    register_tagged(&mut bed, &[(BASE, 10)], &[51]).unwrap();
    let node = bed.engine.registered.node(0).unwrap();
    bed.engine.registered.hold(node);
    bed.engine.registered.hold(node);
    unregister(&mut bed).unwrap();
    bed.engine.let_go_of_buffer(node);
    assert_eq!(tags(&mut bed), []);
    bed.engine.let_go_of_buffer(node);
    assert_eq!(tags(&mut bed), [51]);
}

#[test]
fn an_update_says_how_many_slots_it_took_before_an_error() {
    let mut bed = Bed::new(0);
    assert_eq!(update(&mut bed, 0, &[NONE], &[]), Err(Errno::ENXIO));
    register(&mut bed, &[(BASE, 10), (BASE, 10), (BASE, 10)]).unwrap();
    assert_eq!(update(&mut bed, 0, &[NONE, (0, 1), NONE], &[]), Ok(1));
    assert!(import(&bed, 0, BASE, 10).is_err());
    assert!(import(&bed, 1, BASE, 10).is_ok());
    assert_eq!(update(&mut bed, 1, &[(0, 1)], &[]), Err(Errno::EFAULT));
    assert_eq!(update(&mut bed, 1, &[NONE], &[7]), Err(Errno::EINVAL));
    assert_eq!(update(&mut bed, 2, &[NONE, NONE], &[]), Err(Errno::EINVAL));
    let beyond = update(&mut bed, u32::MAX, &[NONE], &[]);
    assert_eq!(beyond, Err(Errno::EOVERFLOW));
}

/// Clones from a table of three: buffers of 1 and 3 bytes, and an empty slot between them.
fn clone(bed: &mut Bed, flags: u32, (src_off, dst_off, nr): (u32, u32, u32)) -> Result<i32, Errno> {
    let mut source = Bed::new(0);
    register_tagged(&mut source, &[(BASE, 1), NONE, (BASE, 3)], &[9, 0, 9]).unwrap();
    let clone = CloneBuffers {
        flags,
        src_off,
        dst_off,
        nr,
        ..CloneBuffers::default()
    };
    bed.engine.check_clone(&clone)?;
    let source = source.engine.shown_buffers().spans();
    bed.engine.clone_buffers(&clone, source)
}

/// Bytes of each buffer in the table, 0 for an empty slot.
fn lens(bed: &Bed) -> Vec<usize> {
    let spans = bed.engine.shown_buffers().spans().unwrap_or_default();
    spans
        .iter()
        .map(|span| span.map_or(0, |span| span.len))
        .collect()
}

#[test]
fn a_clone_has_the_memory_and_not_the_tags() {
    let mut bed = Bed::new(0);
    assert_eq!(clone(&mut bed, 0, (0, 0, 0)), Ok(0));
    assert_eq!(lens(&bed), [1, 0, 3]);
    unregister(&mut bed).unwrap();
    assert_eq!(tags(&mut bed), []);
}

#[test]
fn a_clone_goes_where_it_is_told() {
    let mut bed = Bed::new(0);
    assert_eq!(clone(&mut bed, 0, (2, 1, 1)), Ok(0));
    assert_eq!(lens(&bed), [0, 3]);
}

#[test]
fn a_clone_replaces_only_what_it_is_told_to() {
    let mut bed = Bed::new(0);
    let buffers = [(BASE, 10), (BASE, 20), (BASE, 30)];
    register_tagged(&mut bed, &buffers, &[51, 52, 53]).unwrap();
    assert_eq!(clone(&mut bed, 0, (0, 0, 0)), Err(Errno::EBUSY));
    let replace = IORING_REGISTER_DST_REPLACE;
    assert_eq!(clone(&mut bed, replace, (0, 1, 1)), Ok(0));
    assert_eq!(lens(&bed), [10, 1, 30]);
    assert_eq!(tags(&mut bed), [52]);
    assert_eq!(clone(&mut bed, replace, (1, 2, 2)), Ok(0));
    assert_eq!(lens(&bed), [10, 1, 0, 3]);
    assert_eq!(tags(&mut bed), [53]);
}

#[test]
fn a_clone_of_what_is_not_there_is_refused() {
    let mut bed = Bed::new(0);
    let mut refused = |flags, range| clone(&mut bed, flags, range).unwrap_err();
    assert_eq!(refused(4, (0, 0, 0)), Errno::EINVAL);
    assert_eq!(
        refused(0, (1, 0, 0)),
        Errno::EINVAL,
        "an offset without a count"
    );
    assert_eq!(refused(0, (0, 1, 0)), Errno::EINVAL);
    assert_eq!(refused(0, (0, 0, 4)), Errno::EINVAL);
    assert_eq!(refused(0, (1, 0, 3)), Errno::EOVERFLOW);
    assert_eq!(refused(0, (u32::MAX, 0, 3)), Errno::EOVERFLOW);
    assert_eq!(refused(0, (0, u32::MAX, 3)), Errno::EOVERFLOW);
    assert_eq!(refused(0, (0, MAX_BUFFERS, 3)), Errno::EINVAL);
    let nothing = bed.engine.clone_buffers(&CloneBuffers::default(), None);
    assert_eq!(nothing, Err(Errno::ENXIO));
}
