# A repository's life: init, commits, branches, merge, clone, gc, fsck, bundle.
export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@x
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z' GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
git init -q -b main r && cd r || exit
for i in $(seq 1 30); do seq $i 300 > file$i; done
git add . && git commit -q -m first && git rev-parse HEAD
git checkout -q -b side; echo side >> file1; git commit -qam side
git checkout -q main; echo main >> file30; git commit -qam main
git merge -q -m merged side; git log --oneline --graph | cat
git tag -a v1 -m tag; git describe
git diff --stat HEAD~1 | cat; git grep -c 299 | head -3; git blame -s file1 | tail -1
git stash -q 2>/dev/null; echo dirty > file2; git status --short; git stash -q; git stash pop -q; git checkout -q file2
cd ..; git clone -q r c && cd c && git log -1 --format=%s && git fsck --full 2>&1 && git gc -q && git count-objects -v | grep -v size
git rebase -q HEAD~1 2>&1; git rev-parse HEAD^{tree}
git bundle create -q ../b main 2>&1; git bundle verify -q ../b && git archive HEAD | md5sum
cd ..; git clone -q --bare --no-local r bare.git && git -C bare.git repack -adq --threads=2 && git -C bare.git fsck 2>&1
cd c && git push -q ../bare.git HEAD:refs/heads/pushed && git -C ../bare.git rev-parse pushed^{tree}
git worktree add -q ../w HEAD 2>&1; ls ../w | wc -l; cd ..; rm -rf r c w bare.git b
