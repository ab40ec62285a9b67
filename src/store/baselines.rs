//! What a team has agreed on for a test in an environment: a small file in the project, reviewed like code.
//!
//! `<folder>/<test>/<environment>.json`, written by `tidemark baseline` alone.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// Fields in the order of their names, so that a diff shows what changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreed {
    /// The first run of the level that is now the usual one; earlier runs are no measure any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_from_run: Option<String>,
    /// When that run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_from_start: Option<Timestamp>,
    pub environment: String,
    /// The run that all others are compared with, instead of the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_run: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub test: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BaselinesError {
    #[error("failed to read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
    #[error("{} is not what `tidemark baseline` writes", path.display())]
    NotOurs {
        path: PathBuf,
        #[source]
        cause: serde_json::Error,
    },
    #[error("failed to write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: std::io::Error,
    },
}

/// Returns where the agreement on a test in an environment lies.
pub fn path(folder: &Path, test: &str, environment: &str) -> PathBuf {
    folder.join(file_name(test)).join(file_name(environment) + ".json")
}

/// Returns what was agreed on; nothing where there is no file.
pub fn read(folder: &Path, test: &str, environment: &str) -> Result<Agreed, BaselinesError> {
    let path = path(folder, test, environment);
    match std::fs::read(&path) {
        Ok(bytes) => parse(&path, &bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Agreed { test: test.to_owned(), environment: environment.to_owned(), ..Agreed::default() })
        }
        Err(cause) => Err(BaselinesError::Read { path, cause }),
    }
}

/// Returns all agreements below `folder`, by test and environment; none where the folder is not there.
pub fn all(folder: &Path) -> Result<Vec<Agreed>, BaselinesError> {
    let mut all = Vec::new();
    for test in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        for path in entries(&test)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
            let bytes = std::fs::read(&path).map_err(|cause| BaselinesError::Read { path: path.clone(), cause })?;
            all.push(parse(&path, &bytes)?);
        }
    }
    Ok(all)
}

/// Writes an agreement, or deletes its file when nothing is agreed on any more; returns where it lies.
pub fn write(folder: &Path, agreed: &Agreed) -> Result<PathBuf, BaselinesError> {
    let path = path(folder, &agreed.test, &agreed.environment);
    let failed = |cause| BaselinesError::Write { path: path.clone(), cause };
    if agreed.accepted_from_run.is_none() && agreed.pinned_run.is_none() {
        return match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
            _ => Ok(path),
        };
    }
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).map_err(failed)?;
    let text = serde_json::to_string_pretty(agreed).expect("plain values become JSON") + "\n";
    std::fs::write(&path, text).map_err(failed)?;
    Ok(path)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Agreed, BaselinesError> {
    serde_json::from_slice(bytes).map_err(|cause| BaselinesError::NotOurs { path: path.to_owned(), cause })
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, BaselinesError> {
    let failed = |cause| BaselinesError::Read { path: folder.to_owned(), cause };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths: Result<Vec<PathBuf>, std::io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Returns a name that no file system takes for anything else: bytes besides letters, digits, `-`, `_` and inner dots become
/// `%` and two hexadecimal digits.
fn file_name(name: &str) -> String {
    let plain =
        |index: usize, byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || byte == b'.' && index > 0;
    let letter = |(index, byte): (usize, u8)| {
        if plain(index, byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    name.bytes().enumerate().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_within_the_folder() {
        let folder = Path::new("baselines");
        assert_eq!(path(folder, "shop", "ci"), folder.join("shop/ci.json"));
        assert_eq!(path(folder, "../a b", "."), folder.join("%2E.%2Fa%20b/%2E.json"));
    }

    #[test]
    fn what_is_written_is_read_and_an_empty_agreement_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut agreed = read(folder.path(), "shop", "ci").unwrap();
        agreed.pinned_run = Some("0123".to_owned());
        let path = write(folder.path(), &agreed).unwrap();
        let text = "{\n  \"environment\": \"ci\",\n  \"pinned_run\": \"0123\",\n  \"test\": \"shop\"\n}\n";
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!(read(folder.path(), "shop", "ci").unwrap(), agreed);
        assert_eq!(all(folder.path()).unwrap(), [agreed.clone()]);
        agreed.pinned_run = None;
        write(folder.path(), &agreed).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "{\"pinned\": 1}").unwrap();
        assert!(matches!(read(folder.path(), "shop", "ci"), Err(BaselinesError::NotOurs { .. })));
    }
}
