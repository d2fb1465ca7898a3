//! What the tests stand on: real servers in private processes, and a publisher of our own making.
//!
//! Nothing here knows quicklogin: what judges it must not share its mistakes. No test is skipped for want of
//! a server; it fails, and says how to install one.

pub(crate) mod amqp;
pub(crate) mod fleet;
pub(crate) mod line;
pub(crate) mod logins;
pub(crate) mod odd_redis;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod push;
pub(crate) mod rabbit;
pub(crate) mod raw;
pub(crate) mod redis;
pub(crate) mod road;
pub(crate) mod topologies;
