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
//! The modules in reading order, each standing on those before it:
//!
//! * nouns: [`secret`], [`login`], [`traceparent`], [`clock`];
//! * WeChat: [`wechat`] (what it says), [`verdict`] (what that means for a login), [`token`] (what it wants to see);
//! * the line: [`queue`] and [`store`], each in RabbitMQ or Redis or in memory, [`backend`] (which of both),
//!   [`worker`] (decode → claim → exchange ⇄ judge → record → settle), [`gateway`];
//! * the house: [`meters`], [`ops`], [`simulator`] (a WeChat on this machine);
//! * the program, for the binary only: [`config`], [`telemetry`], [`shutdown`], [`commands`].

pub mod backend;
pub mod clock;
pub mod commands;
pub mod config;
pub mod gateway;
pub mod login;
pub mod meters;
pub mod ops;
pub mod queue;
pub mod secret;
pub mod shutdown;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod token;
pub mod traceparent;
pub mod verdict;
pub mod wechat;
pub mod worker;
