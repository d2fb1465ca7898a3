//! `SSL_CERT_FILE` and `SSL_CERT_DIR`: CA certificates instead of the system's, for all TLS connections of the process.
//!
//! The libraries read them when they connect, and say little or nothing about files that they cannot use; so they are
//! checked at start.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tracing::warn;

const FILE: &str = "SSL_CERT_FILE";
const DIRECTORIES: &str = "SSL_CERT_DIR";

/// Logs what is wrong with them.
pub(super) fn warn_of_problems() {
    let (file, directories) = (env::var_os(FILE), env::var_os(DIRECTORIES));
    for problem in problems(file.as_deref(), directories.as_deref()) {
        let hint = "it must be PEM with CA certificates; while the variable is set, the system's own are not used";
        warn!(hint, "{problem}: TLS connections will fail or trust fewer certificates than expected");
    }
}

/// Which of them are set, for people.
pub(super) fn variables() -> Option<String> {
    let set: Vec<_> = [FILE, DIRECTORIES].into_iter().filter(|name| env::var_os(name).is_some()).collect();
    (!set.is_empty()).then(|| set.join(" and "))
}

fn problems(file: Option<&OsStr>, directories: Option<&OsStr>) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(file) = file.map(Path::new) {
        problems.extend(problem_of(file).map(|problem| format!("{FILE}: {} {problem}", file.display())));
    }
    for directory in directories.map(env::split_paths).into_iter().flatten().filter(|path| !path.as_os_str().is_empty())
    {
        let shown = directory.display();
        match files_in(&directory) {
            Err(error) => problems.push(format!("{DIRECTORIES}: {shown} cannot be read: {error}")),
            Ok(files) => {
                // OpenSSL's own directories also hold other files.
                let bad: Vec<_> =
                    files.iter().filter_map(|file| problem_of(file).map(|problem| (file, problem))).collect();
                if let Some((file, problem)) = bad.first() {
                    problems.push(format!("{DIRECTORIES}: {} {problem}", file.display()));
                } else if files.is_empty() {
                    problems.push(format!("{DIRECTORIES}: {shown} is empty"));
                }
            }
        }
    }
    problems
}

fn files_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let paths: Result<Vec<_>, _> = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect();
    Ok(paths?.into_iter().filter(|path| path.is_file()).collect())
}

/// What is wrong with a file of certificates.
fn problem_of(file: &Path) -> Option<String> {
    let pem = match fs::read(file) {
        Ok(pem) => pem,
        Err(error) => return Some(format!("cannot be read: {error}")),
    };
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let Ok(certificates) = read else { return Some("is not well-formed PEM".into()) };
    if certificates.is_empty() {
        return Some("holds no certificate in PEM".into());
    }
    let (_, ignored) = RootCertStore::empty().add_parsable_certificates(certificates);
    (ignored > 0).then(|| format!("holds {ignored} certificates that cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let made = rcgen::generate_simple_self_signed(["ca".to_owned()]).expect("a good name");
        made.cert.pem()
    }

    #[test]
    fn a_file_of_certificates_that_cannot_be_used_is_named_with_its_variable() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing.pem");
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let rows = [
            ("text.pem", "no PEM at all".to_owned(), Some("holds no certificate")),
            ("empty.pem", String::new(), Some("holds no certificate")),
            ("key.pem", key.to_owned(), Some("holds no certificate")),
            ("torn.pem", certificate()[..200].to_owned(), Some("is not well-formed PEM")),
            ("broken.pem", certificate().replace("\nMII", "\nAAA"), Some("cannot be read")),
            ("good.pem", certificate(), None),
            ("two.pem", certificate() + &certificate(), None),
        ];
        for (name, text, expected) in rows {
            let file = folder.path().join(name);
            fs::write(&file, text).expect("the folder is ours");
            let said = problems(Some(file.as_os_str()), None);
            match expected {
                None => assert_eq!(said, [""; 0], "{name}"),
                Some(expected) => {
                    let [said] = said.as_slice() else { panic!("{name}: {said:?}") };
                    assert!(said.starts_with(FILE) && said.contains(name) && said.contains(expected), "{said}");
                }
            }
        }
        let said = problems(Some(missing.as_os_str()), None);
        assert!(said[0].contains("missing.pem cannot be read"), "{said:?}");
    }

    #[test]
    fn each_directory_is_looked_at() {
        let [good, empty] = [0, 1].map(|_| tempfile::tempdir().expect("a folder"));
        fs::write(good.path().join("ca.pem"), certificate()).expect("the folder is ours");
        let missing = empty.path().join("missing");
        let joined = env::join_paths([good.path(), &missing, empty.path()]).expect("plain names");
        let said = problems(None, Some(&joined));
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("missing cannot be read") && said[1].contains("is empty"), "{said:?}");
    }
}
