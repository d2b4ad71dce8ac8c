/** The name of the agent's virtio-serial port, as the guest finds it in sysfs. */
export const agentPortName = 'chassis.agent';

/**
 * The guest's init: loads the drivers and then is the agent, whose protocol is described in agent-protocol.ts.
 *
 * Scripts run side by side, each in a session of its own, with their output in files, so that nothing they print can be taken for
 * the protocol. The lock keeps two answers apart: each job opens it anew, as a lock belongs to an open file.
 * When the host's end of the port closes, the machine goes off: no guest outlives the process that started it.
 */
export const initScript = `#!/bin/sh
export PATH=/bin HOME=/root
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts /dev/shm /tmp /run /root /mnt
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
hostname guest
ifconfig lo 127.0.0.1 up
while read -r module; do insmod "$module"; done </etc/modules

find_port() {
  for name in /sys/class/virtio-ports/*/name; do
    [ -e "$name" ] && [ "$(cat "$name")" = ${agentPortName} ] || continue
    port=\${name%/name}
    port=/dev/\${port##*/}
    return 0
  done
  return 1
}
until find_port; do sleep 0.05; done
exec 3<>"$port"

jobs=/run/jobs
mkdir -p "$jobs"
: >"$jobs/lock"

run_job() {
  cd /
  setsid sh "$jobs/$1.sh" </dev/null >"$jobs/$1.out" 2>"$jobs/$1.err" 3>&- &
  echo $! >"$jobs/$1.pid"
  wait $!
  code=$?
  set -- "$1" "$code" $(stat -c %s "$jobs/$1.out" "$jobs/$1.err")
  {
    flock 4
    echo "done $*" >&3
    cat "$jobs/$1.out" "$jobs/$1.err" >&3
  } 4<"$jobs/lock"
  rm "$jobs/$1.sh" "$jobs/$1.out" "$jobs/$1.err" "$jobs/$1.pid"
}

echo "hello $(uname -r)" >&3
while read -r verb id length <&3; do
  case $verb in
    run)
      dd bs="$length" count=1 iflag=fullblock of="$jobs/$id.sh" <&3 2>/dev/null
      run_job "$id" &
      ;;
    kill) kill -KILL -"$(cat "$jobs/$id.pid")" 2>/dev/null ;;
    poweroff)
      sync
      poweroff -f
      ;;
  esac
done
poweroff -f
`;
