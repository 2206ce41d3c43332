//! Commands about what is offered to others.

use clap::{Args, Subcommand};
use keyfold_protocol::names::{Slug, Title, UserName};
use serde::{Deserialize, Serialize};

/// What to do about an offer.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum OfferCommand {
    /// Let others ask for a folder.
    Publish(Publish),
    /// Let them ask no more.
    Unpublish(Unpublish),
}

/// Let others ask for a folder.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Publish {
    /// The folder
    pub(crate) path: String,
    /// What others see of it
    #[arg(long, value_parser = title)]
    pub(crate) title: Title,
    /// Who may ask for it
    #[arg(long, value_name = "USER,...", value_delimiter = ',')]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) to: Vec<UserName>,
    /// Let everybody with an account on the server ask
    #[arg(long, conflicts_with = "to", required_unless_present = "to")]
    #[serde(default)]
    pub(crate) everyone: bool,
    /// Its name in the address, unless made of the title
    #[arg(long, value_name = "NAME", value_parser = slug)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) slug: Option<Slug>,
}

/// Let others ask no more.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unpublish {
    /// The folder
    pub(crate) path: String,
}

fn title(text: &str) -> Result<Title, String> {
    text.parse()
        .map_err(|_| "empty, too long, or with characters that would steer a terminal".to_owned())
}

fn slug(text: &str) -> Result<Slug, String> {
    text.parse()
        .map_err(|_| "not lower-case letters, digits and hyphens".to_owned())
}

impl OfferCommand {
    pub(super) const KNOWN: &str =
        "publish PATH --title TITLE --to USER,... | --everyone, unpublish PATH";
}
