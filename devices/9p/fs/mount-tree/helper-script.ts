/**
 * `ctl/helper.sh`: what the guest runs. Text, and not a file beside this one, so that it is there wherever this module is; in it,
 * backslashes and the dollars of braces are escaped.
 */
import { HELPER_WATCH } from './helper-watch.js';

export const HELPER_SCRIPT = `#!/bin/sh
# The guest's helper of a Chassis mount tree: mounts its children where they are wanted, unmounts them when they are asked for back,
# and says who keeps it from doing so. Run it as root from the tree itself:
#
#   mount -t 9p -o trans=virtio,version=9p2000.L,cache=none TAG /chassis
#   sh /chassis/ctl/helper.sh &
#
# With --exec, the host may run commands here, as root: see ctl/exec.sh.
#
# It needs a POSIX shell and mount, umount, mkdir, mkfifo, dd, ls, grep, tr, rm, mv, and for watched children touch, find, head, wc
# and paste (busybox has them all). It sleeps in one read of ctl/events until something happens. docs/guest-helper.md describes the files in ctl.

# Everything is in functions, so that the shell has read the whole script before the tree that it lies in can go.

say() {
  printf 'chassis-helper: %s\\n' "$1" >&2
}

# Sets $decoded to what a word of the events stands for. Words are never evaluated, only decoded.
decode() {
  case $1 in
    *\\\\*)
      # The dot keeps newlines at the end.
      decoded=$(printf '%b.' "$1")
      decoded=\${decoded%.}
      ;;
    *) decoded=$1 ;;
  esac
}

# answer VERB [TEXT]: about the child at hand, in one short line.
answer() {
  text=\${2-}
  text=\${text%%"$newline"*}
  printf '%s %s %.900s\\n' "$1" "$id" "$text" >&4 2>/dev/null
}

# True where the target shows the child.
is_mounted() {
  # shellcheck disable=SC3013 # POSIX has it since 2024, and these shells long before
  [ -n "$target" ] && [ "$target" -ef "$child" ]
}

on_add() {
  [ -z "$target" ] || mount_child
  case " $words " in *' watched '*) is_pinned "$name" || pin "$name" ;; esac
}

mount_child() {
  if is_mounted; then
    answer mounted
    return
  fi
  if make_target && problem=$(mount --bind "$child" "$target" 2>&1 </dev/null); then
    answer mounted
  else
    answer failed "\${problem:-mount failed}"
  fi
}

make_target() {
  [ -d "$target" ] && return
  problem=$(mkdir -p "$target" 2>&1) && return
  # Where a child that is gone was mounted, nothing can be made any more, nor seen.
  [ -e "$target" ] && return 1
  umount -l "$target" </dev/null >/dev/null 2>&1
  problem=$(mkdir -p "$target" 2>&1)
}

on_release() {
  unpin "$name"
  if in_use; then
    answer busy "$holders"
    return
  fi
  while is_mounted; do
    if ! problem=$(umount "$target" 2>&1 </dev/null); then
      name_holders maps
      answer busy "\${holders:-\${problem:-umount failed}}"
      return
    fi
  done
  answer unmounted
}

# The child is gone: a mount of it shows nothing any more.
on_remove() {
  unpin "$name"
  [ -z "$target" ] || [ -e "$target" ] || umount -l "$target" </dev/null >/dev/null 2>&1
}

# Lists what processes hold: "... /proc/7/cwd -> /work", "/proc/7/fd/:", "... 3 -> /work/file".
list_links() {
  ls -l /proc/[0-9]*/cwd /proc/[0-9]*/root /proc/[0-9]*/exe /proc/[0-9]*/fd/ 2>/dev/null
}

# True where processes hold something of the child, whose names are then in $holders. Many children may be released at once, so
# what was seen for the first of them is good enough to find nobody; to accuse somebody it is not.
in_use() {
  [ -n "$links" ] || links=$(list_links | grep -e ' -> /.' | grep -v -e ' -> /dev/')$newline
  links_show && name_holders && [ -n "$holders" ]
}

links_show() {
  case $links in
    *" -> $child/"* | *" -> $child$newline"*) return 0 ;;
  esac
  [ -n "$target" ] || return 1
  case $links in
    *" -> $target/"* | *" -> $target$newline"*) return 0 ;;
  esac
  return 1
}

# Sets $holders to "PID NAME (how), ..." of the first processes that hold something of the child.
name_holders() {
  holders=$({
    list_links | grep -F -e '/fd/:' -e " -> $child" -e " -> \${target:-$child}"
    if [ "\${1-}" = maps ]; then
      grep -l -F -e " $child/" -e " \${target:-$child}/" /proc/[0-9]*/maps 2>/dev/null
    fi
  } </dev/null | list_holders)
}

list_holders() {
  pid=
  count=0
  seen=' '
  separator=
  while read -r line; do
    case $line in
      /proc/*/fd/:)
        pid=\${line#/proc/}
        pid=\${pid%%/*}
        continue
        ;;
      /proc/*/maps)
        holder=\${line#/proc/}
        how=map
        ;;
      *" -> $child" | *" -> $child/"* | *" -> $target" | *" -> $target/"*)
        how=\${line%% -> *}
        how=\${how##* }
        case $how in
          /proc/*)
            holder=\${how#/proc/}
            how=\${how##*/}
            ;;
          *)
            holder=$pid
            how="fd $how"
            ;;
        esac
        ;;
      *) continue ;;
    esac
    holder=\${holder%%/*}
    case $seen in *" $holder "*) continue ;; esac
    seen="$seen$holder "
    comm=
    read -r comm <"/proc/$holder/comm" || continue
    count=$((count + 1))
    if [ "$count" -gt 8 ]; then
      printf ', ...'
      return
    fi
    printf '%s%s %s (%s)' "$separator" "$holder" "$comm" "$how"
    separator=', '
  done 2>/dev/null
}

# Unmounts what children that are gone have left behind: mounts of this file system's directories that cannot be looked at any more.
sweep() {
  device=
  while read -r _ _ number _ at _; do
    plain_path "$at"
    [ "$decoded" = "$root" ] && device=$number
  done </proc/self/mountinfo
  [ -n "$device" ] || return 0
  grep -F " $device /" /proc/self/mountinfo | while read -r _ _ _ from at _; do
    plain_path "$at"
    [ "$from" = / ] || [ -e "$decoded" ] || umount -l "$decoded" </dev/null >/dev/null 2>&1
  done
}

# Sets $decoded to a path of mountinfo, whose escapes are \\ooo: with a 0 before, they are those of the events.
plain_path() {
  plain=
  rest=$1
  while :; do
    case $rest in
      *\\\\*)
        plain="$plain\${rest%%\\\\*}\\\\0"
        rest=\${rest#*\\\\}
        ;;
      *) break ;;
    esac
  done
  decode "$plain$rest"
}

${HELPER_WATCH}
# Does what the events ask for, until they end. What is to be poked in one folder is gathered.
serve() {
  set --
  while read -r verb id name target words; do
    if [ "$verb" = changed ]; then
      locate "$id" "$name"
      if [ "$name" = . ]; then
        poke_child "$folder"
        continue
      fi
      if [ "$folder" != "$here" ]; then
        poke "$@"
        set --
        enter "$folder" || continue
      fi
      prepare "$id"
      set -- "$@" "$entry"
      continue
    fi
    leave "$@"
    set --
    decode "$name"
    child=$root/$decoded
    case $target in
      -) target= ;;
      *)
        decode "$target"
        target=$decoded
        ;;
    esac
    # What a later version says besides is not for this one.
    case $verb in
      add) on_add ;;
      release) on_release ;;
      remove) on_remove ;;
      look) links= ;;
      poke) printf 'poked\\n' >&4 2>/dev/null ;;
      ready) sweep ;;
    esac
  done
}

# Makes $state, which is there while a helper of this tree runs.
become_the_one() {
  state=/run/chassis-helper/$(printf '%s' "$root" | tr / _)
  mkdir -p /run/chassis-helper || exit 1
  until mkdir -m 700 "$state" 2>/dev/null; do
    other=
    read -r other 2>/dev/null <"$state/pid"
    if [ -n "$other" ] && [ -e "/proc/$other" ]; then
      say "a helper of $root runs already, as process $other"
      exit 0
    fi
    # It was killed. Of several that find this out, one moves it away.
    mv "$state" "$state.$$" 2>/dev/null && rm -rf "$state.$$"
  done
  printf '%s\\n' "$$" >"$state/pid"
  trap 'finish' EXIT
  trap 'exit 0' HUP INT TERM
  mkfifo "$state/events" "$state/hold" || exit 1
  # Those that pin directories read from it, and end with the last that could write to it: with us, whatever ends us.
  exec 5<>"$state/hold"
}

# shellcheck disable=SC2317 # the trap calls it
finish() {
  [ -z "$reader" ] || kill "$reader" 2>/dev/null
  [ -z "$runner" ] || kill "$runner" 2>/dev/null
  rm -rf "$state"
}

main() {
  runs_commands=
  if [ "\${1-}" = --exec ]; then
    runs_commands=yes
    shift
  fi
  newline='
'
  reader=
  runner=
  links=
  pins=$newline
  repinned=' '
  here=
  root=\${1-}
  if [ -z "$root" ]; then
    root=\${0%/ctl/*}
    case $root in /*) ;; *) root=$(pwd)/$root ;; esac
  fi
  if ! [ -e "$root/ctl/events" ]; then
    say "$root is no mount tree: run $0 from the tree, or name it: $0 /chassis"
    exit 2
  fi
  root_at=$(cd -P "$root" && printf '%s.' "$PWD")
  root_at=\${root_at%.}
  cd / || exit 1
  become_the_one
  if [ -n "$runs_commands" ]; then
    sh "$root/ctl/exec.sh" "$root" </dev/null 5>&- &
    runner=$!
  fi
  LC_ALL=C
  export LC_ALL
  exec 4>>"$root/ctl/ack" || exit 1
  while :; do
    # A reader of its own, because a shell reads a byte at a time. Its output first: that way its end is noticed even where it cannot
    # open its input.
    dd bs=4096 2>/dev/null >"$state/events" <"$root/ctl/events" 4>&- 5>&- &
    reader=$!
    serve <"$state/events"
    wait "$reader" || break
    # It ended well, which is not for it to do: some client does not wait. Once a second is often enough then.
    sleep 1
  done
  reader=
  say "$root is gone"
  exit 0
}

main "$@"
`;
