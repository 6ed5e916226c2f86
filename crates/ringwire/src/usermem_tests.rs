use super::*;

/// A buffer ring as an application has it. It is never unmapped: a ring may outlive its test.
pub(crate) struct AppRing {
    memory: *mut u8,
    tail: u16,
}

impl AppRing {
    pub(crate) const ENTRIES: u16 = 8;

    /// An empty ring, and what the engine knows it by.
    pub(crate) fn new() -> (AppRing, BufferRing) {
        #[repr(align(4096))]
        struct Page([u8; AppRing::ENTRIES as usize * BUF_ENTRY_BYTES]);
        let page = Box::leak(Box::new(Page([0; _])));
        let memory = page.0.as_mut_ptr();
        // SAFETY: the page is leaked: it stays valid.
        let ring = unsafe { BufferRing::new(memory as u64, AppRing::ENTRIES) };
        (AppRing { memory, tail: 0 }, ring)
    }

    /// Where it is, for its registration.
    pub(crate) fn address(&self) -> u64 {
        self.memory as u64
    }

    /// An entry, as the engine left it: address, length, buffer id.
    pub(crate) fn entry(&self, index: u16) -> (u64, u32, u16) {
        // SAFETY: the page is leaked.
        unsafe { BufferRing::new(self.address(), AppRing::ENTRIES) }.entry(index)
    }

    /// Writes an entry, and makes it known by moving the tail.
    pub(crate) fn provide(&mut self, addr: u64, len: u32, bid: u16) {
        let at = usize::from(self.tail % AppRing::ENTRIES) * BUF_ENTRY_BYTES;
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: the page is leaked, and holds the entry and the tail; both are aligned. This test is
        // the only thread that uses it.
        unsafe {
            let entry = self.memory.add(at);
            entry.cast::<u64>().write_volatile(addr);
            entry.add(8).cast::<u32>().write_volatile(len);
            entry.add(12).cast::<u16>().write_volatile(bid);
            let tail = self.memory.add(BUF_RING_TAIL).cast::<u16>();
            tail.write_volatile(self.tail);
        }
    }
}

#[test]
fn what_cannot_be_memory_is_refused() {
    let mut to = [0; 4];
    for addr in [0, 1, 4095, (1 << 56) - 3, u64::MAX - 2, 1 << 63] {
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
    let message = Message::read(&raw mut header as u64, false, vec![]).unwrap();
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
        (16, libc::MSG_TRUNC),
        "no name was asked for"
    );
    for iovec in &mut iovecs {
        iovec.iov_len = 1 << 40;
    }
    header.msg_iov = iovecs.as_mut_ptr();
    let message = Message::read(&raw mut header as u64, false, vec![]).unwrap();
    let total: usize = message.buffers.iter().map(|span| span.len).sum();
    assert_eq!(total, MAX_TRANSFER, "a result is an int");
    iovecs[1].iov_len = 1 << 60;
    header.msg_iov = iovecs.as_mut_ptr();
    let read = |selects| Message::read(&raw const header as u64, selects, vec![]).map(drop);
    assert_eq!(read(false), Err(Errno::EFAULT), "no memory is that long");
    assert_eq!(read(true), Ok(()), "nobody goes where the iovecs point");
    header.msg_iovlen = MAX_IOVECS + 1;
    assert_eq!(
        Message::read(&raw mut header as u64, false, vec![]).unwrap_err(),
        Errno::EMSGSIZE
    );
    assert_eq!(Message::read(0, false, vec![]).unwrap_err(), Errno::EFAULT);
}

#[test]
fn a_names_length_is_not_negative_where_there_is_a_name() {
    // SAFETY: all zeroes is a valid msghdr.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = u32::MAX;
    let message = Message::read(&raw const header as u64, true, vec![]).unwrap();
    assert_eq!(message.name.len, 0);
    let mut name = [0u8; 28];
    header.msg_name = (&raw mut name).cast();
    let refused = Message::read(&raw const header as u64, true, vec![]);
    assert_eq!(refused.unwrap_err(), Errno::EINVAL);
}
