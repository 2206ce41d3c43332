//! `completions` and `man`: what packages install beside the program.

use std::fmt::Write;
use std::fs;
use std::io;
use std::path::Path;

use clap_complete::{Generator, generate, shells};
use clap_mangen::Man;

use crate::cli::args::{self, Shell};
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::output;

/// Prints the completion script of a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), CliError> {
    match shell {
        Shell::Bash => script(shells::Bash),
        Shell::Elvish => script(shells::Elvish),
        Shell::Fish => script(shells::Fish),
        Shell::Zsh => script(shells::Zsh),
    }
}

fn script(generator: impl Generator) -> Result<(), CliError> {
    let mut text = Vec::new();
    generate(generator, &mut args::command_line(), "keyfold", &mut text);
    output::bytes(&text)
}

/// Writes a manual page for the program and one for each of its commands.
pub(crate) fn manual(dir: &Path) -> Result<(), CliError> {
    fs::create_dir_all(dir).map_err(|source| CliError::File {
        verb: "make",
        path: dir.to_path_buf(),
        source,
    })?;
    let mut root = args::command_line().disable_help_subcommand(true);
    root.build();
    pages(&root, dir)
}

/// Writes the pages of `command` and of everything below it.
fn pages(command: &clap::Command, dir: &Path) -> Result<(), CliError> {
    let man = Man::new(command.clone()).manual("Keyfold");
    let path = dir.join(man.get_filename());
    let failed = |source| CliError::File {
        verb: "write",
        path: path.clone(),
        source,
    };
    fs::write(&path, page(&man, command).map_err(failed)?).map_err(failed)?;
    command
        .get_subcommands()
        .filter(|b| !b.is_hide_set())
        .try_for_each(|b| pages(b, dir))
}

fn page(man: &Man, command: &clap::Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    if command.get_name() == "mount" {
        text.extend_from_slice(section("MOUNT OPTIONS", args::MOUNT_OPTIONS).as_bytes());
    }
    let exits = Exit::ALL.map(|exit| (exit.code().to_string(), exit.meaning()));
    text.extend_from_slice(section("EXIT STATUS", exits).as_bytes());
    man.render_version_section(&mut text)?;
    Ok(text)
}

/// A section that is a list of terms and what they mean.
fn section<T: AsRef<str>, const N: usize>(title: &str, list: [(T, &str); N]) -> String {
    let mut section = format!(".SH \"{title}\"\n");
    for (term, meaning) in list {
        let _ = writeln!(
            section,
            ".TP\n\\fB{}\\fR\n{}",
            roff(term.as_ref()),
            roff(meaning)
        );
    }
    section
}

/// Text as roff takes it. A line that begins with a full stop would be a request; none does.
fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
