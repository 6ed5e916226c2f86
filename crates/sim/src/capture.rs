//! Captures in the pcapng format (draft-ietf-opsawg-pcapng): the few blocks that a trace needs.

/// An interface of a capture: its number in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceId(u32);

/// Whether a packet came in or went out, as its host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const LINKTYPE_ETHERNET: u16 = 1;
const END_OF_OPTIONS: u16 = 0;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;

/// A capture file that is being written, in memory.
#[derive(Clone, Debug)]
pub struct Capture {
    bytes: Vec<u8>,
    interfaces: u32,
}

impl Default for Capture {
    fn default() -> Capture {
        Capture::new()
    }
}

impl Capture {
    /// A file of one section, with no interface yet. Its numbers are little-endian.
    pub fn new() -> Capture {
        let mut capture = Capture {
            bytes: Vec::new(),
            interfaces: 0,
        };
        let mut body = Vec::new();
        body.extend_from_slice(&BYTE_ORDER_MAGIC.to_le_bytes());
        body.extend_from_slice(&1u16.to_le_bytes());
        body.extend_from_slice(&0u16.to_le_bytes());
        // The section's length is not said.
        body.extend_from_slice(&u64::MAX.to_le_bytes());
        capture.block(SECTION_HEADER, &body);
        capture
    }

    /// Describes another Ethernet interface, whose times are in nanoseconds. A name of more than 65,535
    /// bytes is cut.
    pub fn interface(&mut self, name: &str) -> InterfaceId {
        let mut body = Vec::new();
        body.extend_from_slice(&LINKTYPE_ETHERNET.to_le_bytes());
        body.extend_from_slice(&0u16.to_le_bytes());
        // No packet is cut.
        body.extend_from_slice(&0u32.to_le_bytes());
        option(&mut body, IF_NAME, name.as_bytes());
        option(&mut body, IF_TSRESOL, &[9]);
        option(&mut body, END_OF_OPTIONS, &[]);
        self.block(INTERFACE_DESCRIPTION, &body);
        self.interfaces += 1;
        InterfaceId(self.interfaces - 1)
    }

    /// Adds a packet, seen so many nanoseconds after 1970.
    pub fn packet(&mut self, interface: InterfaceId, time_ns: u64, way: Way, frame: &[u8]) {
        let mut body = Vec::with_capacity(frame.len() + 40);
        let len = frame.len() as u32;
        for word in [
            interface.0,
            (time_ns >> 32) as u32,
            time_ns as u32,
            len,
            len,
        ] {
            body.extend_from_slice(&word.to_le_bytes());
        }
        body.extend_from_slice(frame);
        pad(&mut body);
        let flags: u32 = match way {
            Way::In => 1,
            Way::Out => 2,
        };
        option(&mut body, EPB_FLAGS, &flags.to_le_bytes());
        option(&mut body, END_OF_OPTIONS, &[]);
        self.block(ENHANCED_PACKET, &body);
    }

    /// The file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A block: its type, its length, its body in words of 32 bits, its length again.
    fn block(&mut self, kind: u32, body: &[u8]) {
        let len = (12 + body.len()) as u32;
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.extend_from_slice(&len.to_le_bytes());
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(u16::MAX.into())];
    body.extend_from_slice(&code.to_le_bytes());
    body.extend_from_slice(&(value.len() as u16).to_le_bytes());
    body.extend_from_slice(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
#[path = "capture_tests.rs"]
mod tests;
