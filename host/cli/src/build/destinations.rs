//! Where the image goes, opened: paths become capabilities and streams before anything is built.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wbuild_build::Output;

use super::load::Loader;
use super::outputs::{self, Destination};
use super::settings::reference;
use crate::environment::Environment;
use crate::failure::Failure;

/// Opens every destination.
///
/// # Errors
/// Exit 2 for one that cannot be opened or made, exit 8 where `--load` finds no engine.
pub(crate) fn open(outputs: &[outputs::Output], environment: &Environment) -> Result<Vec<Output>, Failure> {
    outputs.iter().map(|output| one(output, environment)).collect()
}

fn one(output: &outputs::Output, environment: &Environment) -> Result<Output, Failure> {
    Ok(match output {
        outputs::Output::Archive(form, Destination::Stdout) => Output::Stream {
            form: *form,
            stream: Mutex::new(Box::new(io::stdout())),
            what: "standard output".to_owned(),
        },
        outputs::Output::Archive(form, Destination::Engine) => {
            let loader = Loader::find(environment)?;
            let what = loader.what();
            Output::Stream { form: *form, stream: Mutex::new(Box::new(loader)), what }
        }
        outputs::Output::Archive(form, Destination::File(path)) => {
            let (parent, name) = parts(path)?;
            Output::Archive { form: *form, dir: directory(parent)?, name, path: path.clone() }
        }
        outputs::Output::Layout(path) => Output::Layout { dir: made(path)?, path: path.clone() },
        outputs::Output::Directory(path) => Output::Directory { dir: made(path)?, path: path.clone() },
        outputs::Output::Registry(names, media_types) => {
            let parsed = names.iter().map(|name| reference(name, "-o type=registry,name="));
            Output::Registry { names: parsed.collect::<Result<Vec<_>, _>>()?, media_types: *media_types }
        }
    })
}

fn made(path: &Path) -> Result<Dir, Failure> {
    std::fs::DirBuilder::new().recursive(true).create(path).map_err(|error| {
        Failure::usage(format!("cannot make the directory -o dest={}: {error}", path.display()))
    })?;
    directory(path)
}

fn directory(path: &Path) -> Result<Dir, Failure> {
    Dir::open_ambient_dir(path, ambient_authority()).map_err(|error| {
        Failure::usage(format!("cannot open the directory of -o dest= {}: {error}", path.display()))
    })
}

fn parts(path: &Path) -> Result<(&Path, OsString), Failure> {
    let name = path.file_name().filter(|_| !path.is_dir()).ok_or_else(|| {
        Failure::usage(format!("-o dest={} is a directory", path.display()))
            .hint("type=oci,tar=false and type=local write one")
    })?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((parent, name.to_owned()))
}
