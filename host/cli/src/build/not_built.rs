//! Flags of `docker buildx build` that are not built yet: each is recognised, so that it can be refused by name.
//!
//! Nothing is accepted and ignored. A flag leaves this table when it does what it says.

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::failure::Failure;

struct Flag {
    name: &'static str,
    /// What the user should know or do instead.
    sentence: &'static str,
}

const fn flag(name: &'static str, sentence: &'static str) -> Flag {
    Flag { name, sentence }
}

const FLAGS: &[Flag] = &[
    flag("sbom", "no attestation is written; leave the flag away"),
    flag("layers", "each step that changes files makes one layer"),
    flag("sign-key", "nothing is signed yet"),
    flag("allow", "there are no entitlements"),
    flag("builder", "there is no daemon and no builder instance"),
    flag("cgroup-parent", "wbuild makes no cgroups"),
];

/// The flags of the table that were on the command line.
#[derive(Debug, Default)]
pub(crate) struct NotBuilt(Vec<&'static str>);

impl NotBuilt {
    /// Refuses the first flag that is not built.
    ///
    /// # Errors
    /// Exit 2 with a sentence.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        match FLAGS.iter().find(|flag| self.0.contains(&flag.name)) {
            Some(flag) => Err(Failure::usage(format!("--{} is not built yet: {}", flag.name, flag.sentence))
                .hint("`wbuild build --help` lists what is")),
            None => Ok(()),
        }
    }
}

impl clap::FromArgMatches for NotBuilt {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given =
            |flag: &&Flag| matches.value_source(flag.name) == Some(clap::parser::ValueSource::CommandLine);
        Ok(Self(FLAGS.iter().filter(given).map(|flag| flag.name).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for NotBuilt {
    fn augment_args(command: Command) -> Command {
        FLAGS.iter().fold(command, |command, flag| {
            let arg = Arg::new(flag.name).long(flag.name).hide(true);
            command.arg(arg.action(ArgAction::Append).allow_hyphen_values(true))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
