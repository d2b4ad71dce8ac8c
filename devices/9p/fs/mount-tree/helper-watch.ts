/** The part of `ctl/helper.sh` that is about watched children: what changes on the host is to wake who watches it in the guest. */
import { POKE_SECONDS } from './poke.js';

export const HELPER_WATCH = `# Lists directories of the child that the working directory is in: the first of those that somebody might watch.
list_directories() {
  find . -maxdepth 8 \\( -name node_modules -o -name '.?*' \\) -prune -o -type d -print 2>/dev/null | head -n 400
}

# pin NAME: keeps directories of a watched child open, all of them in one process that sleeps. Linux 6.1 and 6.12 forget a directory of
# this kind of mount once nobody has it open, and who watches one that was forgotten hears nothing more of it. Besides, it is by our walk
# that the host knows which directories to watch.
pin() {
  decode "$1"
  set -- "$1" "$root/$decoded"
  cd "$2" 2>/dev/null || return
  listed=$(list_directories)$newline
  while [ -n "$listed" ]; do
    set -- "$@" "\${listed%%"$newline"*}"
    listed=\${listed#*"$newline"}
  done
  pinned_name=$1
  shift 2
  paste "$state/hold" "$@" >/dev/null 2>&1 </dev/null 4>&- 5>&- &
  pinner=$!
  cd /
  # It has opened them all once it has descriptors 3 and on for them.
  tries=0
  until [ -e "/proc/$pinner/fd/$(($# + 3))" ] || [ "$tries" -ge 10 ]; do
    tries=$((tries + 1))
    sleep 0.1 2>/dev/null || sleep 1
  done
  unpin "$pinned_name"
  pins="$pins$pinner $pinned_name$newline"
}

is_pinned() {
  case $pins in *" $1$newline"*) return 0 ;; esac
  return 1
}

unpin() {
  is_pinned "$1" || return 0
  before=\${pins%%" $1$newline"*}
  old_pinner=\${before##*"$newline"}
  pins=\${before%"$old_pinner"}\${pins#*" $1$newline"}
  kill "$old_pinner" 2>/dev/null
  wait "$old_pinner" 2>/dev/null
}

# poke FILE...: asks for a modification time that the host passes over, but of which the guest's kernel tells who watches them. Never
# through a link.
poke() {
  [ "$#" -eq 0 ] || touch -c -h -m -d @${POKE_SECONDS} "$@" 2>/dev/null
}

# enter FOLDER: fails where a link leads elsewhere from there, in the tree or out of it.
enter() {
  here=
  cd -P "$1" 2>/dev/null && [ "$PWD" = "$1" ] && here=$1 && return
  cd /
  return 1
}

# locate NAME PATH: sets $folder and $entry to where that lies.
locate() {
  decode "$1"
  folder=$root_at/$decoded
  decode "$2"
  entry=./\${decoded##*/}
  case $decoded in */*) folder=$folder/\${decoded%/*} ;; esac
}

# Sets $entry to what is to be poked in this folder: the folder itself for what is gone. Of a new directory nobody hears before it is
# pinned, and with it all others that are new.
prepare() {
  if [ -d "$entry" ] && ! [ -L "$entry" ]; then
    case $repinned in *" $1 "*) return ;; esac
    repinned="$repinned$1 "
    pin "$1"
    enter "$folder"
  elif ! [ -e "$entry" ] && ! [ -L "$entry" ]; then
    entry=.
  fi
}

poke_listed() {
  set --
  while IFS= read -r line; do set -- "$@" "$line"; done
  poke "$@"
}

# True where the working directory has more than a thousand entries: to look at the times of all of them would take too long.
is_large() {
  [ "$(find . -maxdepth 1 2>/dev/null | head -n 1002 | wc -l)" -gt 1001 ]
}

# Too much has changed to be told: pokes the directories that somebody might watch, and what is new in them by its time.
poke_child() (
  enter "$1" || return
  list_directories | while IFS= read -r line; do
    enter "$1\${line#.}" || continue
    poke .
    is_large || find . -maxdepth 1 ! -type d -mmin -3 2>/dev/null | poke_listed
  done
)

# leave FILE...: pokes what is left to be poked, and holds nothing any more.
leave() {
  poke "$@"
  repinned=' '
  [ -n "$here" ] || return 0
  here=
  cd /
}
`;
