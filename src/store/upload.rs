//! A writer into one object of the store, part by part, as `parquet` wants it: `io::Write`.

use std::io::{self, Write};

use object_store::{ObjectStoreExt, WriteMultipart};

use super::{Store, StoreError};

/// Parts under way at once: bounds the memory, and tells of a full disk soon.
const PARTS_UNDER_WAY_MAX: usize = 2;

/// Buckets accept no part below 5 MiB but the last.
const PART_BYTES: usize = 6 << 20;

/// An object that appears in the store when it is finished, and never in part.
pub struct Upload<'a> {
    store: &'a Store,
    parts: WriteMultipart,
    pub bytes: u64,
}

impl<'a> Upload<'a> {
    pub fn start(store: &'a Store, attempt: &str, name: &str) -> Result<Upload<'a>, StoreError> {
        let path = store.attempt_path(attempt, name);
        let upload = store.runtime.block_on(store.objects.put_multipart(&path));
        let upload = upload.map_err(|error| StoreError::Write { what: path.to_string(), cause: error.into() })?;
        Ok(Upload { store, parts: WriteMultipart::new_with_chunk_size(upload, PART_BYTES), bytes: 0 })
    }

    pub fn finish(self) -> io::Result<u64> {
        self.store.runtime.block_on(self.parts.finish())?;
        Ok(self.bytes)
    }
}

impl Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _in_runtime = self.store.runtime.enter();
        self.store.runtime.block_on(self.parts.wait_for_capacity(PARTS_UNDER_WAY_MAX))?;
        self.parts.write(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
