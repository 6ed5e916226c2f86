//! iperf3's control protocol, as far as a TCP test needs it (iperf 3.12: iperf_api.h, iperf_api.c).
//!
//! A connection begins with a cookie of 37 bytes. The first is the control connection: on it the server says
//! the test's state in single bytes, and the client answers with its own, or with JSON behind its length in
//! four bytes, big-endian. The others, with the same cookie, are the streams.
//!
//!     client                              server
//!     cookie                          ->
//!                                     <-  PARAM_EXCHANGE
//!     length, parameters              ->
//!                                     <-  CREATE_STREAMS
//!     cookie, on each stream          ->
//!                                     <-  TEST_START, TEST_RUNNING
//!     bytes on the streams, one way; then
//!     TEST_END                        ->
//!                                     <-  EXCHANGE_RESULTS
//!     length, its results             ->
//!                                     <-  length, our results; DISPLAY_RESULTS
//!     IPERF_DONE                      ->

use serde_json::{Value, json};

pub const COOKIE_BYTES: usize = 37;
/// A client's JSON is longer only by mistake.
pub const MOST_JSON_BYTES: usize = 1 << 20;
/// MAX_STREAMS of iperf3.
const MOST_STREAMS: u64 = 128;

pub const TEST_START: u8 = 1;
pub const TEST_RUNNING: u8 = 2;
pub const TEST_END: u8 = 4;
pub const PARAM_EXCHANGE: u8 = 9;
pub const CREATE_STREAMS: u8 = 10;
pub const EXCHANGE_RESULTS: u8 = 13;
pub const DISPLAY_RESULTS: u8 = 14;
pub const ACCESS_DENIED: u8 = -1i8 as u8;
const SERVER_ERROR: u8 = -2i8 as u8;

/// What a client asks for.
#[derive(Clone, Copy)]
pub struct Parameters {
    pub streams: usize,
    /// The server sends (`-R`).
    pub reverse: bool,
    /// Seconds at the beginning that do not count (`-O`).
    pub omit_s: u64,
}

/// Reads a client's parameters; `None` for a test that this server does not run.
pub fn parameters(json: &[u8]) -> Option<Parameters> {
    let json: Value = serde_json::from_slice(json).ok()?;
    let asked = |name: &str| json.get(name).and_then(Value::as_bool).unwrap_or(false);
    let number = |name: &str, default| json.get(name).and_then(Value::as_u64).unwrap_or(default);
    let streams = number("parallel", 1);
    if !asked("tcp") || asked("bidirectional") || !(1..=MOST_STREAMS).contains(&streams) {
        return None;
    }
    Some(Parameters {
        streams: streams as usize,
        reverse: asked("reverse"),
        omit_s: number("omit", 0),
    })
}

/// What the server says of a test.
pub struct Results {
    /// Bytes of each stream.
    pub bytes: Vec<u64>,
    pub seconds: f64,
    /// Processor time in percent of the test's, in the program and in the kernel.
    pub cpu: [f64; 2],
}

impl Results {
    /// Its message: length and JSON.
    pub fn message(&self) -> Vec<u8> {
        let streams = self.bytes.iter().enumerate().map(|(index, bytes)| {
            json!({
                // iperf3 numbers its streams 1, 3, 4, ...
                "id": if index == 0 { 1 } else { index + 2 },
                "bytes": bytes,
                "retransmits": -1,
                "jitter": 0,
                "errors": 0,
                "packets": 0,
                "start_time": 0,
                "end_time": self.seconds,
            })
        });
        let json = json!({
            "cpu_util_total": self.cpu[0] + self.cpu[1],
            "cpu_util_user": self.cpu[0],
            "cpu_util_system": self.cpu[1],
            // They are not counted for it.
            "sender_has_retransmits": 0,
            "streams": streams.collect::<Vec<_>>(),
        });
        let json = json.to_string().into_bytes();
        let mut message = (json.len() as u32).to_be_bytes().to_vec();
        message.extend(json);
        message
    }
}

/// "Unimplemented feature": the state, then iperf3's own error and an errno.
pub fn unimplemented() -> Vec<u8> {
    const IEUNIMP: u32 = 13;
    let mut message = vec![SERVER_ERROR];
    message.extend(IEUNIMP.to_be_bytes());
    message.extend(0u32.to_be_bytes());
    message
}

/// Takes a length and as many bytes of JSON from the front of what has come; `None` while it is not all there.
///
/// # Errors
/// A length that no JSON here has.
pub fn take_json(input: &mut Vec<u8>) -> Result<Option<Vec<u8>>, ()> {
    let Some(length) = input.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length > MOST_JSON_BYTES {
        return Err(());
    }
    if input.len() < 4 + length {
        return Ok(None);
    }
    let json = input[4..4 + length].to_vec();
    input.drain(..4 + length);
    Ok(Some(json))
}
