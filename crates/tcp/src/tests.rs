//! The engine, driven by segments and time.

mod attacks;
mod flow;
mod mechanisms;
mod property;
mod script;
mod states;
mod table;
