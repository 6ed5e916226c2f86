use super::*;

#[test]
fn what_cannot_be_memory_is_refused() {
    let mut to = [0; 4];
    for addr in [0, 1, 4095, u64::MAX - 2, 1 << 63] {
        assert_eq!(
            read(Span { addr, len: 4 }, &mut to),
            Err(Errno::EFAULT),
            "{addr:#x}"
        );
        assert_eq!(
            write(Span { addr, len: 4 }, &to),
            Err(Errno::EFAULT),
            "{addr:#x}"
        );
    }
    assert_eq!(
        read(Span { addr: 0, len: 0 }, &mut to),
        Ok(()),
        "nothing is read"
    );
}

#[test]
fn a_write_stops_at_the_end_of_the_span() {
    let mut memory = [0u8; 8];
    let span = Span {
        addr: memory.as_mut_ptr() as u64,
        len: 3,
    };
    assert_eq!(write(span, b"abcdef"), Ok(3));
    assert_eq!(&memory, b"abc\0\0\0\0\0");
}

#[test]
fn a_message_is_copied_with_its_iovecs() {
    let mut bytes = [0u8; 16];
    let mut iovecs = [
        libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: 4,
        },
        libc::iovec {
            iov_base: bytes.as_mut_ptr().wrapping_add(4).cast(),
            iov_len: 12,
        },
    ];
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = iovecs.as_mut_ptr();
    header.msg_iovlen = 2;
    header.msg_namelen = 16;
    let message = Message::read(&raw mut header as u64).unwrap();
    assert_eq!(
        message
            .buffers
            .iter()
            .map(|span| span.len)
            .collect::<Vec<_>>(),
        [4, 12]
    );
    assert_eq!(message.name.len, 0, "a null name has no length");
    message.write_back(28, 0, libc::MSG_TRUNC).unwrap();
    assert_eq!(
        (header.msg_namelen, header.msg_flags),
        (28, libc::MSG_TRUNC)
    );
    for iovec in &mut iovecs {
        iovec.iov_len = isize::MAX as usize;
    }
    let message = Message::read(&raw mut header as u64).unwrap();
    let total: usize = message.buffers.iter().map(|span| span.len).sum();
    assert_eq!(total, MAX_TRANSFER, "a result is an int");
    header.msg_iovlen = MAX_IOVECS + 1;
    assert_eq!(
        Message::read(&raw mut header as u64).unwrap_err(),
        Errno::EMSGSIZE
    );
    assert_eq!(Message::read(0).unwrap_err(), Errno::EFAULT);
}
