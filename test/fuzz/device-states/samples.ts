/** Devices that a state may be given to, and good states of devices like them. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { HostDirectory } from '../../../devices/9p/fs/host-directory/host-directory.js';
import { Server } from '../../../devices/9p/server/server.js';
import { Virtio9p } from '../../../devices/9p/virtio-9p.js';
import { MemoryBackend } from '../../../devices/blk/backends/memory/memory-backend.js';
import { VirtioBlk } from '../../../devices/blk/virtio-blk.js';
import { IoVector } from '../../../devices/io-vector.js';
import { encodeCardState } from '../../../devices/net/card-state.js';
import { ReceiveFilter } from '../../../devices/net/receive-filter.js';
import { VirtioNet } from '../../../devices/net/virtio-net.js';
import type { VirtioDevice } from '../../../devices/virtio/device.js';
import { Exported } from '../../devices/9p/fs/host-directory/exported.js';
import { NOFID, NOTAG, T } from '../../devices/9p/server/support/wire.js';
import { TestBackend } from '../../devices/net/support/frames.js';

const MSIZE_BYTES = 8192;
const MAC = '52:54:00:00:00:0a';
const UID = process.geteuid?.() ?? 0;
const NO_LOG = { log: () => undefined };
const OPTIONS = { maxMsizeBytes: MSIZE_BYTES, readOnly: false, maxFids: 16, maxOpenFiles: 8, ...NO_LOG };

export interface Sample {
  /** What the device says of itself. */
  readonly state: Uint8Array;
  newDevice(): Promise<VirtioDevice>;
}

export class Samples {
  readonly all: readonly Sample[];
  readonly #exported: Exported;

  private constructor(exported: Exported, all: readonly Sample[]) {
    this.#exported = exported;
    this.all = all;
  }

  static async make(): Promise<Samples> {
    const exported = await Exported.make();
    mkdirSync(exported.at('dir'));
    for (const name of ['a', 'b']) writeFileSync(exported.at('dir', name), 'content');
    const mount: Sample = {
      state: await sessionState(exported.path),
      newDevice: async () => new Virtio9p(await HostDirectory.open(exported.path), 'share', OPTIONS),
    };
    return new Samples(exported, [disk, card(), mount]);
  }

  close(): void {
    this.#exported.remove();
  }
}

const disk: Sample = {
  state: Uint8Array.of(1, 1, 0),
  newDevice: async () =>
    new VirtioBlk(new MemoryBackend({ sizeBytes: 4096 }), { serial: 'fuzzed', ...NO_LOG }),
};

function card(): Sample {
  const filter = new ReceiveFilter();
  filter.mac.set([2, 0, 0, 0, 0, 1]);
  filter.setMode(0, true);
  filter.setVlan(5, true);
  return {
    state: encodeCardState({ announce: true, queuePairs: 2, guestOffloads: 0n, filter }),
    newDevice: async () => new VirtioNet(new TestBackend(), { mac: MAC, queuePairs: 2 }),
  };
}

/** Of a client with two open files, a lock, a directory that it reads, and an attribute that it writes. */
async function sessionState(path: string): Promise<Uint8Array> {
  const server = new Server(await HostDirectory.open(path), OPTIONS);
  const send = (message: Uint8Array): Promise<void> =>
    new Promise((resolve) => {
      const [request, reply] = [new IoVector(), new IoVector()];
      request.push(message, 0, message.length, 0);
      reply.push(new Uint8Array(MSIZE_BYTES), 0, MSIZE_BYTES, 0);
      server.handle(request, reply, () => resolve(), undefined);
    });
  const messages = [
    T.version(NOTAG, MSIZE_BYTES, '9P2000.L'),
    T.attach(1, 0, NOFID, 'user', '', UID),
    ...['a', 'b'].flatMap((name, i) => [T.walk(1, 0, i + 1, 'dir', name), T.lopen(1, i + 1, 2)]),
    T.lock(1, 1, 1, 0, 0, 10, 7, 'me'),
    ...[T.walk(1, 0, 3, 'dir'), T.lopen(1, 3, 0), T.readdir(1, 3, 0, 40)],
    ...[T.walk(1, 0, 4, 'dir', 'a'), T.xattrcreate(1, 4, 'user.x', 8, 0)],
  ];
  for (const message of messages) await send(message);
  const state = server.saveState({ leavesProcess: true });
  await server.close();
  return state;
}
