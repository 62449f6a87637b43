//! The file that keeps addresses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use allocation::Verdict;
use backend_api::ServiceName;

/// What stands at the top of it.
const HEAD: &str =
    "# Written by `switchyard controller`, which alone changes it: it keeps which service has which address.\n";

/// A file of ServiceAddresses.
#[derive(Debug)]
pub(super) struct AddressFile {
    path: PathBuf,
    /// What it holds, if that is known.
    written: Option<String>,
}

impl AddressFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let written = fs::read_to_string(&path).ok();
        Self { path, written }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file by one with these addresses, at once as a whole; not at all if it has them.
    ///
    /// # Errors
    /// It cannot be written; what it held before it holds.
    pub(super) fn write<'a>(
        &mut self,
        verdicts: impl Iterator<Item = (&'a ServiceName, &'a Verdict)>,
    ) -> io::Result<()> {
        let text = render(verdicts);
        if self.written.as_ref() == Some(&text) {
            return Ok(());
        }
        self.written = None;
        // A hidden file is no file of the folder.
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = self.path.with_file_name(format!(".{name}.new"));
        let mut file = File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)?;
        self.written = Some(text);
        Ok(())
    }
}

/// Names were read from objects, and a text is quoted as JSON: the result is YAML whatever they hold.
fn render<'a>(verdicts: impl Iterator<Item = (&'a ServiceName, &'a Verdict)>) -> String {
    let mut text = HEAD.to_owned();
    for (ServiceName { namespace, name }, verdict) in verdicts.collect::<BTreeMap<_, _>>() {
        let Verdict { addresses, pool, problem } = verdict;
        if addresses.is_empty() && problem.is_none() {
            continue;
        }
        let ingress: Vec<_> = addresses.iter().map(|address| format!("{{ip: \"{address}\", ipMode: VIP}}")).collect();
        let ingress = ingress.join(", ");
        text += "---\napiVersion: switchyard.dev/v1\nkind: ServiceAddresses\n";
        add_line(&mut text, format_args!("metadata: {{namespace: {:?}, name: {:?}}}", &**namespace, &**name));
        add_line(&mut text, format_args!("loadBalancer: {{ingress: [{ingress}]}}"));
        if let Some(pool) = pool {
            add_line(&mut text, format_args!("pool: {:?}", &**pool));
        }
        if let Some(problem) = problem {
            let message = serde_json::Value::from(problem.to_string());
            add_line(&mut text, format_args!("problem: {{reason: {}, message: {message}}}", problem.reason()));
        }
    }
    text
}

fn add_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a text can be written to");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use allocation::Problem;

    use super::*;

    #[test]
    fn what_the_file_has_is_not_written_again_by_another_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("addresses.yaml");
        let first = inode_after(&path, "10.0.0.1");
        assert_eq!(inode_after(&path, "10.0.0.1"), first);
        assert_ne!(inode_after(&path, "10.0.0.2"), first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    fn inode_after(path: &Path, address: &str) -> u64 {
        let verdict = Verdict { addresses: vec![address.parse().unwrap()], ..Verdict::default() };
        let web = ServiceName::new("default", "web");
        AddressFile::new(path.to_owned()).write([(&web, &verdict)].into_iter()).unwrap();
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn what_is_written_is_read_as_it_was_meant() {
        let (web, none) = (ServiceName::new("a", "web"), ServiceName::new("a", "none"));
        let given = Verdict { addresses: vec!["fd00::1".parse().unwrap()], pool: Some("p".into()), problem: None };
        let problem = Some(Problem::NoPool { asked: Some("x\": y # z".into()) });
        let pending = Verdict { problem, ..Verdict::default() };
        let text = render([(&web, &given), (&none, &pending)].into_iter());
        let keys: Vec<_> = kubernetes::objects::read(&text)
            .into_iter()
            .map(|item| match item {
                kubernetes::objects::Item::Object(object) => object.key().to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(keys, ["ServiceAddresses a/none", "ServiceAddresses a/web"]);
        assert!(text.contains("loadBalancer: {ingress: [{ip: \"fd00::1\", ipMode: VIP}]}\npool: \"p\""), "{text}");
    }
}
