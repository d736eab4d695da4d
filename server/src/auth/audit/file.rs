//! The audit log's file: appended to, and begun anew at its size limit. So many older files are kept and no more.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    files_max: u32,
}

impl AuditFile {
    /// Opens the file to append. Only the process's own user may read a new one.
    pub(super) fn open(path: &Path, bytes_max: u64, files_max: u32) -> io::Result<Self> {
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self { path: path.to_path_buf(), file, bytes, bytes_max, files_max })
    }

    /// Appends a line with one write, so that lines of a process that is killed are whole or not there.
    pub(super) fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            self.rotate()?;
        }
        self.file.write_all(line)?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let older = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.files_max).rev() {
            match fs::rename(older(number), older(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match self.files_max {
            0 => fs::remove_file(&self.path)?,
            _ => fs::rename(&self.path, older(1))?,
        }
        *self = Self::open(&self.path, self.bytes_max, self.files_max)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_bounded_and_so_is_their_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut file = AuditFile::open(&path, 10, 2).unwrap();
        for line in ["1234\n", "5678\n", "a\n", "b\n", "c\n", "12345678\n", "a line past the limit\n", "z\n"] {
            file.append(line.as_bytes()).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("audit"), "z\n");
        assert_eq!(read("audit.1"), "a line past the limit\n");
        assert_eq!(read("audit.2"), "12345678\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        drop(file);
        AuditFile::open(&path, 10, 2).unwrap().append(b"again\n").unwrap();
        assert_eq!(read("audit"), "z\nagain\n");
    }
}
