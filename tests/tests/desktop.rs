//! Desktop programs on a virtual screen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use keyfold_tests::{Vault, pattern, shell};

/// Starts a virtual screen of its own in the background; `quit` ends it.
const SCREEN: &str = r#"
    mkdir -p ../home; export HOME=$(realpath ../home) XDG_RUNTIME_DIR=$(realpath ../home)
    export XDG_CONFIG_HOME=$HOME/config XDG_CACHE_HOME=$HOME/cache NO_AT_BRIDGE=1
    exec 8>../screen; Xvfb -displayfd 8 -screen 0 1024x768x24 -nolisten tcp >../xvfb.log 2>&1 &
    screen=$!; trap 'kill $screen' EXIT
    for n in $(seq 200); do [ -s ../screen ] && break; sleep 0.1; done
    export DISPLAY=:$(cat ../screen)
    wait_for() { for n in $(seq 300); do "$@" >/dev/null 2>&1 && return; sleep 0.1; done
        echo "not so: $*" >&2; import -window root ../failed.png; return 1; }
"#;

#[test]
#[ignore = "slow: run by scripts/test --all"]
fn libreoffice_saves_and_opens_documents_in_the_mount() {
    let vault = Vault::new();
    let mount = vault.mount();
    let script = r"
        mkdir -p ../home; export HOME=$(realpath ../home)
        office() { soffice -env:UserInstallation=file://$HOME/office --headless --norestore $@ \
            >../office.log 2>&1 || { cat ../office.log >&2; return 1; }; }
        mkdir docs; cd docs; for n in $(seq 200); do echo Line $n of the document.; done >text.txt
        office --convert-to odt text.txt
        office --convert-to pdf text.odt
        office --convert-to docx text.odt
        mkdir back; office --convert-to txt:Text --outdir back text.docx
        python3 -m zipfile -t text.odt; python3 -m zipfile -t text.docx
        head -c5 text.pdf | grep -q %PDF-
        grep -c 'Line .* of the document' back/text.txt
        test -z $(find . -name '.~lock*')
    ";
    let script = script.replace("../", "../../").replacen(
        "../../home; export HOME=$(realpath ../../home)",
        "../home; export HOME=$(realpath ../home)",
        1,
    );
    assert_eq!(shell(mount.path(), &script).lines().last(), Some("200"));
    mount.unmount();
    let mount = vault.mount();
    shell(mount.path(), "python3 -m zipfile -t docs/text.odt");
    mount.unmount();
    vault.check();
}

#[test]
#[ignore = "slow: run by scripts/test --all"]
fn pcmanfm_opens_the_mount_and_copies_a_file_in_it() {
    let vault = Vault::new();
    let mount = vault.mount();
    fs::create_dir(mount.join("target")).unwrap();
    fs::write(mount.join("document"), pattern(1, 3_000_000)).unwrap();
    fs::write(mount.join("picture.txt"), "text").unwrap();
    let work = r#"
        dbus-run-session -- pcmanfm --no-desktop "$PWD" >../pcmanfm.log 2>&1 & manager=$!
        trap 'kill $manager $screen' EXIT
        name=$(basename "$PWD")
        wait_for xdotool search --onlyvisible --name "$name"
        window=$(xdotool search --onlyvisible --name "$name" | head -1)
        # The folder, its first two entries in the order shown: a directory, then the document.
        import -window root ../before.png
        xdotool windowfocus --sync "$window"
        xdotool mousemove 600 600 click 1
        xdotool type --delay 50 document
        xdotool key Return Escape; sleep 0.3
        xdotool key --delay 100 ctrl+c
        xdotool key ctrl+l; xdotool key ctrl+a
        xdotool type --delay 20 "$PWD/target"; xdotool key Return
        wait_for xdotool search --onlyvisible --name target
        xdotool mousemove 600 600 click 1 key --delay 100 ctrl+v
        wait_for cmp document target/document
        import -window root ../after.png
        test $(compare -metric AE ../before.png ../after.png ../difference.png 2>&1) != 0
    "#;
    shell(mount.path(), &format!("{SCREEN}{work}"));
    assert!(fs::read(mount.join("target/document")).unwrap() == pattern(1, 3_000_000));
    keep_screenshots(vault.sandbox().path());
}

/// Leaves the pictures for a look where `KEYFOLD_SCREENSHOTS` says.
fn keep_screenshots(from: &Path) {
    if let Ok(to) = std::env::var("KEYFOLD_SCREENSHOTS") {
        shell(
            from,
            &format!("mkdir -p {to}; cp before.png after.png {to}"),
        );
    }
}
