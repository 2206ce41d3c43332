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
    let below = if command.has_subcommands() {
        Below::Commands
    } else {
        Below::Nothing
    };
    fs::write(&path, page(&man, &below).map_err(failed)?).map_err(failed)?;
    command
        .get_subcommands()
        .filter(|below| !below.is_hide_set())
        .try_for_each(|b| pages(b, dir))
}

/// What a command has below it.
#[derive(PartialEq)]
enum Below {
    Commands,
    Nothing,
}

fn page(man: &Man, below: &Below) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if *below == Below::Commands {
        man.render_subcommands_section(&mut text)?;
    }
    text.extend_from_slice(exit_section().as_bytes());
    man.render_version_section(&mut text)?;
    Ok(text)
}

fn exit_section() -> String {
    let mut section = String::from(".SH \"EXIT STATUS\"\n");
    for exit in Exit::ALL {
        let _ = writeln!(
            section,
            ".TP 4\n\\fB{}\\fR\n{}",
            exit.code(),
            exit.meaning()
        );
    }
    section
}
