//! Programs that people use, doing their work in the mount.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use keyfold_tests::{Vault, count, shell};

/// Works in a new mount; then again in the same vault after a remount, where `after` must hold.
fn in_a_vault(work: &str, after: &str) {
    let vault = Vault::new();
    let mount = vault.mount();
    shell(mount.path(), work);
    mount.unmount();
    let mount = vault.mount();
    shell(mount.path(), after);
    mount.unmount();
    vault.check();
}

/// Makes a repository with 60 commits, a branch and a merge at `../origin`.
const ORIGIN: &str = r#"
    export GIT_CONFIG_GLOBAL=/dev/null HOME=$PWD
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    make_origin() {
        git init -q -b main "$1"; ( cd "$1"
        for n in $(seq 60); do
            mkdir -p dir$((n % 7)); seq $n $((n * 50)) >dir$((n % 7))/file$n
            head -c $((n * 700)) /dev/urandom >blob; git add -A; git commit -qm "commit $n"
        done
        git checkout -qb side HEAD~5; echo side >side; git add side; git commit -qm side
        git checkout -q main; git merge -q --no-edit side )
    }
"#;

#[test]
fn git_clones_collects_garbage_and_finds_no_fault() {
    let work = format!(
        "{ORIGIN}
        make_origin $PWD/origin
        git clone -q --no-hardlinks origin clone; cd clone
        git fsck --full --strict
        for n in 1 2 3; do echo $n >new$n; git add .; git commit -qm new$n; done
        git gc -q --aggressive --prune=now
        git fsck --full --strict
        git checkout -q HEAD~20; git checkout -q main; git stash list
        test -z \"$(git status --porcelain)\"
        git worktree add -q ../tree side; git -C ../tree log --oneline | wc -l"
    );
    let after = format!(
        "{ORIGIN}
        cd clone; git fsck --full --strict; test -z \"$(git status --porcelain)\"
        git log --oneline | wc -l; git pull -q --ff-only . side"
    );
    in_a_vault(&work, &after);
}

fn sqlite(journal: &str) {
    let work = format!(
        "cat >session.sql <<'SQL'
pragma journal_mode={journal};
create table t(id integer primary key, text, blob);
begin; with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
insert into t select i, 'row ' || i, randomblob(200) from n; commit;
create index by_text on t(text);
delete from t where id % 3 = 0;
update t set text = text || ' changed' where id % 5 = 0;
vacuum;
SQL
        sqlite3 test.db <session.sql
        for n in $(seq 40); do
            sqlite3 -cmd '.timeout 20000' test.db \"insert into t values(null, 'late $n', 'x')\"
        done
        (for n in $(seq 30); do
            sqlite3 -cmd '.timeout 20000' test.db \"insert into t values(null, 'a', 'x')\"
         done) & (for n in $(seq 30); do
            sqlite3 -cmd '.timeout 20000' test.db \"insert into t values(null, 'b', 'x')\"
         done) & wait
        test $(sqlite3 test.db 'pragma integrity_check') = ok"
    );
    let after = "
        test $(sqlite3 test.db 'pragma integrity_check') = ok
        test $(sqlite3 test.db 'select count(*) from t') = $((20000 - 20000 / 3 + 40 + 60))";
    in_a_vault(&work, after);
}

#[test]
fn sqlite_with_a_rollback_journal_keeps_its_integrity() {
    sqlite("delete");
}

#[test]
fn sqlite_with_a_write_ahead_log_keeps_its_integrity() {
    sqlite("wal");
}

#[test]
fn vim_edits_a_file_and_leaves_its_backup_and_no_swap_file() {
    let work = r#"
        export HOME=$PWD
        seq 1000 >text; chmod 640 text
        vim -Nu NONE -es -c 'set backup backupskip= swapfile undofile' -c '%s/^7$/seven/' \
            -c 'call append(line("$"), "the end")' -c wq text </dev/null
        sed -n 7p text | grep -qx seven
        tail -1 text | grep -qx 'the end'
        test $(stat -c %a text) = 640
        seq 1000 | cmp - text~
        test ! -e .text.swp; test -e .text.un~"#;
    in_a_vault(work, "sed -n 7p text | grep -qx seven");
}

/// Makes a tree with links, modes, times, attributes, ACLs and a sparse file at `../tree`.
const TREE: &str = "
    rm -rf ../tree; mkdir -p ../tree/dir/deep ../tree/empty; ( cd ../tree
    for n in $(seq 50); do head -c $((n * 1371)) /dev/urandom >dir/file$n; done
    ln dir/file1 dir/deep/hard; ln -s ../dir/file2 dir/soft; ln -s /no/where dangling
    mkfifo fifo; truncate -s 20M sparse; echo data | dd of=sparse bs=1M seek=10 conv=notrunc status=none
    setfattr -n user.note -v value dir/file3; setfattr -n trusted.t -v t dir/file3
    setfacl -m u:4321:rw dir/file4; setfacl -d -m g:1234:rx dir/deep
    chmod 4755 dir/file5; chmod 2775 dir; chmod 000 dir/file6
    chown 1234:4321 dir/file7; touch -d 1965-04-05T06:07:08.123456789Z dir/file8
    touch -h -d 2042-01-01 dangling; touch -d 2001-02-03 dir/deep )
    manifest() { ( cd \"$1\"
        find . -mindepth 1 -printf '%P|%y|%m|%U|%G|%n|%l|%T@\\n' | sort
        find . -type f -print0 | sort -z | xargs -0 sha256sum
        find . -mindepth 1 -print0 | sort -z | xargs -0 getfattr -hdm 'user|trusted' -e hex
        find . -mindepth 1 ! -type l -print0 | sort -z | xargs -0 getfacl -n ); }
    same() { manifest ../tree >../want; manifest \"$1\" >../have; diff ../want ../have; }
";

fn copies_a_tree(copy: &str) {
    let vault = Vault::new();
    let mount = vault.mount();
    shell(mount.path(), &format!("{TREE} {copy}; same copy"));
    mount.unmount();
    let mount = vault.mount();
    let again = TREE.split_once("manifest()").unwrap().1;
    shell(mount.path(), &format!("manifest() {again} same copy"));
    mount.unmount();
    vault.check();
}

#[test]
fn cp_archive_copies_a_tree_with_everything_on_it() {
    copies_a_tree("cp -a ../tree copy; test $(stat -c %b copy/sparse) -lt 2048");
}

#[test]
fn tar_restores_a_tree_with_everything_on_it() {
    copies_a_tree(
        "tar -C .. --xattrs --xattrs-include='*' --acls --sparse -cf tree.tar tree
         mkdir copy; tar -C copy --xattrs --xattrs-include='*' --acls -xpf tree.tar \
            --strip-components=1",
    );
}

#[test]
fn rsync_copies_verifies_and_updates_a_tree() {
    copies_a_tree(
        "rsync -@-1 -aHAXS ../tree/ copy/
         test -z \"$(rsync -@-1 -aHAXcni --delete ../tree/ copy/)\"
         echo more >>../tree/dir/file9; rm ../tree/dir/file10
         rsync -@-1 -aHAXS --inplace --no-whole-file --delete ../tree/ copy/
         rsync -@-1 -aHAXc ../tree/ copy2/; rsync -@-1 -aHAX --delete copy/ ../back/
         test -z \"$(rsync -@-1 -aHAXcni --delete copy/ ../back/)\"; rm -rf ../back",
    );
}

/// Generates a C project of many files with a Makefile.
const PROJECT: &str = r#"
    mkdir -p project/src; cd project
    for n in $(seq FILES); do
        printf '#include "all.h"\nint f%d(int x) { return x + %d; }\n' $n $n >src/f$n.c
        echo "int f$n(int x);" >>src/all.h
    done
    { echo '#include "all.h"'; echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
      for n in $(seq FILES); do echo "s = f$n(s);"; done
      echo 'printf("%d\n", s); return 0; }'; } >src/main.c
    printf '%s\n' 'O = $(patsubst src/%.c,obj/%.o,$(wildcard src/*.c))' \
        'prog: lib.a obj/main.o' '	$(CC) -o $@ obj/main.o lib.a' \
        'lib.a: $(filter-out obj/main.o,$(O))' '	$(AR) rcs $@ $^' \
        'obj/%.o: src/%.c src/all.h | obj' '	$(CC) -g -O1 -Isrc -c -o $@ $<' \
        'obj:' '	mkdir -p $@' >Makefile
"#;

#[test]
fn make_builds_a_c_project_in_parallel_and_rebuilds_only_what_changed() {
    let files = count("KEYFOLD_C_FILES", 60);
    let project = PROJECT.replace("FILES", &files.to_string());
    let sum = files * (files + 1) / 2;
    let work = format!(
        "{project}
        make -s -j4 prog; test $(./prog) = {sum}
        make -q prog
        touch src/f7.c; test $(make -j4 prog | grep -c -- '-c -o') = 1
        make -q prog"
    );
    // Times are kept exactly, so nothing is newer than what was made from it.
    in_a_vault(
        &work,
        &format!("cd project; make -q prog; test $(./prog) = {sum}"),
    );
}

#[test]
fn python_unpacks_zips_and_imports_from_the_mount() {
    let vault = Vault::new();
    let mount = vault.mount();
    let work = r"
        mkdir package; for n in $(seq 40); do echo x = $n >package/m$n.py; done
        touch package/__init__.py
        python3 -m compileall -q package; ls package/__pycache__ | wc -l
        python3 -m zipfile -c package.zip package; rm -r package
        python3 -m zipfile -e package.zip .
        python3 -c 'import package.m17 as m; assert m.x == 17'
    ";
    shell(mount.path(), work);
}

#[test]
fn mv_moves_a_tree_into_the_mount_and_out_again() {
    let vault = Vault::new();
    let mount = vault.mount();
    shell(
        mount.path(),
        &format!("{TREE} cp -a ../tree ../source; mv ../source inside; same inside"),
    );
    let again = TREE.split_once("manifest()").unwrap().1;
    shell(
        mount.path(),
        &format!("manifest() {again} mv inside ../outside; same ../outside"),
    );
    assert_eq!(fs::read_dir(mount.path()).unwrap().count(), 0);
    shell(
        Path::new("/"),
        &format!("rm -rf {}/outside", vault.sandbox().path().display()),
    );
}
