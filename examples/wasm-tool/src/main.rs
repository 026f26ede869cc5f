//! `pages FROM TO`: each `.txt` of a directory becomes a page of a site, with an index.
//!
//! A template: it reads and writes by `std::fs`, and uses `wbuild_step` for what a plain program cannot say.

use std::fs;
use std::path::Path;

use wbuild_step::events::{Level, Span};
use wbuild_step::image::{self, Protocol};
use wbuild_step::{Error, Result, context, events, outputs};

/// Whom the pages belong to: www-data of Debian.
const OWNER: u32 = 33;

fn main() -> Result {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: pages FROM TO".into());
    };
    let count = pages(Path::new(&from), Path::new(&to))?;
    image::set_label("org.example.pages", &count.to_string())?;
    image::set_env("PAGES", &to)?;
    image::expose(8080, Protocol::Tcp)?;
    events::info(&format!("{count} pages for {}", context::target_platform()));
    Ok(())
}

/// Makes the site; answers how many pages it has.
fn pages(from: &Path, to: &Path) -> Result<usize> {
    let list = fs::read_dir(from).map_err(|error| Error::from(error).context(from.display()))?;
    let mut sources: Vec<_> =
        list.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    sources.sort();
    fs::create_dir_all(to)?;
    let mut index = String::from("<ul>\n");
    for (done, source) in sources.iter().enumerate() {
        events::progress("pages", done as u64, sources.len() as u64);
        let text = fs::read_to_string(source)?;
        let Some(title) = text.lines().next().filter(|line| !line.trim().is_empty()) else {
            let at = Span { file: source.display().to_string(), line: 1, column: 1 };
            events::diagnostic(Level::Error, "a page begins with its title", Some(&at), Some("write one"));
            return Err("a page has no title".into());
        };
        let stem = source.file_stem().unwrap_or_default().to_string_lossy();
        write(
            &to.join(format!("{stem}.html")),
            &format!("<h1>{}</h1>\n<pre>{}</pre>\n", escape(title), escape(&text)),
        )?;
        index.push_str(&format!("<li><a href=\"{stem}.html\">{}</a>\n", escape(title)));
    }
    events::progress("pages", sources.len() as u64, sources.len() as u64);
    write(&to.join("index.html"), &(index + "</ul>\n"))?;
    Ok(sources.len())
}

fn write(path: &Path, text: &str) -> Result {
    let name = path.to_str().ok_or("a name that is no UTF-8")?;
    outputs::declare(name)?;
    fs::write(path, text)?;
    outputs::set_owner(name, OWNER, OWNER)?;
    outputs::set_mode(name, 0o640)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use wbuild_step::mock;

    fn site(files: &[(&str, &str)]) -> (std::path::PathBuf, Result<usize>) {
        let dir = std::env::temp_dir().join(format!(
            "pages-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let _old = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("in")).unwrap();
        for (name, text) in files {
            fs::write(dir.join("in").join(name), text).unwrap();
        }
        let made = pages(&dir.join("in"), &dir.join("out"));
        (dir.join("out"), made)
    }

    #[test]
    fn each_text_becomes_a_page_of_the_web_servers_user() {
        let (out, made) = site(&[("a.txt", "First & foremost\n"), ("notes.md", "no page")]);
        assert_eq!(made.unwrap(), 1);
        assert!(fs::read_to_string(out.join("index.html")).unwrap().contains("First &amp; foremost"));
        let step = mock::take();
        let page = &step.files[out.join("a.html").to_str().unwrap()];
        assert_eq!((page.owner, page.mode), (Some((33, 33)), Some(0o640)));
        assert_eq!(step.declared.len(), 2);
    }

    #[test]
    fn a_page_without_a_title_is_told_with_its_place() {
        let (_, made) = site(&[("a.txt", "\n")]);
        assert_eq!(made.unwrap_err().to_string(), "a page has no title");
        let (level, line) = mock::take().lines.pop().unwrap();
        assert_eq!(level, Level::Error);
        assert!(line.contains("a.txt:1:1: a page begins with its title (hint: write one)"), "{line}");
    }
}
