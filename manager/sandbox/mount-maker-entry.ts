/** The executable that makes mounts of directories for a daemon that is not root. It ends with the daemon. */
import { Value } from '@sinclair/typebox/value';
import { cloneMount, closeFd, Reactor } from '../../host/index.js';
import { HandOverChannel } from '../device-process/hand-over/channel.js';
import { OutgoingParcel } from '../device-process/hand-over/parcel.js';
import { CloneOrder, MOUNT_MAKER_FD, MountMakerMessage } from './mount-maker-protocol.js';

const reactor = new Reactor({
  onError: (error) => process.stderr.write(`${String(error)}\n`),
  maxSpinMicros: 0,
});
const channel = new HandOverChannel(MOUNT_MAKER_FD, reactor);

async function serve(): Promise<void> {
  for (;;) {
    const message = await channel.receive();
    if (message === undefined) return;
    message.parcel.close();
    if (!Value.Check(CloneOrder, message.data)) return;
    await answer(cloneMount(message.data.path));
  }
}

/** A negative errno is told. */
async function answer(fd: number): Promise<void> {
  const parcel = new OutgoingParcel();
  const answer = fd < 0 ? { error: fd } : { fd: parcel.addFd(fd) };
  try {
    await channel.send(MountMakerMessage.CLONED, answer, parcel);
  } finally {
    if (fd >= 0) closeFd(fd);
  }
}

reactor.start();
void serve().finally(() => process.exit(0));
