//! The keys that a topology file may have. The reader and the JSON Schema both go by these tables.

use std::time::Duration;

use crate::file::shape::Need::{self, Default, Required};
use crate::file::shape::{Key, Section, Shape};

const WEIGHT: Shape = Shape::Number {
    least: 0.0,
    most: 100.0,
};
const SHARE: Shape = Shape::Number {
    least: 0.0,
    most: 1.0,
};
const PLACES: usize = 20_000;

pub(crate) static FILE: Section = Section {
    name: "the file",
    about: "The network's topology, as Piccolo needs it to rank peers.",
    keys: &[
        key(
            "version",
            "The version of this format.",
            Shape::Version,
            Default("1"),
        ),
        key(
            "defaults",
            "What holds where no place says otherwise.",
            section(&DEFAULTS),
            ALL,
        ),
        key(
            "ranking",
            "What the ranking goes by.",
            section(&RANKING),
            ALL,
        ),
        key(
            "tree",
            "The places of the network, from the top down.",
            list(&A_PLACE, PLACES),
            NONE,
        ),
        key(
            "links",
            "What lies between two places beside the tree.",
            list(&A_LINK, 10_000),
            NONE,
        ),
    ],
    choices: &[],
};

const ALL: Need = Default("all defaults");
const NONE: Need = Default("none");

static DEFAULTS: Section = Section {
    name: "`defaults`",
    about: "What holds where no place says otherwise.",
    keys: &[
        key(
            "host_link",
            "The link of each host.",
            Shape::Rate,
            Default("10Gbit"),
        ),
        key(
            "rack_prefix",
            "Addresses that no place has make a rack with all that begin like them.",
            section(&RACK_PREFIX),
            ALL,
        ),
    ],
    choices: &[],
};

static RACK_PREFIX: Section = Section {
    name: "`rack_prefix`",
    about: "How many leading bits of its address make a host's rack.",
    keys: &[
        key(
            "ipv4",
            "For IPv4.",
            Shape::Bits { least: 8, most: 32 },
            Default("24"),
        ),
        key(
            "ipv6",
            "For IPv6.",
            Shape::Bits {
                least: 16,
                most: 128,
            },
            Default("64"),
        ),
    ],
    choices: &[],
};

static RANKING: Section = Section {
    name: "`ranking`",
    about: "What the ranking goes by.",
    keys: &[
        key(
            "weights",
            "How much each term of the score counts.",
            section(&WEIGHTS),
            ALL,
        ),
        key(
            "tier_width",
            "Scores this near to the best are equal; load and chance decide.",
            Shape::Number {
                least: 0.001,
                most: 1.0,
            },
            Default("0.05"),
        ),
        key(
            "remote_share",
            "The share of an answer kept for other racks.",
            SHARE,
            Default("0.1"),
        ),
        key(
            "probe_share",
            "The share of finds that try a path again that was slow when last measured.",
            SHARE,
            Default("0.05"),
        ),
        key(
            "slowest",
            "The bandwidth that scores 0.",
            Shape::Rate,
            Default("10Mbit"),
        ),
        key(
            "fastest",
            "The bandwidth that scores 1.",
            Shape::Rate,
            Default("100Gbit"),
        ),
        key(
            "half_life",
            "How long until half of what was observed is forgotten.",
            duration(Duration::from_secs(1), Duration::from_hours(720)),
            Default("10m"),
        ),
        key(
            "load_half_life",
            "How long until half of a path's load is forgotten.",
            duration(Duration::from_millis(100), Duration::from_hours(1)),
            Default("25s"),
        ),
        key(
            "prior_weight",
            "How many observed samples the declared bandwidth is worth.",
            Shape::Number {
                least: 0.1,
                most: 1000.0,
            },
            Default("2"),
        ),
        key(
            "smallest_sample",
            "Transfers of fewer bytes say nothing about bandwidth.",
            Shape::Size {
                least: 1 << 10,
                most: 1 << 40,
            },
            Default("1MiB"),
        ),
    ],
    choices: &[],
};

static WEIGHTS: Section = Section {
    name: "`weights`",
    about: "The first three are relative to their sum; load is taken off the score they give.",
    keys: &[
        key(
            "prefix",
            "The common prefix of the addresses.",
            WEIGHT,
            Default("0.15"),
        ),
        key(
            "tree",
            "How much of the tree both have in common.",
            WEIGHT,
            Default("0.25"),
        ),
        key(
            "bandwidth",
            "The bandwidth of the path.",
            WEIGHT,
            Default("0.6"),
        ),
        key("load", "The load of the holder.", WEIGHT, Default("0.25")),
    ],
    choices: &[],
};

pub(crate) static PLACE: Section = Section {
    name: "a place",
    about: "A region, a zone, a rack: a part of the network, with addresses or places in it.",
    keys: &[
        key("name", "Unique in the file.", Shape::Name, Required),
        key(
            "kind",
            "What you call such a place: rack, zone.",
            Shape::Text,
            NONE,
        ),
        key(
            "parent",
            "The place that this one is in, for a flat file; only at the top of the tree.",
            Shape::Name,
            NONE,
        ),
        key(
            "cidrs",
            "The place's own addresses.",
            list(&Shape::Cidr, 10_000),
            NONE,
        ),
        key(
            "uplink",
            "The link to the place it is in, and to those beside it: its capacity each way.",
            Shape::Either(&Shape::Rate, &UPLINK),
            Default("as fast as what it connects"),
        ),
        key(
            "host_link",
            "The link of each host.",
            Shape::Rate,
            Default("of the place it is in"),
        ),
        key(
            "rack_prefix",
            "The place's own addresses make racks below it of those that begin alike.",
            section(&RACK_PREFIX),
            Default("the place is one rack"),
        ),
        key(
            "children",
            "The places in it.",
            list(&A_PLACE, PLACES),
            NONE,
        ),
    ],
    choices: &[],
};

static UPLINK: Section = Section {
    name: "`uplink`",
    about: "A link that is not as fast both ways.",
    keys: &[
        key("up", "Out of the place.", Shape::Rate, Required),
        key("down", "Into the place.", Shape::Rate, Required),
    ],
    choices: &[],
};

pub(crate) static LINK: Section = Section {
    name: "a link",
    about: "A way between two places that the tree does not tell, or tells wrong. Of several the \
            one between the deepest places counts.",
    keys: &[
        key("between", "The two places, both ways.", ENDS, NONE),
        key("from", "The place that sends, one way.", Shape::Name, NONE),
        key("to", "The place that receives, one way.", Shape::Name, NONE),
        key(
            "bandwidth",
            "Instead of both places' uplinks.",
            Shape::Rate,
            Default("the tree's"),
        ),
        key(
            "cost",
            "The path counts as that many times slower than it is.",
            Shape::Number {
                least: 0.01,
                most: 1000.0,
            },
            Default("1"),
        ),
        key(
            "forbidden",
            "Nothing is fetched this way.",
            Shape::Flag,
            Default("false"),
        ),
    ],
    choices: &[&["between"], &["from", "to"]],
};

static A_PLACE: Shape = Shape::Section(&PLACE);
static A_LINK: Shape = Shape::Section(&LINK);
const ENDS: Shape = Shape::List {
    of: &Shape::Name,
    least: 2,
    most: 2,
};

const fn key(name: &'static str, about: &'static str, shape: Shape, need: Need) -> Key {
    Key {
        name,
        about,
        shape,
        need,
    }
}

const fn section(section: &'static Section) -> Shape {
    Shape::Section(section)
}

const fn list(of: &'static Shape, most: usize) -> Shape {
    Shape::List { of, least: 0, most }
}

const fn duration(least: Duration, most: Duration) -> Shape {
    Shape::Duration { least, most }
}
