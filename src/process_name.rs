//! Who this process is, for whoever looks for it: in the store, and on dead letters.

/// Host and process id: what an operator finds this process by.
pub fn process_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| std::env::var("HOSTNAME"));
    let host = host.unwrap_or_else(|_| "host".into());
    format!("{}/{}", host.trim(), std::process::id())
}
