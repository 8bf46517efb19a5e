//! Whether what ran before a restart still runs after it.

use crate::observation::{Container, Sandbox};

/// What was lost of `before`, in people's words; nothing if the list is empty. Sandboxes under the handlers `except`
/// do not count, nor do those in namespaces for which `ignored` says so.
///
/// A pod that somebody deleted meanwhile is no loss: its sandbox is gone and no other stands for it. A container that
/// ended by itself (`ended_well`, by its id) is none either.
pub fn losses(
    before: &[Sandbox],
    now: &[Sandbox],
    except: &[String],
    ignored: impl Fn(&str) -> bool,
    ended_well: impl Fn(&str) -> bool,
) -> Vec<String> {
    let counted = |sandbox: &&Sandbox| {
        sandbox.ready && !except.contains(&sandbox.handler) && !ignored(&sandbox.namespace)
    };
    before.iter().filter(counted).flat_map(|sandbox| sandbox_losses(sandbox, now, &ended_well)).collect()
}

fn sandbox_losses(before: &Sandbox, all: &[Sandbox], ended_well: &impl Fn(&str) -> bool) -> Vec<String> {
    let pod = format!("pod {}/{}", before.namespace, before.name);
    let Some(now) = all.iter().find(|sandbox| sandbox.id == before.id) else {
        let replaced = all.iter().any(|sandbox| sandbox.uid == before.uid);
        return if replaced { vec![format!("{pod}: its sandbox was replaced")] } else { Vec::new() };
    };
    let running = before.containers.iter().filter(|container| container.running);
    let mut losses: Vec<String> = running
        .filter_map(|container| container_loss(container, now, ended_well))
        .map(|loss| format!("{pod}: {loss}"))
        .collect();
    if !now.ready && losses.is_empty() {
        losses.push(format!("{pod}: its sandbox is no longer ready"));
    }
    losses
}

fn container_loss(
    before: &Container,
    sandbox: &Sandbox,
    ended_well: &impl Fn(&str) -> bool,
) -> Option<String> {
    let name = &before.name;
    match sandbox.containers.iter().find(|container| container.id == before.id) {
        Some(now) if now.running && now.attempt == before.attempt => None,
        Some(now) if !now.running && ended_well(&now.id) => None,
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

    fn lost(before: &Sandbox, now: &[Sandbox]) -> Vec<String> {
        losses(std::slice::from_ref(before), now, &[], |_| false, |id| id == "s-c7")
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
    fn a_stopped_container_is_a_loss_unless_it_ended_by_itself() {
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
    fn what_goes_by_intent_does_not_count() {
        let before = sandbox("s", 0, true);
        let except = ["runc".to_owned()];
        assert!(losses(&[before], &[sandbox("t", 0, true)], &except, |_| false, |_| false).is_empty());
    }
}
