//! quicklogin exchanges the code of a WeChat mini program's phone-number button for the phone number, once, whatever
//! happens: a gateway publishes each code to RabbitMQ, workers ask WeChat and write the result to Redis, keyed by
//! request id.
//!
//! ```text
//!  mini program ──code──▶ gateway ──publish──▶ queue ──deliver──▶ worker ──exchange──▶ WeChat
//!       ▲                    │                                      │  ▲                 │
//!       └────────result──────┴────poll────── store ◀────record──────┘  └─────phone───────┘
//! ```
//!
//! Where a third-party platform acts for its merchants' mini programs, WeChat also pushes: its tickets go by way of the
//! gateway to the store, where whoever fetches access tokens finds them.
//!
//! The modules in reading order, each standing on those before it:
//!
//! * nouns: [`secret`], [`login`], [`traceparent`], and helpers, [`machine`], [`clock`], [`backoff`], [`breaker`],
//!   [`printable`], [`process_name`], [`stop_point`], `fault_log`, `connect_fault` and `fd_limit`;
//! * WeChat: [`wechat`], what it answers and what it pushes;
//! * where logins wait and results are kept: [`queue`] and [`store`], each in RabbitMQ or Redis or in memory, and
//!   [`backend`], which of both;
//! * the line: [`meters`], [`token`] (what WeChat wants to see, and where it comes from), [`verdict`] (what an answer
//!   means for a login), [`worker`] (decode → claim → exchange ⇄ judge → record → settle);
//! * [`fleet`], what each worker says of itself in the store;
//! * the faces: [`http`], [`ops`], [`oversight`] (periodic checks of Redis and the clock),
//!   [`gateway`], and [`simulator`], a WeChat on this machine;
//! * the program, for the binary only: [`config`], [`telemetry`], [`shutdown`], [`commands`].

pub mod backend;
pub mod backoff;
pub mod breaker;
pub mod clock;
pub mod commands;
pub mod config;
mod connect_fault;
mod fault_log;
mod fd_limit;
pub mod fleet;
pub mod gateway;
pub mod http;
pub mod login;
pub mod machine;
pub mod meters;
#[cfg(test)]
mod mutated;
pub mod ops;
pub mod oversight;
pub mod printable;
pub mod process_name;
pub mod queue;
pub mod secret;
pub mod shutdown;
pub mod simulator;
pub mod stop_point;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod traceparent;
pub mod verdict;
pub mod wechat;
pub mod worker;
