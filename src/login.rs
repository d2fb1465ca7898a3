//! The nouns of a login and their wire form: what comes in by the queue and what is written to the store.
//!
//! No I/O, no async. Everything is parsed once, here, into types that cannot be wrong.

mod names;
mod number;
mod phone;
mod reason;
mod request;
mod result;
mod seal;

pub use names::{AppId, BadName, Code, OpenId, RequestId};
pub(crate) use number::{NotWhole, whole_number};
pub use phone::{PhoneInfo, Watermark};
pub use reason::{Advice, Reason};
pub(crate) use request::EARLIEST_MS;
pub use request::{LoginRequest, MAX_BODY_BYTES, Undecodable};
pub use result::{ErrorBody, Failure, LoginResult, Outcome, ResultBody, Status, UnreadableResult, WechatAnswer};
pub use seal::{SealError, SealingKey};

/// Milliseconds since the Unix epoch, the unit of every point in time on the wire.
pub type UnixMs = u64;
