//! Whether what ran before a restart still runs after it.

use crate::observation::{Container, Sandbox};

/// What did not outlive a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// In people's words.
    pub text: String,
    /// Whether it was the restart for sure. If not, somebody may have stopped the pod meanwhile: then no other sandbox
    /// comes to stand for it.
    pub certain: bool,
}

/// What was lost of `before`; nothing if the list is empty. Sandboxes under the handlers `except` do not count, nor do
/// those in namespaces for which `ignored` says so.
///
/// A pod that somebody deleted meanwhile is no loss: its sandbox is gone and no other stands for it. A container whose
/// end the engine saw (`end_is_known`, by its id) ended by itself, or was stopped: none either. One that went with its
/// shim ended nobody knows how.
pub fn losses(
    before: &[Sandbox],
    now: &[Sandbox],
    except: &[String],
    ignored: impl Fn(&str) -> bool,
    end_is_known: impl Fn(&str) -> bool,
) -> Vec<Loss> {
    let counted = |sandbox: &&Sandbox| {
        sandbox.ready && !except.contains(&sandbox.handler) && !ignored(&sandbox.namespace)
    };
    let new: Vec<&Sandbox> = now.iter().filter(|now| before.iter().all(|old| old.id != now.id)).collect();
    let of_one = |sandbox| sandbox_losses(sandbox, now, &new, &end_is_known);
    before.iter().filter(counted).flat_map(of_one).collect()
}

fn sandbox_losses(
    before: &Sandbox,
    all: &[Sandbox],
    new: &[&Sandbox],
    end_is_known: &impl Fn(&str) -> bool,
) -> Vec<Loss> {
    let pod = format!("pod {}/{}", before.namespace, before.name);
    let certain = |what: &str| Loss { text: format!("{pod}: {what}"), certain: true };
    if new.iter().any(|sandbox| sandbox.uid == before.uid) {
        return vec![certain("its sandbox was replaced")];
    }
    let Some(now) = all.iter().find(|sandbox| sandbox.id == before.id) else { return Vec::new() };
    let running = before.containers.iter().filter(|container| container.running);
    let mut losses: Vec<Loss> = running
        .filter_map(|container| container_loss(container, now, end_is_known))
        .map(|loss| certain(&loss))
        .collect();
    if !now.ready && losses.is_empty() {
        losses.push(Loss { text: format!("{pod}: its sandbox is no longer ready"), certain: false });
    }
    losses
}

fn container_loss(
    before: &Container,
    sandbox: &Sandbox,
    end_is_known: &impl Fn(&str) -> bool,
) -> Option<String> {
    let name = &before.name;
    match sandbox.containers.iter().find(|container| container.id == before.id) {
        Some(now) if now.running && now.attempt == before.attempt => None,
        Some(now) if !now.running && end_is_known(&now.id) => None,
        Some(_) => Some(format!("container {name} no longer runs")),
        None => {
            let again = sandbox.containers.iter().any(|c| c.name == *name && c.attempt > before.attempt);
            again.then(|| format!("container {name} was restarted"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(id: &str, attempt: u32, running: bool) -> Sandbox {
        Sandbox {
            id: id.to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: "u1".to_owned(),
            handler: "runc".to_owned(),
            ready: true,
            containers: vec![Container {
                id: format!("{id}-c{attempt}"),
                name: "app".to_owned(),
                attempt,
                running,
            }],
        }
    }

    fn found(before: &[Sandbox], now: &[Sandbox]) -> Vec<Loss> {
        losses(before, now, &[], |_| false, |id| id == "s-c7")
    }

    fn lost(before: &Sandbox, now: &[Sandbox]) -> Vec<String> {
        found(std::slice::from_ref(before), now).into_iter().map(|loss| loss.text).collect()
    }

    #[test]
    fn the_same_is_no_loss() {
        assert!(lost(&sandbox("s", 0, true), &[sandbox("s", 0, true)]).is_empty());
    }

    #[test]
    fn a_restarted_container_is_a_loss() {
        assert_eq!(
            lost(&sandbox("s", 0, true), &[sandbox("s", 1, true)]),
            ["pod default/web: container app was restarted"]
        );
    }

    #[test]
    fn a_container_that_went_is_a_loss_unless_its_end_is_known() {
        assert_eq!(
            lost(&sandbox("s", 0, true), &[sandbox("s", 0, false)]),
            ["pod default/web: container app no longer runs"]
        );
        assert!(lost(&sandbox("s", 7, true), &[sandbox("s", 7, false)]).is_empty());
    }

    #[test]
    fn a_deleted_pod_is_none_but_a_replaced_sandbox_is() {
        assert!(lost(&sandbox("s", 0, true), &[]).is_empty());
        assert_eq!(
            lost(&sandbox("s", 0, true), &[sandbox("t", 0, true)]),
            ["pod default/web: its sandbox was replaced"]
        );
    }

    #[test]
    fn a_container_that_its_kubelet_starts_again_is_no_loss() {
        let mut now = sandbox("s", 7, false);
        now.containers.extend(sandbox("s", 8, true).containers);
        assert!(lost(&sandbox("s", 7, true), &[now]).is_empty());
    }

    #[test]
    fn a_stopped_sandbox_is_doubtful_until_another_stands_for_its_pod() {
        let earlier = Sandbox { ready: false, ..sandbox("r", 0, false) };
        let before = [earlier.clone(), sandbox("s", 7, true)];
        let stopped = Sandbox { ready: false, ..sandbox("s", 7, false) };
        let doubtful = found(&before, &[earlier.clone(), stopped.clone()]);
        assert_eq!(doubtful.iter().map(|loss| loss.certain).collect::<Vec<_>>(), [false]);
        let replaced = found(&before, &[earlier.clone(), stopped, sandbox("t", 0, true)]);
        assert_eq!(replaced.iter().map(|loss| loss.certain).collect::<Vec<_>>(), [true]);
        assert!(found(&before, &[earlier]).is_empty());
        // Nobody knows how its container ended: it went with its shim.
        let lost = found(&[sandbox("s", 0, true)], &[Sandbox { ready: false, ..sandbox("s", 0, false) }]);
        assert_eq!(lost.iter().map(|loss| loss.certain).collect::<Vec<_>>(), [true]);
    }

    #[test]
    fn what_goes_by_intent_does_not_count() {
        let before = sandbox("s", 0, true);
        let except = ["runc".to_owned()];
        assert!(losses(&[before], &[sandbox("t", 0, true)], &except, |_| false, |_| false).is_empty());
    }
}
