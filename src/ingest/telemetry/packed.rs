//! A folder of answers as one file, a tar of its manifest and of the answers that it names: to keep it beside its run.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::capture::{CaptureError, manifest_bytes, parse_manifest};

/// A larger one is not kept.
pub const PACKED_BYTES_MAX: u64 = 256 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PackError {
    #[error(transparent)]
    Manifest(#[from] CaptureError),
    #[error("failed to read the servers' answers")]
    Read(#[source] io::Error),
    #[error("they have more than {} MiB", PACKED_BYTES_MAX >> 20)]
    TooLarge,
}

/// Returns the answers of `folder` as one file; an answer that is not there is left out, as its reader would find it.
pub fn pack(folder: &Path) -> Result<Vec<u8>, PackError> {
    let manifest = manifest_bytes(folder)?;
    let mut packed = tar::Builder::new(Vec::new());
    let mut size = manifest.len() as u64;
    append(&mut packed, Path::new("manifest.json"), &manifest).map_err(PackError::Read)?;
    for question in &parse_manifest(folder, &manifest)?.files.0 {
        let Some(name) = inside(Path::new(&question.file)) else { continue };
        let path = folder.join(&name);
        let Some(file) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) else { continue };
        size += file.len();
        if size > PACKED_BYTES_MAX {
            return Err(PackError::TooLarge);
        }
        let mut bytes = Vec::new();
        // A file that grows meanwhile is taken as long as it was.
        let whole = File::open(&path).and_then(|open| open.take(file.len()).read_to_end(&mut bytes));
        whole.map_err(PackError::Read)?;
        append(&mut packed, &name, &bytes).map_err(PackError::Read)?;
    }
    packed.into_inner().map_err(PackError::Read)
}

/// Writes what `pack` returned into `folder`.
pub fn unpack(packed: &[u8], folder: &Path) -> io::Result<()> {
    for entry in tar::Archive::new(packed).entries()? {
        let mut entry = entry?;
        // Whoever can write to the store could have named any path.
        let Some(name) = inside(&entry.path()?) else { continue };
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = folder.join(name);
        if let Some(above) = path.parent() {
            fs::create_dir_all(above)?;
        }
        io::copy(&mut entry, &mut File::create(path)?)?;
    }
    Ok(())
}

fn append(packed: &mut tar::Builder<Vec<u8>>, name: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    packed.append_data(&mut header, name, bytes)
}

/// Returns a path that stays within its folder; none when it does not.
fn inside(path: &Path) -> Option<PathBuf> {
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    (is_plain && path.file_name().is_some()).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_there_again_and_nothing_leaves_its_folder() {
        let [from, to] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        fs::create_dir(from.path().join("loki")).unwrap();
        fs::write(from.path().join("loki/a.gz"), b"answer").unwrap();
        fs::write(from.path().join("other"), b"not named").unwrap();
        let file = |name: &str| format!(r#"{{"file":"{name}","server":"loki","path":"/x","status":200}}"#);
        let files: Vec<String> =
            ["loki/a.gz", "loki/gone.gz", "../outside", "/etc/hostname", "loki"].map(file).into_iter().collect();
        let manifest = format!(r#"{{"files":[{}]}}"#, files.join(","));
        fs::write(from.path().join("manifest.json"), &manifest).unwrap();
        let packed = pack(from.path()).unwrap();
        unpack(&packed, to.path()).unwrap();
        assert_eq!(fs::read(to.path().join("loki/a.gz")).unwrap(), b"answer");
        assert_eq!(fs::read_to_string(to.path().join("manifest.json")).unwrap(), manifest);
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 2);
        assert!(matches!(pack(to.path().join("loki").as_path()), Err(PackError::Manifest(_))));

        let mut hostile = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        let name = b"../escaped";
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name);
        header.set_cksum();
        hostile.append(&header, &b"x"[..]).unwrap();
        let below = to.path().join("below");
        fs::create_dir(&below).unwrap();
        unpack(&hostile.into_inner().unwrap(), &below).unwrap();
        assert!(!to.path().join("escaped").exists() && fs::read_dir(&below).unwrap().next().is_none());
        assert!(unpack(&[7; 600], &below).is_err());
    }
}
