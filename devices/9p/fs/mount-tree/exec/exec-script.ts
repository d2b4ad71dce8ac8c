/** `ctl/exec.sh`: what runs the host's commands in the guest. Text, as `ctl/helper.sh` is. */

export const EXEC_SCRIPT = `#!/bin/sh
# Runs commands in this guest for its host, as root: whoever may use the host's chassis daemon may do anything here while it runs.
# The helper starts it if it is told to: sh /chassis/ctl/helper.sh --exec. By itself: sh /chassis/ctl/exec.sh
#
# It needs a POSIX shell, dd and sleep, and setsid, so that a signal reaches all processes of a command (busybox has them all).

say() {
  printf 'chassis-exec: %s\\n' "$1" >&2
}

# run ID: until the command has ended, and all that holds its output.
run() {
  directory=$root/ctl/exec/$1
  exec 6>>"$directory/status" || return
  dd bs=65536 <"$directory/stdin" 2>/dev/null 6>&- | {
    {
      {
        $session sh "$directory/script" 2>&3 3>&-
        printf 'exited %s\\n' "$?" >&6
        exec 6>&-
      } | dd bs=65536 >>"$directory/stdout" 2>/dev/null 3>&- 6>&-
    } 3>&1 | dd bs=65536 >>"$directory/stderr" 2>/dev/null 6>&-
  }
}

# signal PID NAME: to all processes of the command, where it has a session of its own.
signal() {
  case $1 in '' | 0 | 1 | *[!0-9]*) return ;; esac
  case $2 in HUP | INT | QUIT | KILL | USR1 | USR2 | TERM) ;; *) return ;; esac
  kill -s "$2" -- "-$1" 2>/dev/null || kill -s "$2" "$1" 2>/dev/null
}

serve() {
  while read -r verb first second <&7; do
    case $verb in
      run)
        case $first in '' | *[!0-9]*) continue ;; esac
        run "$first" 7<&- </dev/null &
        ;;
      signal) signal "$first" "$second" ;;
    esac
  done
}

main() {
  root=\${1-}
  if [ -z "$root" ]; then
    root=\${0%/ctl/*}
    case $root in /*) ;; *) root=$(pwd)/$root ;; esac
  fi
  session=
  command -v setsid >/dev/null 2>&1 && session=setsid
  cd / || exit 1
  tries=0
  while [ -e "$root/ctl/exec/requests" ]; do
    # Not in a child, so that whoever ends this shell closes it.
    # 'command' keeps a failure from ending this shell, as that of an 'exec' else does.
    if command exec 7<"$root/ctl/exec/requests"; then
      tries=0
      serve
    fi
    tries=$((tries + 1))
    if [ "$tries" -gt 5 ]; then
      say 'it cannot be asked for commands: something else runs them already'
      exit 1
    fi
    sleep 1
  done
  say "$root is gone"
}

main "$@"
`;
