//! The verbs about workers, in Redis: a key for each, and one that names them all, since looking for keys by pattern would
//! read all keys of all nodes.

use std::time::Duration;

use bytes::Bytes;

use crate::clock;
use crate::store::StoreAway;
use crate::store::redis::{Redis, key, ms};

/// Maximum number of workers that are read.
const READ_MAX: usize = 1000;

impl Redis {
    pub(in crate::store) async fn note_worker(
        &self,
        worker: &str,
        json: Bytes,
        life: Duration,
    ) -> Result<(), StoreAway> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(key::WORKER, worker)).arg(&json[..]).arg("PX").arg(ms(life));
        self.ask::<()>(&command).await?;
        let mut call = self.scripts.note_worker.on([self.all_workers()]);
        call.arg(worker).arg(ms(life)).arg(clock::now_ms());
        self.run(&call).await
    }

    pub(in crate::store) async fn workers(&self) -> Result<Vec<Bytes>, StoreAway> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(self.all_workers()).arg(0).arg(READ_MAX - 1);
        let names: Option<Vec<String>> = self.unless_wrong(key::WORKER, &command).await?;
        let names = names.unwrap_or_default();
        if names.is_empty() {
            return Ok(vec![]);
        }
        let keys: Vec<_> = names.iter().map(|name| self.key(key::WORKER, name)).collect();
        Ok(self.get_all(&keys).await?.into_iter().flatten().map(Bytes::from).collect())
    }

    fn all_workers(&self) -> String {
        format!("{}:workers", self.prefix)
    }
}
