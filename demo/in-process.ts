import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Volume } from 'memfs';
import { Guest } from '../guest/index.js';
import { Chassis } from '../manager/index.js';
import type { Narration } from './narration.js';

/** The same story, with the guest that lives in this process in place of Linux. */
export async function demoInProcess(narration: Narration): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'chassis-demo-'));
  const chassis = new Chassis();
  try {
    narration.heading('A guest in this process (its own PCI, virtio and 9p drivers)');
    const guest = await narration.step('boot', () => Guest.boot(chassis));
    await plugAndUse(narration, chassis, guest, root);
    await guest.shutdown();
  } finally {
    await chassis.close();
    await rm(root, { recursive: true, force: true });
  }
}

async function plugAndUse(
  narration: Narration,
  chassis: Chassis,
  guest: Guest,
  directory: string,
): Promise<void> {
  await writeFile(join(directory, 'from-the-host.txt'), 'written on the host');
  const volume = Volume.fromJSON({ '/in-memory.txt': 'never on any disk' });
  await narration.step('attach a directory of this machine', () =>
    chassis.attach(directory, { tag: 'work' }),
  );
  await narration.step('attach an in-memory file system', () => chassis.attach(volume, { tag: 'mem' }));
  const work = await narration.step('mount "work" in the guest', () => guest.mount('work'));
  const mem = await narration.step('mount "mem" in the guest', () => guest.mount('mem'));
  await narration.step(
    'the guest lists and reads',
    async () => {
      return `${(await work.readdir('/')).join(', ')}: ${JSON.stringify(await work.readFile('/from-the-host.txt', 'utf8'))}`;
    },
    String,
  );
  await narration.step(
    'the guest writes and renames; the host sees it',
    async () => {
      await work.writeFile('/draft', 'written in the guest');
      await work.rename('/draft', '/from-the-guest.txt');
      return JSON.stringify(await readFile(join(directory, 'from-the-guest.txt'), 'utf8'));
    },
    String,
  );
  await narration.step('unmount and detach "work"', async () => {
    await work.unmount();
    await chassis.detach('work');
  });
  await narration.step(
    '"work" is gone, "mem" goes on',
    async () => {
      return `tags in the guest: ${guest.tags().join(', ')}; ${JSON.stringify(await mem.readFile('/in-memory.txt', 'utf8'))}`;
    },
    String,
  );
  await mem.unmount();
}
