/** What of a device goes on elsewhere, between device processes that see nothing of the host by its paths: nothing is opened that the daemon did not open for them. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Sandbox } from '../../manager/sandbox/sandbox.js';
import {
  cacheMode,
  chooseCache,
  CONFIG_WCE,
  FEATURES,
  FLUSH,
  LAN,
  openFile,
  readFile,
  SavingLab,
  type Guest,
} from '../manager/saved-state/saving-lab.js';
import { goOn, load, save } from '../manager/ports/vhost-user/moved.js';
import { temporaryFolders } from '../manager/temporary-folder.js';
import { withBubblewrap } from './support/bubblewrap.js';

/** type[4] reserved[4] sector[8] data[512] */
const WRITE = Buffer.concat([Buffer.of(1), Buffer.alloc(15 + 512)]);
const IS_ROOT = process.geteuid?.() === 0;

withBubblewrap();

describe.runIf(IS_ROOT)('confined device processes', () => {
  const folder = temporaryFolders();
  let lab: SavingLab;
  let slots: { share: number; disk: number };
  let reader: Guest;
  let writer: Guest;

  beforeEach(async () => {
    lab = await SavingLab.start(folder(), new Sandbox('require'));
    slots = { share: await lab.attach('share'), disk: (await lab.image('disk')).slot };
    await lab.client.addCard('dev', { name: 'lan0', network: LAN });
    reader = await lab.drive(slots.share);
    await openFile(reader, 'file');
    writer = await lab.drive(slots.disk, FEATURES | CONFIG_WCE | FLUSH);
    await chooseCache(writer, 0);
  });
  afterEach(() => lab.end());

  async function isConfined(): Promise<boolean | undefined> {
    const { sandbox } = (await lab.client.get('dev')).deviceProcess;
    return sandbox?.namespaces.includes('mnt');
  }

  /** What the guest had is there, and is confined. */
  async function goesOn(disk = writer.frontEnd): Promise<void> {
    expect(await isConfined()).toBe(true);
    expect(await readFile(reader)).toBe('in the file');
    expect(await cacheMode(disk)).toBe(0);
    expect(await writer.queue.exchange(WRITE, 1)).toEqual(Buffer.of(0));
  }

  it('go on for one that was killed, and for one that is replaced', async () => {
    await lab.killDevices();
    await goesOn();
    await lab.client.upgrade('dev');
    await goesOn();
  });

  it('save, and go on from what was saved', async () => {
    const [readsOn, writesOn] = [await lab.pause(slots.share, reader), await lab.pause(slots.disk, writer)];
    await lab.client.save('dev', { path: lab.file });
    await lab.elsewhere();
    await lab.client.restoreSaved({ path: lab.file });
    await readsOn('b');
    await goesOn(await writesOn('b'));
  });

  it('take over a guest that moves from one daemon to another, with the lock of its image', async () => {
    await lab.client.save('dev', { path: lab.file, topology: true });
    await lab.startDaemon('b');
    await lab.clientOf('b').restoreSaved({ path: lab.file });
    const next: Record<string, Guest['frontEnd']> = {};
    for (const [name, guest] of [
      ['share', reader],
      ['disk', writer],
    ] as const) {
      const base = await guest.frontEnd.getVringBase(0);
      const state = await save(guest.frontEnd);
      // A mount's locks are let go with the front-end, and an image's once its rings are stopped.
      if (name === 'share') guest.frontEnd.close();
      next[name] = await lab.expectant(slots[name], 'b');
      expect(await load(next[name], state)).toBe(0);
      await goOn(next[name], guest.ram, guest.features, [[guest.queue, base]]);
    }
    lab.client = lab.clientOf('b');
    await goesOn(next.disk);
    await lab.clientOf('a').delete('dev', { force: true });
    await goesOn(next.disk);
  });
});
