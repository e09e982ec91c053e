//! Which modules a Rust file names: the paths that begin with `crate`, `self` or `super`, in imports,
//! in expressions and inside of macros. Tests are left out: they may look at everything.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItemFn, Item, ItemMod, ItemUse, Macro, Path, UseTree};

/// A module as the names on the way to it from the crate's root, which is the empty path.
pub(super) type ModulePath = Vec<String>;

/// The modules of a crate, and their references, parsed from source.
#[derive(Debug, Default)]
pub(super) struct CrateSource {
    /// Every module that is no test.
    pub(super) modules: BTreeSet<ModulePath>,
    /// Modules that are declared for tests only.
    tests: BTreeSet<ModulePath>,
    /// Of each module, names that it re-exports, and from where.
    exports: BTreeMap<ModulePath, BTreeMap<String, Origin>>,
    pub(super) references: Vec<Reference>,
}

/// A place that names something by its path within the crate.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) from: ModulePath,
    /// From the root; the last names may be those of items.
    pub(super) to: ModulePath,
    pub(super) line: usize,
}

/// From where a module has a name that it did not define.
#[derive(Debug)]
struct Origin {
    path: ModulePath,
    /// The path was written without `self`, so it may be that of another crate.
    is_bare: bool,
}

/// Walks through one file.
struct Walk<'a> {
    source: &'a mut CrateSource,
    module: ModulePath,
}

/// More re-exports of one name than this in a row are a circle.
const MAX_EXPORTS: usize = 16;

impl CrateSource {
    /// Takes in a file that holds the module at `path`.
    ///
    /// # Errors
    /// When it is no Rust.
    pub(super) fn add(&mut self, path: &ModulePath, content: &str) -> syn::Result<()> {
        let file = syn::parse_file(content)?;
        self.modules.insert(path.clone());
        let mut walk = Walk {
            source: self,
            module: path.clone(),
        };
        walk.visit_file(&file);
        Ok(())
    }

    /// Leaves out the modules that are declared for tests only, once all files are taken in.
    pub(super) fn without_tests(mut self) -> Self {
        let tests = std::mem::take(&mut self.tests);
        let is_test = |path: &ModulePath| tests.iter().any(|test| path.starts_with(test));
        self.modules.retain(|path| !is_test(path));
        self.references
            .retain(|reference| !is_test(&reference.from));
        self
    }

    /// The modules that a reference leads to: the one that it names, and where that one only hands
    /// the name on, the one that has it.
    pub(super) fn targets(&self, reference: &Reference) -> Vec<ModulePath> {
        let mut targets = Vec::new();
        let mut to = reference.to.clone();
        for _ in 0..MAX_EXPORTS {
            let named = self.module_of(&to);
            targets.push(named.clone());
            let Some(name) = to.get(named.len()) else {
                break;
            };
            let exports = self.exports.get(&named);
            let Some(origin) = exports.and_then(|names| names.get(name)) else {
                break;
            };
            if origin.is_bare && self.module_of(&origin.path) == named {
                break;
            }
            let rest = to.split_off(named.len() + 1);
            to = origin.path.iter().cloned().chain(rest).collect();
        }
        targets
    }

    /// The longest part of a path that is a module.
    fn module_of(&self, path: &ModulePath) -> ModulePath {
        let mut module = path.clone();
        while !module.is_empty() && !self.modules.contains(&module) {
            module.pop();
        }
        module
    }
}

impl Walk<'_> {
    /// The path from the root of one that begins with `crate`, `self` or `super`; `None` for others.
    fn absolute(&self, names: &[String]) -> Option<ModulePath> {
        let (first, mut rest) = names.split_first()?;
        let mut path = match first.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => self.module.clone(),
            "super" => {
                let mut above = self.module.clone();
                above.pop()?;
                above
            }
            _ => return None,
        };
        while let Some(("super", behind)) = rest.split_first().map(|(name, r)| (name.as_str(), r)) {
            path.pop()?;
            rest = behind;
        }
        path.extend(rest.iter().cloned());
        Some(path)
    }

    fn refer(&mut self, names: &[String], line: usize) {
        if let Some(to) = self.absolute(names) {
            let from = self.module.clone();
            self.source.references.push(Reference { from, to, line });
        }
    }

    /// The leaves of an import: the whole path of each, and the name that it has here.
    fn leaves(tree: &UseTree, before: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
        let leaf = |before: &[String], end: &syn::Ident, name: &syn::Ident| {
            let mut path = before.to_vec();
            // `{self}` names what stands before the braces.
            if end != "self" || before.is_empty() {
                path.push(end.to_string());
            }
            let name = if name == "self" {
                path.last().cloned()
            } else {
                Some(name.to_string())
            };
            Leaf {
                path,
                name,
                line: end.span().start().line,
            }
        };
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                Self::leaves(&path.tree, before, leaves);
                before.pop();
            }
            UseTree::Name(name) => leaves.push(leaf(before, &name.ident, &name.ident)),
            UseTree::Rename(rename) => leaves.push(leaf(before, &rename.ident, &rename.rename)),
            UseTree::Glob(glob) => leaves.push(Leaf {
                path: before.clone(),
                name: None,
                line: glob.star_token.spans[0].start().line,
            }),
            UseTree::Group(group) => {
                for tree in &group.items {
                    Self::leaves(tree, before, leaves);
                }
            }
        }
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let mut names: Vec<String> = Vec::new();
        let (mut colons, mut line) = (0, 0);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.refer(&std::mem::take(&mut names), line);
                        line = ident.span().start().line;
                    }
                    names.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' && !names.is_empty() => {
                    colons += 1;
                }
                other => {
                    self.refer(&std::mem::take(&mut names), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.refer(&names, line);
    }
}

/// One name that an import brings.
struct Leaf {
    path: Vec<String>,
    /// What it is called here; `None` for a glob.
    name: Option<String>,
    line: usize,
}

impl<'ast> Visit<'ast> for Walk<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !attributes(item).iter().any(is_test) {
            visit::visit_item(self, item);
        } else if let Item::Mod(module) = item {
            let mut path = self.module.clone();
            path.push(module.ident.to_string());
            self.source.tests.insert(path);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !function.attrs.iter().any(is_test) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.module.push(module.ident.to_string());
        if module.content.is_some() {
            self.source.modules.insert(self.module.clone());
            visit::visit_item_mod(self, module);
        }
        self.module.pop();
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        let mut leaves = Vec::new();
        Self::leaves(&import.tree, &mut Vec::new(), &mut leaves);
        for leaf in leaves {
            self.refer(&leaf.path, leaf.line);
            // Also without `pub`: children name it through `super`.
            let origin = match self.absolute(&leaf.path) {
                Some(path) => Origin {
                    path,
                    is_bare: false,
                },
                None => Origin {
                    path: self.module.iter().chain(&leaf.path).cloned().collect(),
                    is_bare: true,
                },
            };
            if let Some(name) = leaf.name {
                let exports = self.source.exports.entry(self.module.clone());
                exports.or_default().insert(name, origin);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        let line = path
            .segments
            .first()
            .map_or(0, |part| part.ident.span().start().line);
        self.refer(&names, line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, macro_call: &'ast Macro) {
        self.tokens(macro_call.tokens.clone());
        visit::visit_macro(self, macro_call);
    }
}

/// Whether what follows is compiled for tests only.
fn is_test(attribute: &Attribute) -> bool {
    let words = attribute
        .meta
        .require_list()
        .map(|list| list.tokens.to_string());
    attribute.path().is_ident("test")
        || attribute.path().is_ident("cfg") && words.is_ok_and(|words| words == "test")
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
