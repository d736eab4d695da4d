//! Principals over a meta store: made, found by their keys, changed, and there again after a restart.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use millrace_storage::encryption::parse_local_keys;
use millrace_storage::meta::memory::MemoryMeta;
use millrace_storage::time::Timestamp;

use super::*;

const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER_HEX: &str = "100102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A store that outlives the process, and a clock of its own.
struct World {
    meta: Arc<MemoryMeta>,
    now: Arc<AtomicI64>,
}

impl World {
    fn new() -> Self {
        Self { meta: Arc::new(MemoryMeta::new()), now: Arc::new(AtomicI64::new(1_000_000)) }
    }

    async fn open(&self, mode: AuthMode, masters: &str) -> Auth {
        let masters = match masters {
            "" => MasterKeys::default(),
            text => MasterKeys::new(parse_local_keys("the test", text).unwrap()),
        };
        let now = Arc::clone(&self.now);
        let clock = Clock::new(move || Timestamp(now.load(Relaxed)));
        let principals = PrincipalSettings { count_max: 3, grants_max: 2, ..PrincipalSettings::default() };
        let options = AuthOptions { mode, principals, record_bytes_max: 1, ..AuthOptions::default() };
        let meta = Arc::clone(&self.meta) as Arc<dyn MetaStore>;
        Auth::open(meta, masters, options, clock, &Metrics::new()).await.unwrap()
    }
}

fn name(name: &str) -> PrincipalName {
    name.parse().unwrap()
}

fn grant(actions: &str, resource: &str) -> Grant {
    Grant::parse(actions.split(','), resource).unwrap()
}

async fn create(auth: &Auth, who: &str, grants: Vec<Grant>) -> Result<Created> {
    auth.registry().create(&Caller::open(), name(who), grants, PayerQuota::default()).await
}

fn token(created: &Created) -> String {
    format!("{}.{}", created.id, created.secret.reveal())
}

fn loopback() -> Option<SocketAddr> {
    Some("127.0.0.1:5000".parse().unwrap())
}

#[tokio::test]
async fn with_auth_off_everybody_may_do_everything() {
    let auth = World::new().open(AuthMode::Off, "").await;
    for caller in [auth.anonymous(None), auth.bearer("whatever")] {
        assert!(caller.unwrap().check(Action::Admin, &Resource::server()).is_ok());
    }
}

#[tokio::test]
async fn the_first_principal_is_made_on_this_machine_and_is_an_administrator() {
    let auth = World::new().open(AuthMode::On, HEX).await;
    for peer in [None, Some("10.0.0.1:1".parse().unwrap())] {
        assert_eq!(*auth.anonymous(peer).unwrap_err().kind(), Kind::Unauthenticated);
    }
    let local = auth.anonymous(loopback()).unwrap();
    assert!(local.check(Action::Admin, &Resource::server()).is_ok());
    for action in Action::ALL.iter().filter(|action| **action != Action::Admin) {
        assert!(local.check(*action, &Resource::stream("a")).is_err(), "{action}");
    }
    let registry = auth.registry();
    let first = registry.create(&local, name("root"), Vec::new(), PayerQuota::default()).await.unwrap();
    assert_eq!(first.principal.grants, [Grant::administrator()]);
    let late = registry.create(&local, name("thief"), Vec::new(), PayerQuota::default()).await.unwrap_err();
    assert_eq!(*late.kind(), Kind::Unauthenticated, "who came in before there was one");
    assert!(auth.anonymous(loopback()).is_err());
    let root = auth.bearer(&token(&first)).unwrap();
    assert!(root.check(Action::DeleteStream, &Resource::stream("a")).is_ok());
    assert_eq!(root.principal(), Some("root"));
}

#[tokio::test]
async fn without_a_master_key_no_secret_is_made() {
    let auth = World::new().open(AuthMode::On, "").await;
    let error = create(&auth, "root", Vec::new()).await.unwrap_err();
    assert_eq!(*error.kind(), Kind::FailedPrecondition);
    assert!(error.to_string().contains("encryption.master_key_file"), "{error}");
    assert!(auth.registry().list().await.unwrap().is_empty());
}

#[tokio::test]
async fn wrong_tokens_are_all_the_same() {
    let auth = World::new().open(AuthMode::On, HEX).await;
    let root = create(&auth, "root", Vec::new()).await.unwrap();
    let good = token(&root);
    let (id, secret) = good.split_once('.').unwrap();
    let long = format!("{good}{}", "x".repeat(300));
    let wrong = ["", ".", id, secret, &format!("{id}."), &format!(".{secret}"), &format!("{id}.{}", &secret[1..])];
    for wrong in wrong.into_iter().chain([&*long, &good[1..], &format!("{id}.{id}"), &good.to_lowercase()]) {
        let error = auth.bearer(wrong).unwrap_err();
        assert_eq!(*error.kind(), Kind::Unauthenticated);
        assert!(error.to_string().starts_with("the token is not one of a principal's"), "{error}");
        assert!(wrong.len() < 5 || !error.to_string().contains(wrong), "{error}");
    }
    assert!(auth.bearer(&good).is_ok());
}

#[tokio::test]
async fn principals_and_their_keys_outlive_a_restart_and_a_new_master_key() {
    let world = World::new();
    let (token, id) = {
        let auth = world.open(AuthMode::On, HEX).await;
        let root = create(&auth, "root", Vec::new()).await.unwrap();
        (token(&root), root.id)
    };
    let auth = world.open(AuthMode::On, &format!("{OTHER_HEX} {HEX}")).await;
    assert!(auth.bearer(&token).is_ok());
    let view = auth.registry().describe(&name("root")).await.unwrap();
    assert_eq!((view.keys.len(), &view.keys[0].id), (1, &id));
    // The secret was wrapped anew, so that the old master key is needless.
    let auth = world.open(AuthMode::On, OTHER_HEX).await;
    assert!(auth.bearer(&token).is_ok());
    let auth = world.open(AuthMode::On, HEX).await;
    let error = auth.bearer(&token).unwrap_err();
    assert_eq!(*error.kind(), Kind::Unavailable, "a master key that is away is told as such");
    let view = auth.registry().describe(&name("root")).await.unwrap();
    assert!(view.keys[0].unusable.is_some());
    assert_eq!(auth.registry().unlock().await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_stored_holds_no_secret() {
    let world = World::new();
    let auth = world.open(AuthMode::On, HEX).await;
    let root = create(&auth, "root", Vec::new()).await.unwrap();
    let secret = root.secret.reveal().as_bytes();
    let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, secret).unwrap();
    for (_, value) in world.meta.scan(b"").await.unwrap() {
        for needle in [secret, &decoded[..8]] {
            assert!(!value.windows(needle.len()).any(|window| window == needle));
        }
    }
    assert!(!format!("{auth:?}{root:?}{:?}", auth.bearer(&token(&root))).contains(root.secret.reveal()));
}

#[tokio::test]
async fn changes_count_at_once_and_end_what_is_open() {
    let auth = World::new().open(AuthMode::On, HEX).await;
    create(&auth, "root", Vec::new()).await.unwrap();
    let ann = create(&auth, "ann", vec![grant("put", "stream/a*")]).await.unwrap();
    let token = token(&ann);
    let caller = auth.bearer(&token).unwrap();
    let may = |action, resource: &Resource| caller.check(action, resource).is_ok();
    assert!(may(Action::Put, &Resource::stream("ab")) && !may(Action::Put, &Resource::stream("b")));
    assert!(!may(Action::Get, &Resource::stream("ab")) && !may(Action::Admin, &Resource::server()));
    assert!(caller.check_some(Action::Put, ResourceKind::Stream).is_ok());
    assert!(caller.check_some(Action::Get, ResourceKind::Stream).is_err());
    let update = async |changes| auth.registry().update(&name("ann"), changes).await;
    update(Changes { grant: vec![grant("get", "stream/a*")], ..Changes::default() }).await.unwrap();
    assert!(may(Action::Get, &Resource::stream("ab")), "a grant counts at once");
    assert!(!caller.lasts().unwrap().is_cancelled(), "more is no reason to end");
    let third = Changes { grant: vec![grant("query", "table/*")], ..Changes::default() };
    assert!(update(third).await.unwrap_err().to_string().contains("principals.grants_max"));
    let unknown = Changes { revoke: vec![grant("put", "stream/b")], ..Changes::default() };
    assert_eq!(*update(unknown).await.unwrap_err().kind(), Kind::NotFound);
    update(Changes { revoke: vec![grant("put", "stream/a*")], ..Changes::default() }).await.unwrap();
    assert!(!may(Action::Put, &Resource::stream("ab")) && may(Action::Get, &Resource::stream("ab")));
    assert!(caller.lasts().unwrap().is_cancelled());
    let again = auth.bearer(&token).unwrap();
    assert!(!again.lasts().unwrap().is_cancelled());
    update(Changes { disabled: Some(true), ..Changes::default() }).await.unwrap();
    assert!(again.lasts().unwrap().is_cancelled());
    assert_eq!(*auth.bearer(&token).unwrap_err().kind(), Kind::Unauthenticated);
    assert_eq!(*again.check(Action::Get, &Resource::stream("ab")).unwrap_err().kind(), Kind::Unauthenticated);
    update(Changes { disabled: Some(false), ..Changes::default() }).await.unwrap();
    assert!(auth.bearer(&token).is_ok());
    auth.registry().delete(&name("ann")).await.unwrap();
    assert!(auth.bearer(&token).is_err() && !may(Action::Get, &Resource::stream("ab")));
    assert_eq!(*auth.registry().delete(&name("ann")).await.unwrap_err().kind(), Kind::NotFound);
}

#[tokio::test]
async fn a_rotated_key_ends_at_once_or_after_its_overlap() {
    let world = World::new();
    let auth = world.open(AuthMode::On, HEX).await;
    let first = token(&create(&auth, "root", Vec::new()).await.unwrap());
    let rotate = async |overlap| token(&auth.registry().rotate(&name("root"), overlap).await.unwrap());
    let open = auth.bearer(&first).unwrap();
    let second = rotate(Duration::from_secs(60)).await;
    assert!(auth.bearer(&first).is_ok() && auth.bearer(&second).is_ok());
    assert!(!open.lasts().unwrap().is_cancelled());
    world.now.fetch_add(59_999, Relaxed);
    assert!(auth.bearer(&first).is_ok());
    world.now.fetch_add(1, Relaxed);
    assert!(auth.bearer(&first).is_err() && auth.bearer(&second).is_ok());
    let third = rotate(Duration::ZERO).await;
    assert!(auth.bearer(&second).is_err() && auth.bearer(&third).is_ok());
    assert!(open.lasts().unwrap().is_cancelled());
    let fourth = rotate(Duration::from_secs(60)).await;
    let fifth = rotate(Duration::from_secs(60)).await;
    assert!(auth.bearer(&third).is_err(), "two keys are in force at most");
    assert!(auth.bearer(&fourth).is_ok() && auth.bearer(&fifth).is_ok());
    let auth = world.open(AuthMode::On, HEX).await;
    assert!(auth.bearer(&third).is_err() && auth.bearer(&fourth).is_ok() && auth.bearer(&fifth).is_ok());
    let too_long = auth.registry().rotate(&name("root"), Duration::from_secs(8 * 24 * 3600)).await;
    assert_eq!(*too_long.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn nobody_can_lock_everybody_out_and_limits_hold() {
    let auth = World::new().open(AuthMode::On, HEX).await;
    create(&auth, "root", Vec::new()).await.unwrap();
    create(&auth, "ann", vec![grant("put", "stream/*")]).await.unwrap();
    let update = async |who: &str, changes| auth.registry().update(&name(who), changes).await;
    let disabled = || Changes { disabled: Some(true), ..Changes::default() };
    let revoked = Changes { revoke: vec![Grant::administrator()], ..Changes::default() };
    for refused in [update("root", disabled()).await, update("root", revoked).await] {
        assert!(refused.unwrap_err().to_string().contains("last that may manage principals"));
    }
    assert_eq!(*auth.registry().delete(&name("root")).await.unwrap_err().kind(), Kind::FailedPrecondition);
    update("ann", Changes { grant: vec![grant("admin", "server")], ..Changes::default() }).await.unwrap();
    update("root", disabled()).await.unwrap();
    assert_eq!(*auth.registry().delete(&name("ann")).await.unwrap_err().kind(), Kind::FailedPrecondition);
    assert_eq!(*create(&auth, "ann", Vec::new()).await.unwrap_err().kind(), Kind::AlreadyExists);
    create(&auth, "bob", Vec::new()).await.unwrap();
    let error = create(&auth, "eve", Vec::new()).await.unwrap_err();
    assert!(error.to_string().contains("principals.count_max"), "{error}");
    let names: Vec<String> =
        auth.registry().list().await.unwrap().iter().map(|principal| principal.name.to_string()).collect();
    assert_eq!(names, ["ann", "bob", "root"]);
}
