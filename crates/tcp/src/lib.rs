//! The TCP engine's room. It is empty: TCP is not implemented yet.
#![forbid(unsafe_code)]
