//! Thousands of mutated entries through the checks and `parse` and through the running kernel:
//! what one refuses before it does anything, the other refuses with the same error.

use crate::errno::Errno;
use crate::flags::*;
use crate::oracle::Kernel;
use crate::request::{Op, Target, check_flags, check_priority, notification, parse};
use crate::sqe::Sqe;
use std::os::fd::{FromRawFd, OwnedFd};

/// Sixteen zero bytes at a valid address: a zero timespec, an empty socket address.
static ZEROS: [u64; 2] = [0; 2];

/// Entries with two or three mutations tried for each base entry, beside one for every single mutation.
const RANDOM_ENTRIES: u32 = 200;

/// No mutation cancels by this: behind a link or a drain a cancellation would find itself at work.
const USER_DATA: u64 = 77;

fn zeros() -> u64 {
    ZEROS.as_ptr() as u64
}

/// One accepted entry of each operation. No file is open behind -1, so that operations on files fail
/// with `EBADF` once their own checks have passed.
fn bases() -> Vec<Sqe> {
    let op = |opcode| Sqe {
        opcode,
        fd: -1,
        user_data: USER_DATA,
        ..Sqe::default()
    };
    let address = |opcode| Sqe {
        addr: zeros(),
        off: 16,
        ..op(opcode)
    };
    let multishot = |opcode| Sqe {
        flags: IOSQE_BUFFER_SELECT,
        ioprio: IORING_RECV_MULTISHOT,
        ..op(opcode)
    };
    let accept = |ioprio, file_index| Sqe {
        ioprio,
        file_index,
        ..op(IORING_OP_ACCEPT)
    };
    let bundle = |opcode, ioprio| Sqe {
        flags: IOSQE_BUFFER_SELECT,
        ioprio: IORING_RECVSEND_BUNDLE | ioprio,
        ..op(opcode)
    };
    let cancel = |op_flags, len: u8| Sqe {
        op_flags,
        len: len.into(),
        ..op(IORING_OP_ASYNC_CANCEL)
    };
    let command = |cmd_op: u32| Sqe {
        off: cmd_op.into(),
        addr: u64::from(libc::SO_ERROR as u32) << 32 | libc::SOL_SOCKET as u64,
        ..op(IORING_OP_URING_CMD)
    };
    vec![
        op(IORING_OP_NOP),
        Sqe {
            fd: libc::AF_INET,
            off: libc::SOCK_DGRAM as u64,
            ..op(IORING_OP_SOCKET)
        },
        address(IORING_OP_BIND),
        address(IORING_OP_CONNECT),
        Sqe {
            len: 16,
            ..op(IORING_OP_LISTEN)
        },
        accept(0, 0),
        accept(0, 1),
        accept(0, IORING_FILE_INDEX_ALLOC),
        accept(IORING_ACCEPT_MULTISHOT, 0),
        accept(IORING_ACCEPT_MULTISHOT, IORING_FILE_INDEX_ALLOC),
        op(IORING_OP_SEND),
        Sqe {
            off: zeros(),
            file_index: 16,
            ..op(IORING_OP_SEND)
        },
        bundle(IORING_OP_SEND, 0),
        op(IORING_OP_SENDMSG),
        op(IORING_OP_RECV),
        multishot(IORING_OP_RECV),
        bundle(IORING_OP_RECV, 0),
        bundle(IORING_OP_RECV, IORING_RECV_MULTISHOT),
        op(IORING_OP_RECVMSG),
        multishot(IORING_OP_RECVMSG),
        Sqe {
            ioprio: IORING_RECV_MULTISHOT,
            ..op(IORING_OP_RECV_ZC)
        },
        op(IORING_OP_SHUTDOWN),
        op(IORING_OP_CLOSE),
        Sqe {
            fd: 0,
            file_index: 1,
            ..op(IORING_OP_CLOSE)
        },
        Sqe {
            addr: zeros(),
            len: 1,
            ..op(IORING_OP_TIMEOUT)
        },
        cancel(0, 0),
        cancel(IORING_ASYNC_CANCEL_FD, 0),
        cancel(IORING_ASYNC_CANCEL_OP, IORING_OP_RECV),
        op(IORING_OP_POLL_ADD),
        Sqe {
            fd: 1,
            addr: zeros(),
            len: 1,
            ..op(IORING_OP_PROVIDE_BUFFERS)
        },
        Sqe {
            fd: 1,
            ..op(IORING_OP_REMOVE_BUFFERS)
        },
        Sqe {
            addr: zeros(),
            len: 1,
            ..op(IORING_OP_LINK_TIMEOUT)
        },
        op(IORING_OP_TIMEOUT_REMOVE),
        Sqe {
            op_flags: IORING_TIMEOUT_UPDATE,
            off: zeros(),
            ..op(IORING_OP_TIMEOUT_REMOVE)
        },
        Sqe {
            op_flags: IORING_LINK_TIMEOUT_UPDATE,
            off: zeros(),
            ..op(IORING_OP_TIMEOUT_REMOVE)
        },
        op(IORING_OP_POLL_REMOVE),
        Sqe {
            len: IORING_POLL_UPDATE_EVENTS | IORING_POLL_ADD_MULTI,
            ..op(IORING_OP_POLL_REMOVE)
        },
        Sqe {
            len: IORING_POLL_UPDATE_USER_DATA,
            ..op(IORING_OP_POLL_REMOVE)
        },
        op(IORING_OP_MSG_RING),
        Sqe {
            addr: zeros(),
            len: 1,
            ..op(IORING_OP_FILES_UPDATE)
        },
        op(IORING_OP_SEND_ZC),
        Sqe {
            ioprio: IORING_RECVSEND_FIXED_BUF,
            ..op(IORING_OP_SEND_ZC)
        },
        Sqe {
            off: zeros(),
            file_index: 16,
            ..op(IORING_OP_SEND_ZC)
        },
        op(IORING_OP_SENDMSG_ZC),
        Sqe {
            ioprio: IORING_SEND_VECTORIZED,
            addr: zeros(),
            len: 1,
            ..op(IORING_OP_SEND_ZC)
        },
        op(IORING_OP_READ),
        op(IORING_OP_READV),
        op(IORING_OP_READ_FIXED),
        op(IORING_OP_READV_FIXED),
        op(IORING_OP_WRITE),
        op(IORING_OP_WRITEV),
        op(IORING_OP_WRITE_FIXED),
        op(IORING_OP_WRITEV_FIXED),
        Sqe {
            flags: IOSQE_BUFFER_SELECT,
            ..op(IORING_OP_READ)
        },
        Sqe {
            flags: IOSQE_BUFFER_SELECT,
            addr: zeros(),
            len: 1,
            ..op(IORING_OP_READV)
        },
        Sqe {
            flags: IOSQE_BUFFER_SELECT,
            ..op(IORING_OP_READ_MULTISHOT)
        },
        command(SOCKET_URING_OP_SIOCINQ),
        command(SOCKET_URING_OP_GETSOCKOPT),
        command(SOCKET_URING_OP_SETSOCKOPT),
    ]
}

/// A change of one field of an entry.
type Mutation = Box<dyn Fn(&mut Sqe)>;

fn mutations() -> Vec<Mutation> {
    let mut all: Vec<Mutation> = Vec::new();
    for bit in 0..8 {
        all.push(Box::new(move |sqe| sqe.flags ^= 1 << bit));
    }
    for bit in 0..16 {
        all.push(Box::new(move |sqe| sqe.ioprio ^= 1 << bit));
    }
    for bit in 0..32 {
        all.push(Box::new(move |sqe| sqe.op_flags ^= 1 << bit));
        all.push(Box::new(move |sqe| sqe.len ^= 1 << bit));
    }
    for value in [i32::MIN, -2, 65536, 65537, i32::MAX] {
        all.push(Box::new(move |sqe| sqe.fd = value));
    }
    for value in [0, 1, 128, 129, 0xffff, 0x1_0000, 1 << 32, 1 << 63, u64::MAX] {
        all.push(Box::new(move |sqe| sqe.off = value));
    }
    for value in [0, 1, 1 << 62, 1 << 63, u64::MAX] {
        all.push(Box::new(move |sqe| sqe.addr = value));
    }
    for value in [0, 1, 128, 129, 0x1_0000, u32::MAX] {
        all.push(Box::new(move |sqe| sqe.file_index = value));
    }
    for value in [1, u16::MAX] {
        all.push(Box::new(move |sqe| sqe.buf_index = value));
        all.push(Box::new(move |sqe| sqe.personality = value));
    }
    for value in [1, u64::MAX] {
        all.push(Box::new(move |sqe| sqe.addr3 = value));
        all.push(Box::new(move |sqe| sqe.pad2 = value));
    }
    all
}

/// Where Linux 7 and this crate take what the kernel that is asked may not, and the other way round.
fn differs(sqe: &Sqe) -> bool {
    match sqe.opcode {
        IORING_OP_SEND | IORING_OP_RECV => sqe.ioprio & IORING_RECVSEND_FIXED_BUF != 0,
        IORING_OP_SEND_ZC | IORING_OP_SENDMSG_ZC => sqe.addr3 != 0 || is_registered_group(sqe),
        IORING_OP_TIMEOUT | IORING_OP_LINK_TIMEOUT | IORING_OP_TIMEOUT_REMOVE => {
            sqe.op_flags & IORING_TIMEOUT_IMMEDIATE_ARG != 0
        }
        // Whether the ring has 32-byte completions is for the ring to check.
        IORING_OP_NOP => sqe.op_flags & IORING_NOP_CQE32 != 0,
        IORING_OP_URING_CMD => {
            sqe.flags & IOSQE_BUFFER_SELECT != 0 && sqe.op_flags & IORING_URING_CMD_MULTISHOT != 0
        }
        _ => false,
    }
}

/// A group whose entries name memory in registered buffers: an extension, which the kernel lacks.
fn is_registered_group(sqe: &Sqe) -> bool {
    sqe.opcode == IORING_OP_SEND_ZC
        && sqe.flags & IOSQE_BUFFER_SELECT != 0
        && sqe.ioprio & IORING_RECVSEND_FIXED_BUF != 0
}

/// Entries that must not run in a test: they would complete silently or never, or close a descriptor of ours.
fn must_not_run(sqe: &Sqe) -> bool {
    let silent = sqe.flags & IOSQE_CQE_SKIP_SUCCESS != 0
        && !parse(sqe).is_ok_and(|op| op.target().is_some());
    let closes = sqe.opcode == IORING_OP_CLOSE && sqe.file_index == 0 && sqe.fd >= 0;
    // The kernel lets a drain wait for the notification of the request itself.
    let stuck = notification(sqe).is_some() && sqe.flags & IOSQE_IO_DRAIN != 0;
    silent || closes || stuck
}

/// Whether `res` is what an entry that passed its checks can complete with in this set-up.
fn ran(op: &Op, res: i32) -> bool {
    // Only the kernel looks behind the addresses.
    if res == Errno::EFAULT.res() {
        return true;
    }
    let failed = |errno: Errno| res == errno.res();
    match op {
        // Its queue is not registered, which is seen before its file.
        Op::RecvZc(_) => failed(Errno::EINVAL),
        _ if op.target().is_some() => failed(Errno::EBADF),
        Op::Nop(nop) if nop.file.is_some() => failed(Errno::EBADF),
        Op::Nop(nop) if nop.buffer.is_some() => failed(Errno::EFAULT),
        Op::Nop(nop) => res == nop.inject.unwrap_or(0),
        // Other families, types and protocols are reached too: whether they exist is seen at issue.
        Op::Socket { .. } => true,
        Op::Close { target } => match target {
            Target::Fd(_) => failed(Errno::EBADF),
            Target::Fixed(_) => failed(Errno::ENXIO),
        },
        Op::Timeout { .. } => failed(Errno::ETIME),
        // Nothing stands in front of it.
        Op::LinkTimeout { .. } => failed(Errno::EINVAL),
        Op::TimeoutRemove { .. } | Op::PollRemove(_) => failed(Errno::ENOENT),
        Op::MsgRing(_) => failed(Errno::EBADF),
        Op::FilesUpdate { .. } => failed(Errno::ENXIO),
        Op::AsyncCancel(by) if by.target.is_some() => failed(Errno::EBADF),
        Op::AsyncCancel(by) if by.all => res == 0,
        Op::AsyncCancel(_) | Op::RemoveBuffers { .. } => failed(Errno::ENOENT),
        Op::ProvideBuffers { .. } => res == 0,
        _ => false,
    }
}

/// Asks the kernel, and compares.
fn compare(kernel: &Kernel, sqe: &Sqe) -> Result<(), String> {
    let silent_drain = IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS;
    let checked = check_flags(sqe).and_then(|()| match sqe.flags & silent_drain {
        // The ring's check.
        flags if flags == silent_drain => Err(Errno::EOPNOTSUPP),
        _ => check_priority(sqe, |_| false),
    });
    let ours = checked.and_then(|()| parse(sqe));
    let res = kernel.result(sqe);
    if sqe.opcode == IORING_OP_SOCKET && res >= 0 && sqe.file_index == 0 {
        // SAFETY: the kernel has just made this descriptor, for this request, and nobody else has it.
        drop(unsafe { OwnedFd::from_raw_fd(res) });
    }
    let agree = match &ours {
        Ok(op) => ran(op, res),
        // Only the kernel looks at addresses and takes memory at this point, and it may do so before
        // the fault we see.
        Err(errno) => [*errno, Errno::EFAULT, Errno::ENOMEM]
            .map(Errno::res)
            .contains(&res),
    };
    if agree {
        return Ok(());
    }
    Err(format!("{sqe:x?}\n  ours {ours:?}, kernel {res}"))
}

/// A small deterministic generator (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn the_kernel_refuses_the_same_entries_with_the_same_error() {
    let Some(kernel) = Kernel::new() else { return };
    let mutations = mutations();
    let mut random = Random(0x5eed);
    let (mut compared, mut disagreements) = (0, Vec::new());
    for base in bases().into_iter().filter(|base| kernel.knows(base.opcode)) {
        assert!(parse(&base).is_ok(), "a base entry is refused: {base:x?}");
        compare(&kernel, &base).expect("the kernel accepts the base entry");
        let single = (0..mutations.len()).map(|index| vec![index]);
        let several = (0..RANDOM_ENTRIES).map(|_| {
            let count = 2 + random.below(2);
            (0..count).map(|_| random.below(mutations.len())).collect()
        });
        for chosen in single.chain(several) {
            let mut sqe = base;
            chosen.iter().for_each(|&index| mutations[index](&mut sqe));
            if differs(&sqe) || must_not_run(&sqe) {
                continue;
            }
            compared += 1;
            disagreements.extend(compare(&kernel, &sqe).err());
        }
    }
    println!("compared {compared} entries with the kernel");
    assert!(
        disagreements.is_empty(),
        "{} of {compared}:\n{}",
        disagreements.len(),
        disagreements.join("\n")
    );
}

#[test]
fn the_kernel_lacks_buffer_selection_for_the_same_operations() {
    let Some(kernel) = Kernel::new() else { return };
    for opcode in (0..IORING_OP_LAST).filter(|&opcode| kernel.knows(opcode)) {
        let select = Sqe {
            opcode,
            flags: IOSQE_BUFFER_SELECT,
            fd: -1,
            ..Sqe::default()
        };
        let refused = kernel.result(&select) == Errno::EOPNOTSUPP.res();
        let ours = check_flags(&select) == Err(Errno::EOPNOTSUPP);
        assert_eq!(ours, refused, "operation {opcode}");
    }
}
