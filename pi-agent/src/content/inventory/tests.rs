//! The inventory: what is reached from images and present may be shared.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Extent, Id, Image, Inventory, Manifest, Policy, Shareable, Wanted};

fn id(n: u8) -> Id {
    Id::Sha256([n; 32])
}

fn digest(n: u8) -> String {
    id(n).digest().to_string()
}

fn image(name: &str, target: u8) -> Image {
    Image {
        name: name.to_owned(),
        target: id(target).digest(),
        media_type: String::new(),
    }
}

fn manifest(layers: &[u8]) -> Manifest {
    let layers: Vec<_> = layers
        .iter()
        .map(|n| serde_json::json!({"digest": digest(*n), "size": 1}))
        .collect();
    Manifest::parse(serde_json::json!({"layers": layers}).to_string().as_bytes()).unwrap()
}

fn index(manifests: &[u8]) -> Manifest {
    let manifests: Vec<_> = manifests
        .iter()
        .map(|n| serde_json::json!({"digest": digest(*n), "size": 1}))
        .collect();
    Manifest::parse(
        serde_json::json!({"manifests": manifests})
            .to_string()
            .as_bytes(),
    )
    .unwrap()
}

/// Reads manifests out of `content` until the walk is done.
fn settle(inventory: &mut Inventory, content: &HashMap<Id, Manifest>) -> Shareable {
    loop {
        let (table, wanted) = inventory.walk();
        if wanted.is_empty() {
            return table;
        }
        for wanted in wanted {
            let manifest = content.get(&wanted.id).cloned();
            inventory.learn(wanted, manifest.as_ref());
        }
    }
}

fn shared(table: &Shareable) -> Vec<u8> {
    let mut all: Vec<u8> = (0..=u8::MAX)
        .filter(|n| table.objects.contains_key(&id(*n)))
        .collect();
    all.sort_unstable();
    all
}

fn with_blobs(policy: Policy, blobs: &[u8]) -> Inventory {
    let mut inventory = Inventory::new(policy);
    inventory.scanned(blobs.iter().map(|n| (id(*n), 1)).collect());
    inventory
}

fn namespace() -> Arc<str> {
    "k8s.io".into()
}

#[test]
fn only_what_an_image_refers_to_and_is_there() {
    let content = HashMap::from([(id(1), index(&[2, 3])), (id(2), manifest(&[10, 11, 12]))]);
    // The other platform's manifest 3 and layer 12 were never fetched; 99 is nobody's.
    let mut inventory = with_blobs(Policy::default(), &[1, 2, 10, 11, 99]);
    inventory.listed(&namespace(), vec![image("r.io/a:v1", 1)]);
    let table = settle(&mut inventory, &content);
    assert_eq!(shared(&table), [1, 2, 10, 11]);
    let media_type = |n| table.objects[&id(n)].media_type.clone();
    assert_eq!(
        media_type(1).as_deref(),
        Some("application/vnd.oci.image.index.v1+json")
    );
    assert_eq!(media_type(10), None);
    assert_eq!(table.tags.get("r.io/a:v1"), Some(&id(1)));
}

#[test]
fn a_layer_that_two_images_share_stays_with_the_second() {
    let content = HashMap::from([(id(1), manifest(&[10, 11])), (id(2), manifest(&[11, 12]))]);
    let mut inventory = with_blobs(Policy::default(), &[1, 2, 10, 11, 12]);
    inventory.listed(
        &namespace(),
        vec![image("r.io/a:v1", 1), image("r.io/b:v1", 2)],
    );
    assert_eq!(
        shared(&settle(&mut inventory, &content)),
        [1, 2, 10, 11, 12]
    );
    inventory.image_gone(&namespace(), "r.io/a:v1");
    assert_eq!(shared(&settle(&mut inventory, &content)), [2, 11, 12]);
    inventory.gone(&id(12));
    assert_eq!(shared(&settle(&mut inventory, &content)), [2, 11]);
}

#[test]
fn manifests_of_private_repositories_are_hidden() {
    let content = HashMap::from([
        (id(1), index(&[2])),
        (id(2), manifest(&[10, 11])),
        (id(3), manifest(&[11, 12])),
        (id(4), manifest(&[12, 13])),
    ]);
    let policy = Policy::default().with_private(vec!["r.io/secret".parse().unwrap()]);
    let mut inventory = with_blobs(policy, &[1, 2, 3, 4, 10, 11, 12, 13]);
    let images = vec![
        image("r.io/secret:v1", 1),
        image("r.io/public:v1", 3),
        // As the CRI names it once more.
        image("sha256:5c", 1),
        image("r.io/copy:v1", 2),
    ];
    inventory.listed(&namespace(), images);
    let hidden = |inventory: &mut Inventory| {
        let table = settle(inventory, &content);
        let hidden: Vec<u8> = (0..=u8::MAX)
            .filter(|n| table.hidden.contains(&id(*n)))
            .collect();
        (hidden, table)
    };
    let (first, table) = hidden(&mut inventory);
    assert_eq!(first, [1, 2], "whatever else has them");
    assert_eq!(shared(&table), [1, 2, 3, 10, 11, 12], "layers are offered");
    let tags: Vec<_> = table.tags.keys().map(String::as_str).collect();
    assert!(!tags.contains(&"r.io/secret:v1"), "{tags:?}");
    assert!(tags.contains(&"r.io/public:v1"), "{tags:?}");

    // A pull of another one has begun.
    let now = Instant::now();
    inventory.begun(id(4), Extent::Blobs, now);
    assert_eq!(hidden(&mut inventory).0, [1, 2, 4]);
    inventory.begun(id(4), Extent::Whole, now);
    assert_eq!(hidden(&mut inventory).0, [1, 2]);
    inventory.image_gone(&namespace(), "r.io/secret:v1");
    assert!(hidden(&mut inventory).0.is_empty());
}

#[test]
fn lists_decide_by_name() {
    let content = HashMap::from([(id(1), manifest(&[10, 11])), (id(2), manifest(&[11, 12]))]);
    let policy = Policy::new(
        vec!["r.io/*".parse().unwrap()],
        vec!["r.io/secret".parse().unwrap()],
    );
    let mut inventory = with_blobs(policy, &[1, 2, 10, 11, 12]);
    let images = vec![
        image("r.io/a:v1", 1),
        image("r.io/secret:v1", 2),
        image("other.io/b:v1", 2),
        image("imported", 2),
    ];
    inventory.listed(&namespace(), images);
    let table = settle(&mut inventory, &content);
    assert_eq!(shared(&table), [1, 10, 11]);
    assert_eq!(table.tags.len(), 1);
}

#[test]
fn a_pull_that_has_begun_counts_for_a_while() {
    let content = HashMap::from([(id(1), manifest(&[10]))]);
    let mut inventory = with_blobs(Policy::default(), &[1, 10]);
    let now = Instant::now();
    inventory.begun(id(1), Extent::Whole, now);
    assert_eq!(shared(&settle(&mut inventory, &content)), [1, 10]);
    inventory.expire(now + Duration::from_hours(2));
    assert_eq!(shared(&settle(&mut inventory, &content)), Vec::<u8>::new());
}

#[test]
fn broken_content_is_shared_as_it_is_and_read_once() {
    let mut inventory = with_blobs(Policy::default(), &[1]);
    inventory.listed(&namespace(), vec![image("r.io/broken:v1", 1)]);
    let (_, wanted) = inventory.walk();
    let media_type = String::new();
    assert_eq!(
        wanted,
        [Wanted {
            id: id(1),
            media_type
        }]
    );
    for wanted in wanted {
        inventory.learn(wanted, None);
    }
    let (table, wanted) = inventory.walk();
    assert!(wanted.is_empty());
    assert_eq!(shared(&table), [1]);
}

#[test]
fn indexes_in_circles_end() {
    let content = HashMap::from([(id(1), index(&[2])), (id(2), index(&[1, 2]))]);
    let mut inventory = with_blobs(Policy::default(), &[1, 2]);
    inventory.listed(&namespace(), vec![image("r.io/a:v1", 1)]);
    assert_eq!(shared(&settle(&mut inventory, &content)), [1, 2]);
}

#[test]
fn the_same_name_in_two_namespaces_is_two_images() {
    let content = HashMap::from([(id(1), manifest(&[10])), (id(2), manifest(&[11]))]);
    let mut inventory = with_blobs(Policy::default(), &[1, 2, 10, 11]);
    let other: Arc<str> = "default".into();
    inventory.listed(&namespace(), vec![image("r.io/a:v1", 1)]);
    inventory.listed(&other, vec![image("r.io/a:v1", 2)]);
    assert_eq!(shared(&settle(&mut inventory, &content)), [1, 2, 10, 11]);
    inventory.listed(&namespace(), Vec::new());
    assert_eq!(shared(&settle(&mut inventory, &content)), [2, 11]);
    assert_eq!(inventory.image_count(), 1);
}

#[test]
fn a_manifest_that_cannot_be_read_is_tried_again() {
    let content = HashMap::from([(id(1), manifest(&[10]))]);
    let mut inventory = with_blobs(Policy::default(), &[1, 10]);
    inventory.listed(&namespace(), vec![image("r.io/a:v1", 1)]);
    let now = Instant::now();
    let (_, wanted) = inventory.walk();
    for wanted in wanted {
        inventory.put_off(wanted, now);
    }
    assert_eq!(shared(&settle(&mut inventory, &content)), [1]);
    inventory.expire(inventory.next_expiry().unwrap());
    assert_eq!(shared(&settle(&mut inventory, &content)), [1, 10]);
    assert_eq!(inventory.next_expiry(), None);
}

/// (images with a manifest, those without their layers)
fn layers(inventory: &Inventory) -> (usize, usize) {
    let layers = inventory.layers();
    (layers.images, layers.without)
}

#[test]
fn images_whose_layers_were_discarded_are_counted() {
    let k8s: Arc<str> = "k8s.io".into();
    let content = HashMap::from([(id(1), manifest(&[2, 3])), (id(4), index(&[1, 9]))]);
    let mut inventory = Inventory::new(Policy::default());
    // One image with three names, as CRI has it; the other platform was never fetched.
    for name in ["r.io/a:v1", "r.io/a@sha256:1", "sha256:2"] {
        inventory.image_put(&k8s, image(name, 4));
    }
    assert_eq!(layers(&inventory), (0, 0), "nothing is known yet");
    for blob in [1, 2, 3, 4] {
        inventory.put(id(blob), 1);
    }
    settle(&mut inventory, &content);
    assert_eq!(layers(&inventory), (1, 0));
    assert!(!inventory.layers().are_discarded());
    inventory.gone(&id(3));
    settle(&mut inventory, &content);
    assert_eq!(layers(&inventory), (1, 1));
    assert!(inventory.layers().are_discarded());
    inventory.put(id(3), 1);
    settle(&mut inventory, &content);
    assert_eq!(layers(&inventory), (1, 0));
}
