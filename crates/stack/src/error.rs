//! What a socket operation can fail with. The ring names each by the kernel's errno.

/// Why an operation on a socket failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketError {
    /// It would have to wait (`EAGAIN`).
    WouldBlock,
    /// The datagram is larger than UDP carries (`EMSGSIZE`).
    MessageSize,
    /// No destination: not connected and none given (`EDESTADDRREQ`).
    DestinationRequired,
    /// No route to the network (`ENETUNREACH`).
    NetworkUnreachable,
    /// The port at the other end is closed (`ECONNREFUSED`).
    Refused,
    /// The other end does not speak UDP (`ENOPROTOOPT`).
    ProtocolUnreachable,
    /// Forbidden on the way, or a broadcast without leave (`EACCES`).
    Access,
    /// Somebody has the port (`EADDRINUSE`).
    AddressInUse,
    /// The process has no file descriptor left for the port (`EMFILE`).
    TooManyFiles,
    /// The address is not ours (`EADDRNOTAVAIL`).
    AddressNotAvailable,
    /// The address is of another family (`EAFNOSUPPORT`).
    AddressFamily,
    /// The socket is in no state for this, or an argument makes no sense (`EINVAL`).
    Invalid,
    /// Not connected (`ENOTCONN`).
    NotConnected,
    /// Sending is shut down (`EPIPE`).
    Pipe,
    /// The connection was reset by the peer (`ECONNRESET`).
    Reset,
    /// The peer does not answer (`ETIMEDOUT`).
    TimedOut,
    /// Something on the way did not understand a packet (`EPROTO`).
    Protocol,
    /// The host is not there (`EHOSTDOWN`).
    HostDown,
    /// The host is on no network (`ENONET`).
    NoNetwork,
    /// Nobody answers for the host (`EHOSTUNREACH`).
    HostUnreachable,
    /// The connection is being made (`EINPROGRESS`).
    InProgress,
    /// A connection is being made already (`EALREADY`).
    Already,
    /// Connected already (`EISCONN`).
    Connected,
    /// The attempt to connect ended without an error of its own (`ECONNABORTED`).
    Aborted,
    /// Not an operation of this kind of socket (`EOPNOTSUPP`).
    NotSupported,
}
