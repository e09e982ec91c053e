//! Every kind of mistake that a topology file can have, and how each is mended.

use std::net::IpAddr;

use ipnetwork::IpNetwork;

/// What is wrong with one piece of the file. Displays as the fault;
/// [`FileError::mend`](crate::FileError::mend) says what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    #[error("this is not YAML: {0}")]
    Syntax(String),
    #[error("the file has more than {0} bytes")]
    TooLong(usize),
    #[error("the file has more than {0} values, aliases counted each time")]
    TooManyValues(usize),
    #[error("lists and sections are nested more than {0} deep")]
    NestedTooDeep(usize),
    #[error("the file says nothing")]
    Empty,
    #[error("a second document begins")]
    SecondDocument,
    #[error("the alias stands inside of what it stands for")]
    AliasCycle,
    #[error("tags mean nothing here")]
    Tag,
    #[error("{found} where {wanted} belongs")]
    WrongKind {
        found: &'static str,
        wanted: &'static str,
        example: &'static str,
    },
    #[error("no such key in {section}")]
    UnknownKey {
        section: &'static str,
        nearest: Option<&'static str>,
        known: String,
    },
    #[error("the key stands here a second time, first on line {first}")]
    KeyTwice { first: usize },
    #[error("{section} needs `{key}`")]
    KeyMissing {
        section: &'static str,
        key: &'static str,
        example: &'static str,
    },
    #[error("{section} takes either {choices}")]
    Choice {
        section: &'static str,
        choices: String,
    },
    #[error("not {wanted}")]
    Not {
        wanted: &'static str,
        example: &'static str,
    },
    #[error("a number without a unit, where {wanted} belongs")]
    NoUnit {
        wanted: &'static str,
        example: String,
    },
    #[error("`{unit}` is no unit of {wanted}")]
    UnknownUnit {
        wanted: &'static str,
        unit: String,
        units: &'static str,
    },
    #[error("an amount of bytes, where a rate belongs")]
    BytesForRate { bits: String, bytes: String },
    #[error("a link that carries nothing")]
    NoBandwidth,
    #[error("no version that this release knows")]
    Version,
    #[error("no sensible value: it has to lie between {least} and {most}")]
    OutOfRange { least: String, most: String },
    #[error("not a list of {least} to {most}")]
    ListLength { least: usize, most: usize },
    #[error("an address without the length of its prefix")]
    BareAddress { host: IpNetwork, around: IpNetwork },
    #[error("bits are set behind the prefix")]
    HostBits { network: IpNetwork, ip: IpAddr },
    #[error("an IPv4 prefix in IPv6 form")]
    MappedCidr,
    #[error("every address there is")]
    EveryAddress,
    #[error("not a name")]
    BadName,
    #[error("the name is taken by the place on line {first}")]
    NameTaken { first: usize },
    #[error("a place without addresses and without places in it")]
    EmptyPlace,
    #[error("no place has this name")]
    UnknownPlace { nearest: Option<String> },
    #[error("the place already stands inside of another")]
    ParentTwice,
    #[error("the place lies inside of itself: {way}")]
    Cycle { way: String },
    #[error("places are nested more than {0} deep")]
    TreeTooDeep(u32),
    #[error("the same prefix belongs to `{place}`, on line {line}")]
    CidrTwice { place: String, line: usize },
    #[error("the place has it already, in {outer} on line {line}")]
    CidrInsideOwn { outer: IpNetwork, line: usize },
    #[error("part of {outer} of `{place}`, on line {line}, which is not above this place")]
    CidrOfStranger {
        outer: IpNetwork,
        place: String,
        line: usize,
    },
    #[error("the place's {cidr} is longer than the prefix that would make its racks, /{bits}")]
    RackPrefixTooShort { cidr: IpNetwork, bits: u8 },
    #[error("a link from a place to itself")]
    LinkToSelf,
    #[error("`{outer}` holds `{inner}`, so no link runs between them")]
    LinkNested { outer: String, inner: String },
    #[error("the same link stands on line {first}")]
    LinkTwice { first: usize },
    #[error("the link says nothing")]
    LinkSaysNothing,
    #[error("`slowest` is not slower than `fastest`")]
    ScaleUpsideDown,
}

impl Problem {
    pub(crate) fn mend(&self) -> String {
        match self {
            Self::Syntax(_) => {
                "look for a missing colon, quote or bracket, or a tab in the indentation".into()
            }
            Self::TooLong(_) | Self::TooManyValues(_) => {
                "let a zone's `rack_prefix` make its racks instead of writing each".into()
            }
            Self::NestedTooDeep(_) | Self::TreeTooDeep(_) => "leave out some of the levels".into(),
            Self::Empty => "write at least `version: 1`, which means all defaults".into(),
            Self::SecondDocument => "remove the line `---` and all below it".into(),
            Self::AliasCycle => "write out what the alias should stand for".into(),
            Self::Tag => "remove the word that begins with `!`".into(),
            Self::WrongKind { example, .. } | Self::Not { example, .. } => {
                format!("write for instance `{example}`")
            }
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            } => format!("write `{nearest}`"),
            Self::UnknownKey { known, .. } => format!("it knows {known}"),
            Self::KeyTwice { .. } => "remove one of the two".into(),
            Self::KeyMissing { example, .. } => format!("add for instance `{example}`"),
            Self::Choice { .. } => "write one of them, whole, and not the other".into(),
            Self::NoUnit { example, .. } => format!("did you mean `{example}`?"),
            Self::UnknownUnit { units, .. } => format!("write one of {units}"),
            Self::BytesForRate { bits, bytes } => {
                format!("write `{bits}` for bits or `{bytes}` for bytes per second")
            }
            Self::NoBandwidth => {
                "to close a path, write `forbidden: true` in an entry of `links`".into()
            }
            Self::Version => "write `1`".into(),
            Self::OutOfRange { .. } => "look at the unit and the zeros".into(),
            Self::ListLength { least, most } if least == most => format!("write {least} of them"),
            Self::ListLength { .. } => "write more of them, or fewer".into(),
            other => other.mend_places(),
        }
    }

    fn mend_places(&self) -> String {
        match self {
            Self::BareAddress { host, around } => {
                format!(
                    "write `{host}` for one host, or for instance `{around}` for those around it"
                )
            }
            Self::HostBits { network, ip } => {
                format!(
                    "write `{network}` for all, or `{}` for the one host",
                    IpNetwork::from(*ip)
                )
            }
            Self::MappedCidr => "write it as IPv4, for instance `10.0.1.0/24`".into(),
            Self::EveryAddress => {
                "leave it out: what no place has is looked after by `defaults`".into()
            }
            Self::BadName => {
                "use up to 63 letters, digits, `-`, `_` and `.`, with a letter or digit first"
                    .into()
            }
            Self::NameTaken { .. } => "give each place of the file a name of its own".into(),
            Self::EmptyPlace => "add `cidrs` or `children`, or remove the place".into(),
            Self::UnknownPlace {
                nearest: Some(nearest),
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownPlace { nearest: None } => "name a place of `tree`".into(),
            Self::ParentTwice => "remove `parent`, or move the place to the top of `tree`".into(),
            Self::Cycle { .. } => "correct one of the `parent` keys on the way".into(),
            Self::CidrTwice { .. } => "leave it to one of them".into(),
            Self::CidrInsideOwn { .. } => "remove this one, or split the other".into(),
            Self::CidrOfStranger { place, .. } => {
                format!("correct one of the two, or move this place into `{place}`")
            }
            Self::RackPrefixTooShort { cidr, .. } => format!(
                "write `rack_prefix: {{{}: {}}}` or a longer one, or leave it out",
                if cidr.is_ipv4() { "ipv4" } else { "ipv6" },
                cidr.prefix()
            ),
            Self::LinkToSelf => "name two different places".into(),
            Self::LinkNested { inner, .. } => format!("set the `uplink` of `{inner}` instead"),
            Self::LinkTwice { .. } => "put both into one entry".into(),
            Self::LinkSaysNothing => "add `bandwidth`, `cost` or `forbidden: true`".into(),
            _ => "swap the two, or leave one out".into(),
        }
    }
}
