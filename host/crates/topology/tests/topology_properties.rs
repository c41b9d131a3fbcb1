//! What holds for every topology, not only for those that are cases.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use mshost_core::ids::{GenerationId, PluginName};
use mshost_topology::{Change, ChangedSetting, Diagnostics, Plan, Reason, RenderStyle, Topology};
use proptest::prelude::*;

/// Every table, every kind of value, text of more than one byte a character.
const VALID: &str = r#"
[host]
name = "ünï 😀"
admin = "127.0.0.1:9000"

[bus]
url = "amqp://me:PASSWORD@host:5672/v"
max_message = "64KiB"

[manager]
keepalive = "${KEEPALIVE:-10s}"

[defaults]
retry = { delay = "2s", max_attempts = 3 }

[[worker]]
type = "WA"
plugin = "rest"
listen = { http = "127.0.0.1:8080" }

[worker.config]
body_limit = "64KiB"
list = [1, 2.5, true, { deep = 1979-05-27 }]

[[worker]]
type = "WB"
plugin = "db"
instances = 3
timeout = "1m 30s"
"#;

fn parse(text: &str) -> Result<Topology, Diagnostics> {
    mshost_topology::parse(Path::new("topology.toml"), text, &|_| None)
}

/// Reads, and renders in both styles whatever there is to say: none of it may panic.
fn exercise(text: &str) -> String {
    let parsed = parse(text);
    let found = parsed.as_ref().map_or_else(|errors| Some(errors.clone()), |topology| topology.warnings.clone());
    let coloured = found.as_ref().map_or_else(String::new, |found| found.render(RenderStyle::Coloured));
    let plain = found.as_ref().map_or_else(String::new, |found| found.render(RenderStyle::Plain));
    let lines = found.iter().flat_map(|found| found.lines().collect::<Vec<_>>()).collect::<String>();
    format!("{parsed:?}{coloured}{plain}{lines}")
}

/// One small damage to a text, on the boundaries of its characters.
#[derive(Debug, Clone)]
enum Damage {
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, String),
    Double(prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let piece = prop::sample::select(vec![
        "\"",
        "'",
        "[",
        "]",
        "[[",
        "{",
        "}",
        "=",
        ".",
        "\n",
        "\r\n",
        "\t",
        "#",
        ",",
        "\\",
        "${",
        "}",
        "$",
        "\u{0}",
        "é",
        "-1",
        "\"\"\"",
        "\\u00e9",
        "99999999999999999999",
        "x = 1",
        "[host]",
        "1e999",
        "inf",
    ]);
    prop_oneof![
        (any::<prop::sample::Index>(), 1..20_usize).prop_map(|(at, len)| Damage::Remove(at, len)),
        (any::<prop::sample::Index>(), piece).prop_map(|(at, piece)| Damage::Insert(at, piece.to_owned())),
        (any::<prop::sample::Index>(), 1..40_usize).prop_map(|(at, len)| Damage::Double(at, len)),
    ]
}

fn apply(text: &str, damage: &Damage) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: &prop::sample::Index| index.index(chars.len() + 1);
    let (start, end, new) = match damage {
        Damage::Remove(index, len) => (at(index), (at(index) + len).min(chars.len()), String::new()),
        Damage::Insert(index, piece) => (at(index), at(index), piece.clone()),
        Damage::Double(index, len) => {
            let end = (at(index) + len).min(chars.len());
            (end, end, chars[at(index)..end].iter().collect())
        }
    };
    chars[..start].iter().chain(&new.chars().collect::<Vec<_>>()).chain(&chars[end..]).collect()
}

/// The workers of a small topology: type, plugin, instances, concurrency, path.
fn any_topology() -> impl Strategy<Value = Topology> {
    let worker = (0..3_u8, 0..3_u8, 1..4_u32, 1..3_u16, 0..2_u8);
    prop::collection::vec(worker, 0..6).prop_map(|workers| {
        let mut by_name = BTreeMap::new();
        for (kind, plugin, instances, concurrency, path) in workers {
            by_name.insert((kind, plugin), (instances, concurrency, path));
        }
        let text: String = by_name
            .iter()
            .map(|((kind, plugin), (instances, concurrency, path))| {
                format!(
                    "[[worker]]\ntype = \"W{kind}\"\nplugin = \"p{plugin}\"\ninstances = {instances}\n\
                     concurrency = {concurrency}\nconfig = {{ path = {path} }}\n"
                )
            })
            .collect();
        parse(&text).expect("a valid topology")
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let generations = prop::collection::btree_map(0..3_u8, 1..3_u64, 0..3);
    (any_topology(), generations).prop_map(|(topology, generations)| {
        let named =
            generations.into_iter().map(|(plugin, id)| (PluginName::new(&format!("p{plugin}")), GenerationId(id)));
        mshost_topology::plan(&topology, &named.collect())
    })
}

/// What costs a little an error must not cost the square of it a file.
#[test]
fn a_file_of_nothing_but_errors_is_answered() {
    for line in [
        "x\n",
        "[a]\n",
        "[[worker]]\n",
        "[[worker]]\ntype='W'\nplugin='p'\nlisten={a='1.1.1.1:1'}\n",
        "a=1\n",
        "a={a=1,a=1}\n",
        "a = # a://b:c@d\n",
        "\"",
        "[",
        "${",
        "a.",
        "\r",
    ] {
        let text = line.repeat((256 << 10) / line.len());
        assert!(exercise(&text).contains("error"), "{line}");
    }
}

#[test]
fn the_valid_one_is_valid() {
    let topology = parse(VALID).unwrap();
    assert_eq!(topology.workers.len(), 2);
    assert!(topology.warnings.is_none());
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        exercise(&text);
    }

    #[test]
    fn no_text_that_looks_like_toml_panics(text in "([a-z]{1,8}|[\\[\\]{}=.,\"'#$ \t\r\n]|[0-9]{1,3}|é|😀){0,80}") {
        exercise(&text);
    }

    #[test]
    fn no_damage_panics_or_shows_the_password(damages in prop::collection::vec(damage(), 1..6)) {
        let text = damages.iter().fold(VALID.to_owned(), |text, damage| apply(&text, damage));
        let said = exercise(&text);
        // Where the damage cut the URL, or copied a part of it, the word may not be a password any more.
        if text.contains("\"amqp://me:PASSWORD@host") && text.matches("PASSWORD").count() == 1 {
            prop_assert!(!said.contains("PASSWORD"), "{}\n{}", text, said);
        }
    }

    #[test]
    fn no_config_panics_its_check(
        entries in prop::collection::btree_map(
            prop::sample::select(vec!["path", "size", "mode", "list", "level", "x", "'a/b~c'"]),
            prop::sample::select(vec![
                "1", "-1", "99", "1.5", "true", "''", "'read'", "'reed'", "[]", "{}", "[{}]", "[{ name = 1 }]",
                "[{ 'a/b' = [1], name = 'x' }, 1]", "1979-05-27", "{ a = { b = 1 } }",
            ]),
            0..6,
        ),
        schema in prop::sample::select(vec!["schema_fits", "schema_closed", "schema_alternatives"]),
    ) {
        let config: String = entries.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let topology = parse(&format!("{ONE}[worker.config]\n{config}")).unwrap();
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topology").join(schema).join("schema.json");
        let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
        let found = mshost_topology::check_config(&topology, 0, &schema);
        prop_assert!(found.iter().all(|item| item.primary.is_some()), "{found:?}");
        if let Some(found) = Diagnostics::new(&topology.source, found) {
            prop_assert!(!found.render(RenderStyle::Plain).is_empty());
        }
    }

    #[test]
    fn equal_plans_have_no_changes(plan in any_plan()) {
        prop_assert_eq!(mshost_topology::diff(&plan, &plan), vec![]);
    }

    #[test]
    fn the_changes_lead_from_one_plan_to_the_other(running in any_plan(), wanted in any_plan()) {
        let mut plan = running.clone();
        for change in mshost_topology::diff(&running, &wanted) {
            plan.apply(&change);
        }
        prop_assert_eq!(&plan, &wanted);
    }

    #[test]
    fn each_slot_changes_once_and_only_what_runs_is_swapped(running in any_plan(), wanted in any_plan()) {
        let changes = mshost_topology::diff(&running, &wanted);
        let mut slots: Vec<_> = changes.iter().map(Change::slot).collect();
        slots.sort();
        slots.dedup();
        prop_assert_eq!(slots.len(), changes.len());
        let runs = |slot| running.get(slot).is_some_and(|planned| planned.generation.is_some());
        for change in &changes {
            match change {
                Change::Swap { slot, to, reasons } => {
                    prop_assert!(runs(slot) && to.generation.is_some() && !reasons.is_empty());
                }
                Change::Start { slot, to } => prop_assert!(!runs(slot) && to.generation.is_some()),
                Change::Wait { slot, to } => {
                    prop_assert!(to.generation.is_none() && wanted.pending().any(|pending| pending == slot));
                }
                Change::Stop { slot } => prop_assert!(wanted.get(slot).is_none()),
            }
        }
    }
}

fn plan(text: &str, generations: &[(&str, u64)]) -> Plan {
    let generations = generations.iter().map(|(name, id)| (PluginName::new(name), GenerationId(*id)));
    mshost_topology::plan(&parse(text).unwrap(), &generations.collect())
}

fn said(running: &Plan, wanted: &Plan) -> Vec<String> {
    mshost_topology::diff(running, wanted).iter().map(ToString::to_string).collect()
}

const ONE: &str = "[[worker]]\ntype = \"WB\"\nplugin = \"db\"\n";

#[test]
fn a_plan_has_one_slot_an_instance() {
    let plan = plan(VALID, &[("db", 7)]);
    let slots: Vec<_> = plan.iter().map(|(slot, planned)| (slot.to_string(), planned.generation)).collect();
    let db = Some(GenerationId(7));
    let expected = [("WA[0]", None), ("WB[0]", db), ("WB[1]", db), ("WB[2]", db)];
    assert_eq!(slots, expected.map(|(slot, generation)| (slot.to_owned(), generation)));
    assert_eq!(plan.pending().map(ToString::to_string).collect::<Vec<_>>(), ["WA[0]"]);
}

#[test]
fn a_plugin_that_comes_starts_what_waited() {
    let pending = plan(ONE, &[]);
    assert_eq!(said(&Plan::default(), &pending), ["WB[0] waits for plugin db"]);
    assert_eq!(said(&pending, &plan(ONE, &[("db", 1)])), ["start WB[0]"]);
}

#[test]
fn a_new_generation_swaps_and_says_so() {
    assert_eq!(said(&plan(ONE, &[("db", 1)]), &plan(ONE, &[("db", 2)])), ["swap WB[0]: generation 1 → 2"]);
}

#[test]
fn each_setting_of_a_worker_swaps_and_says_so() {
    let running = plan(ONE, &[("db", 1)]);
    for (line, reason) in [
        ("concurrency = 8", "concurrency 64 → 8"),
        ("timeout = \"5s\"", "timeout 30s → 5s"),
        ("drain_timeout = \"1s\"", "drain_timeout 10s → 1s"),
        ("retry = { delay = \"1s\" }", "retry"),
        ("restart = { delay = \"1s\" }", "restart"),
        ("parked = \"fail\"", "parked"),
        ("abandoned_threads = 2", "abandoned_threads 4 → 2"),
        ("listen = { http = \"127.0.0.1:1\" }", "listen"),
        ("isolation = \"process\"", "isolation thread → process"),
        ("config = { path = \"x\" }", "config"),
    ] {
        let wanted = plan(&format!("{ONE}{line}\n"), &[("db", 1)]);
        assert_eq!(said(&running, &wanted), [format!("swap WB[0]: {reason}")], "{line}");
    }
}

#[test]
fn fewer_instances_stop_the_last_and_leave_the_others() {
    let many = plan(&format!("{ONE}instances = 3\n"), &[("db", 1)]);
    let one = plan(ONE, &[("db", 1)]);
    assert_eq!(said(&many, &one), ["stop WB[1]", "stop WB[2]"]);
    assert_eq!(said(&one, &many), ["start WB[1]", "start WB[2]"]);
}

#[test]
fn the_order_of_workers_and_comments_mean_nothing() {
    let other = "[[worker]]\ntype = \"WA\"\nplugin = \"rest\"\n";
    let generations = [("db", 1), ("rest", 2)];
    let (a, b) = (format!("{ONE}{other}"), format!("# moved\n{other}\n{ONE}"));
    assert_eq!(said(&plan(&a, &generations), &plan(&b, &generations)), Vec::<String>::new());
}

#[test]
fn reasons_are_data_too() {
    let changes = mshost_topology::diff(&plan(ONE, &[("db", 1)]), &plan(ONE, &[("db", 2)]));
    let Change::Swap { reasons, .. } = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(reasons, &[Reason::NewGeneration { from: GenerationId(1), to: GenerationId(2) }]);
}

#[test]
fn few_settings_need_a_restart_and_workers_none() {
    let old = parse(ONE).unwrap();
    let changed = |newer: &Topology| old.changed_settings(newer);
    assert_eq!(changed(&parse(&format!("{ONE}instances = 2\n")).unwrap()), []);
    for (text, name, needs_restart) in [
        ("[host]\nplugin_threads = 2", "[host] plugin_threads", true),
        ("[host]\nadmin = \"off\"", "[host] admin", true),
        ("[host]\nstate = \"elsewhere\"", "[host] state", true),
        ("[manager]\nenabled = false", "[manager] enabled", true),
        ("[host]\nname = \"other\"", "[host] name", true),
        ("[host]\nplugins = \"elsewhere\"", "[host] plugins", false),
        ("[host]\nwatch = \"poll\"", "[host] watch", false),
        ("[host]\ndebounce = \"1s\"", "[host] debounce", false),
        ("[host]\nparallel_loads = 9", "[host] parallel_loads", false),
        ("[host]\nshutdown_timeout = \"11s\"", "[host] shutdown_timeout", false),
        ("[bus]\nurl = \"amqp://h\"", "[bus] url", false),
        ("[bus]\nqueue_limit = 1", "a limit of [bus]", false),
        ("[bus]\ncodec = \"JSON\"", "[bus] codec", true),
        ("[manager]\nmax_workers = 7", "[manager] max_workers", false),
        ("[manager]\nmax_proxies = 7", "[manager] max_proxies", false),
        ("[log]\nformat = \"json\"", "[log]", false),
    ] {
        let newer = parse(&format!("{text}\n{ONE}")).unwrap();
        assert_eq!(changed(&newer), [ChangedSetting { name, needs_restart }], "{text}");
        let sentence = format!("{name} has changed; restart the host to apply it");
        assert_eq!(old.restart_needed(&newer), needs_restart.then_some(sentence).as_slice(), "{text}");
        // What is in effect then differs in no setting but those that need a restart.
        let effective = old.in_effect(newer.clone());
        assert_eq!(effective.changed_settings(&newer).len(), usize::from(needs_restart), "{text}");
        assert_eq!(changed(&effective).len(), usize::from(!needs_restart), "{text}");
    }
}

#[test]
fn another_bus_swaps_every_worker_and_what_is_no_other_bus_waits_for_a_restart() {
    let with = |bus: &str| parse(&format!("[bus]\n{bus}\n{ONE}")).unwrap();
    let plan = |topology: &Topology| {
        mshost_topology::plan(topology, &BTreeMap::from([(PluginName::new("db"), GenerationId(1))]))
    };
    let (old, newer) = (with("journal = \"a\""), with("journal = \"b\""));
    let changes = mshost_topology::diff(&plan(&old), &plan(&newer));
    let Change::Swap { reasons, .. } = &changes[0] else { panic!("{changes:?}") };
    assert_eq!(reasons, &[Reason::Bus]);
    let same = with("journal = \"a\"\nqueue_limit = 9");
    let needed = ["a limit of [bus] has changed; restart the host to apply it"];
    assert_eq!(old.restart_needed(&same), needed);
    assert_eq!(plan(&old.in_effect(same)), plan(&old));
    assert_eq!(with("queue_limit = 8").restart_needed(&with("queue_limit = 9")), Vec::<String>::new());
}

#[test]
fn a_password_that_changes_is_not_said() {
    let with = |password: &str| parse(&format!("[bus]\nurl = \"amqp://me:{password}@h\"\n{ONE}")).unwrap();
    let said = with("first").changed_settings(&with("second"));
    assert_eq!(said, [ChangedSetting { name: "[bus] url", needs_restart: true }]);
}

#[test]
fn the_shipped_topology_is_valid() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).unwrap();
    let topology = mshost_topology::load(&root.join("topology.toml"), &|_| None).unwrap();
    assert!(topology.warnings.is_none());
    assert_eq!(topology.files.len(), 2, "the topology and its config.toml");
    let types: Vec<_> = topology.workers.iter().map(|worker| worker.worker_type.to_string()).collect();
    assert_eq!(types, ["WA", "WD", "WB"]);
}
