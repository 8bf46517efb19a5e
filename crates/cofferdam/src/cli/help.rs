//! What stands below each command's options: examples, and what else one wants to know then.

pub(super) const COFFERDAM: &str = "\
Examples:
  cofferdam doctor                          what this node has, and what stands in the way
  cofferdam plan dir:./gvisor               what an installation would change, as a diff
  cofferdam install dir:./gvisor            install, prove with a sandbox, or take it all back
  cofferdam status                          what is installed and who uses it
  cofferdam upgrade dir:./gvisor-2          another version, beside the one that pods run from
  cofferdam rollback gvisor                 back to the version of before
  cofferdam apply -f runtimes.yaml          all of that, as a file says
  cofferdam verify                          whether anybody changed what was installed
  cofferdam remove gvisor --wait 10m        once no pod uses it, leave the node as it was

Exit codes: 0 done, 1 internal, 2 invalid input, 3 unsupported here, 4 conflict, 5 in use,
            6 unavailable (try again), 7 rolled back";

pub(super) const CATALOG: &str = "\
Examples:
  cofferdam catalog                         one line for each preset
  cofferdam catalog show gvisor-oci         its descriptor, and what a package must hold";

pub(super) const DOCTOR: &str = "\
Examples:
  cofferdam doctor                          exit code 0: nothing stands in the way, 3: something does
  cofferdam doctor gvisor gvisor-oci        and may these presets be installed here?
  cofferdam doctor dir:./kata               the same for a package
  cofferdam doctor --json                   the same for programs

docs/doctor.md says for each check why it matters and what to do.";

pub(super) const STATUS: &str = "\
Examples:
  cofferdam status                          the engine, its sandboxes, the installed runtimes
  cofferdam status --json                   the same for programs
  cofferdam status --root ./tree --engine containerd@1.7";

pub(super) const PLAN: &str = "\
Examples:
  cofferdam plan dir:./kata                 a package with a runtime.toml
  cofferdam plan dir:./gvisor --preset gvisor-oci
                                            a package that a preset describes
  cofferdam plan dir:./kata --json          the steps and diffs for programs";

pub(super) const INSTALL: &str = "\
Examples:
  cofferdam install dir:./kata              a package with a runtime.toml
  cofferdam install dir:./gvisor --preset gvisor-oci
                                            a package that a preset describes
  cofferdam install oci:registry.example.com/kata:3.26 --auth-file pull.json
                                            an image in a registry, with credentials
  cofferdam install dir:./kata --root ./tree --engine containerd@1.7 --no-systemd
                                            into an image that is being built
  cofferdam install dir:./kata --json       one JSON event per line, the last one is the outcome

The same call again does nothing. Interrupting it does not stop the worker: cofferdam follow.";

pub(super) const UPGRADE: &str = "\
Examples:
  cofferdam upgrade dir:./kata-3.27         new sandboxes get it, running ones keep theirs
  cofferdam rollback kata                   back again
  cofferdam gc                              delete versions that nothing runs from";

pub(super) const PULL: &str = "\
Examples:
  cofferdam pull oci:registry.example.com/kata:3.27   its files come here, verified
  cofferdam install oci:registry.example.com/kata:3.27
                                            finds them, and fetches nothing
  cofferdam gc --all                        delete what was pulled and never installed

Layers that an installed version has as well are not fetched.";

pub(super) const APPLY: &str = "\
Examples:
  cofferdam apply -f runtimes.yaml --dry-run
                                            what it would change, as diffs
  cofferdam apply -f runtimes.yaml          install and upgrade what the file names
  cofferdam apply -f runtimes.yaml --prune  and remove what an earlier apply installed, if it is gone
                                            from the file

The same call again writes nothing. One runtime that fails does not stop the others; the exit code is
that of the worst. docs/no-api.md says what the file holds.";

pub(super) const CLUSTER: &str = "\
Examples:
  cofferdam cluster status                  the same as kubectl cofferdam status

kubectl finds it as a plugin by its name: ln -s cofferdam kubectl-cofferdam, in a folder of PATH.";

pub(super) const KUBECTL: &str = "\
Examples:
  kubectl cofferdam status                  how far each SandboxRuntime is, and why
  kubectl cofferdam explain worker-1        why a node is as it is, and what to do
  kubectl cofferdam plan gvisor             what a rollout would do now
  kubectl cofferdam retry gvisor            failed and drifted nodes try again
  kubectl cofferdam render runtimes.yaml --no-api | kubectl apply -f -
                                            the runtimes of a file on a fleet without our API";

pub(super) const RENDER: &str = "\
Examples:
  kubectl cofferdam render runtimes.yaml    RuntimeClasses, and the commands that label nodes
  kubectl cofferdam render runtimes.yaml --no-api --image registry.example/cofferdam:0.1.0
                                            and a DaemonSet without a token that does the work";

pub(super) const ROLLBACK: &str = "\
Examples:
  cofferdam rollback kata --dry-run         what it would change, as a diff
  cofferdam rollback kata                   running sandboxes keep their version";

pub(super) const REMOVE: &str = "\
Examples:
  cofferdam remove kata --dry-run           what it would change, as a diff
  cofferdam remove kata                     refused (exit code 5) while a pod uses it
  cofferdam remove kata --wait 10m          once no pod uses it
  cofferdam remove kata --force             the pods are stopped";

pub(super) const VERIFY: &str = "\
Examples:
  cofferdam verify                          exit code 0: no drift, 4: something drifted
  cofferdam repair --dry-run                what would put it back";

pub(super) const REPAIR: &str = "\
Examples:
  cofferdam repair --dry-run                what it would change, as a diff
  cofferdam repair                          everything that cofferdam verify names
  cofferdam repair kata --from dir:./kata   files from here, if their first source is gone";

pub(super) const GC: &str = "\
Examples:
  cofferdam gc --dry-run                    what would go, and why the rest stays
  cofferdam gc                              all but what a rollback would bring back
  cofferdam gc --all                        that, too";

pub(super) const STORE: &str = "\
Examples:
  cofferdam store ls                        every installed version, and what keeps it
  cofferdam store du                        what they take up, and what they share
  cofferdam store gc --dry-run              what would go, and why the rest stays
  cofferdam store verify                    exit code 4: a file is not as it was installed";

pub(super) const RECOVER: &str = "\
Examples:
  cofferdam recover                         exit code 7: it was taken back, 4: somebody edited a file
  cofferdam recover --keep-theirs           leave edited files as they are

It happens by itself at boot and before each change: this is for when that ended in a conflict.";

pub(super) const LOG: &str = "\
Examples:
  cofferdam log                             everything, the oldest first
  cofferdam log -n 5                        the last five
  cofferdam log --json                      the same for programs
  journalctl -u cofferdam-worker            outlives the log, which goes with the last runtime";

pub(super) const PACK: &str = "\
Examples:
  cofferdam pack ./kata -t registry.example.com/kata:3.26 --push --auth-file push.json
                                            for cofferdam install oci:registry.example.com/kata:3.26
  cofferdam pack kata-static-3.26.0-amd64.tar.zst --preset kata -t registry.example.com/kata:3.26 --push
                                            a release as upstream publishes it
  cofferdam pack ./gvisor --preset gvisor-oci --runtime-version 1.2 -o ./image
                                            the image describes itself: the preset is needed no more
  cofferdam install layout:./image          from the folder

The same package gives the same digest. docs/package-format.md says what is in the image.";

pub(super) const SUPPORT_BUNDLE: &str = "\
Examples:
  cofferdam support-bundle                  cofferdam-support-TIME.tar.gz in this folder
  cofferdam support-bundle /root/node1.tar.gz

It holds status, doctor, log and records, and the engine's configuration with secrets withheld.
It works while the engine is down, and names what it could not get.";

pub(super) const FOLLOW: &str = "\
Examples:
  cofferdam follow                          what it does, until it ends; exit code as its own
  cofferdam follow --json                   one JSON event per line, from the first one on";

pub(super) const COMPLETIONS: &str = "\
Examples:
  cofferdam completions bash >/etc/bash_completion.d/cofferdam
  cofferdam completions zsh >/usr/local/share/zsh/site-functions/_cofferdam
  cofferdam completions fish >~/.config/fish/completions/cofferdam.fish";

pub(super) const MAN: &str = "\
Examples:
  cofferdam man | man -l -                  read it
  cofferdam man --out /usr/local/share/man/man1
                                            cofferdam.1, cofferdam-install.1, ...";
