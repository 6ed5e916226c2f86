//! The memory that a request names: a buffer, an array of buffers, or a part of a registered one.

use ringwire_abi::errno::Errno;
use ringwire_abi::request::Op;

use super::Engine;
use super::request::{Kept, Prepared, Request, RequestId};
use crate::usermem::{MAX_TRANSFER, Span};

/// What a request sends from or receives into, if that is not provided. `single` keeps a span that stands
/// alone.
pub(super) fn own<'a>(op: &Op, prepared: &'a Prepared, single: &'a mut [Span; 1]) -> &'a [Span] {
    let (addr, len) = match (op, prepared) {
        (_, Prepared::Message(message)) => return &message.buffers,
        (_, Prepared::Spans(spans)) => return spans,
        (Op::Send(transfer) | Op::Recv(transfer), _) => (transfer.addr, transfer.len),
        (Op::Read(transfer) | Op::Write(transfer), _) => (transfer.addr, transfer.len),
        _ => unreachable!("memory: a request that names none"),
    };
    *single = [Span {
        addr,
        len: (len as usize).min(MAX_TRANSFER),
    }];
    single
}

impl Request {
    pub(super) fn own_memory<'a>(&'a self, single: &'a mut [Span; 1]) -> &'a [Span] {
        own(&self.op, &self.prepared, single)
    }

    /// What a send sends: the buffers that it has taken, or its own memory.
    pub(super) fn payload<'a>(&'a self, single: &'a mut [Span; 1]) -> &'a [Span] {
        match &self.kept {
            Some(Kept::Many(bundle)) => &bundle.spans,
            Some(Kept::One(selected)) => std::slice::from_ref(&selected.span),
            None => self.own_memory(single),
        }
    }

    /// Whether it is a send of no bytes. What it takes of a group is not known before.
    pub(super) fn is_empty(&self) -> bool {
        let mut single = [Span::default()];
        let selects = matches!(self.op, Op::Send(send) if send.group.is_some());
        !selects && self.payload(&mut single).iter().all(|span| span.len == 0)
    }

    /// The registered buffer that its memory is to lie in.
    fn fixed(&self) -> Option<u16> {
        match &self.op {
            Op::Send(transfer) | Op::Recv(transfer) => transfer.fixed,
            Op::SendMsg(message) => message.fixed,
            Op::Read(transfer) | Op::Write(transfer) => transfer.fixed,
            _ => None,
        }
    }
}

impl Engine {
    /// Finds the registered buffer of a request when it is issued, and holds it from there on. Its
    /// memory is then memory like any other (Linux `io_import_reg_buf`, `io_import_reg_vec`).
    pub(super) fn import_memory(&mut self, id: RequestId) -> Result<(), Errno> {
        let request = self.requests.get(id);
        let Some(index) = request.fixed().filter(|_| request.buffer.is_none()) else {
            return Ok(());
        };
        let node = self.registered.node(index)?;
        let vectored = matches!(request.prepared, Prepared::Message(_) | Prepared::Spans(_));
        let mut single = [Span::default()];
        for span in request.own_memory(&mut single) {
            self.registered.span(node, span.addr, span.len)?;
            if vectored && span.len == 0 {
                return Err(Errno::EFAULT);
            }
        }
        self.registered.hold(node);
        self.requests.get_mut(id).buffer = Some(node);
        Ok(())
    }
}
