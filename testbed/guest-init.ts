/** The name of the agent's virtio-serial port, as the guest finds it in sysfs. */
export const agentPortName = 'chassis.agent';

/**
 * The guest's init: loads the drivers and then is the agent, whose protocol is described in agent-protocol.ts.
 *
 * Scripts run side by side, each in a session of its own, with their output in files, so that nothing they print can be taken for
 * the protocol. One process writes all answers, one after the other: a job tells it through a named pipe that it has ended, with
 * a line so short that writing it cannot be torn apart. (Debian's static busybox has no \`flock\`.)
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

# The kernel reads \`module.option=value\` from its command line for what is built in only.
read -r words </proc/cmdline
options_of() {
  options=
  for word in $words; do
    case $word in "$1".*) options="$options \${word#*.}" ;; esac
  done
}
while read -r module; do
  name=\${module##*/}
  options_of "\${name%.ko}"
  insmod "$module" $options
done </etc/modules

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
mkfifo "$jobs/ended"

run_job() {
  cd /
  setsid sh "$jobs/$1.sh" </dev/null >"$jobs/$1.out" 2>"$jobs/$1.err" 3>&- &
  echo $! >"$jobs/$1.pid"
  wait $!
  echo "$1 $?" >"$jobs/ended"
}

answer_jobs() {
  while read -r id code; do
    echo "done $id $code" $(stat -c %s "$jobs/$id.out" "$jobs/$id.err")
    cat "$jobs/$id.out" "$jobs/$id.err"
    rm "$jobs/$id.sh" "$jobs/$id.out" "$jobs/$id.err" "$jobs/$id.pid"
  done
}

echo "hello $(uname -r)" >&3
# Opened for writing as well, so that it never sees the pipe's end.
answer_jobs <>"$jobs/ended" >&3 &
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
