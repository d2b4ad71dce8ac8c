/** Mounts as a device process serves them, seen by a guest in this process. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { Guest } from '../../../guest/index.js';
import type { Mount } from '../../../guest/index.js';
import { Errno } from '../../../devices/errno.js';
import { openSource } from '../../../manager/composition.js';
import type { MountTerms } from '../../../manager/control/api.js';
import type { ServedMount } from '../../../manager/device-process/served-mount.js';
import { Chassis } from '../../../manager/index.js';
import { openMount } from '../../../manager/mount-file-system.js';
import { refusal } from '../refusal.js';
import { temporaryFolders } from '../temporary-folder.js';

const folder = temporaryFolders();
const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

/** A directory with two files, one of them secret, mounted in a guest on these terms. */
async function mounted(terms: Partial<MountTerms> = {}): Promise<{ served: ServedMount; mount: Mount }> {
  const path = folder();
  mkdirSync(join(path, 'src'));
  writeFileSync(join(path, 'src', 'main.c'), 'main');
  writeFileSync(join(path, 'src', '.env'), 'secret');
  const served = await openMount(openSource, { type: 'directory', path }, { readOnly: false, ...terms });
  const chassis = new Chassis();
  await chassis.attach(served.fs, { tag: 'a' });
  const guest = await Guest.boot(chassis);
  ends.push(async () => {
    await guest.shutdown();
    await chassis.close();
  });
  return { served, mount: await guest.mount('a') };
}

describe('the policy of a mount', () => {
  it('changes under a guest that has files open, and back', async () => {
    const { served, mount } = await mounted();
    const file = await mount.open('/src/main.c', 'r+');
    served.setPolicy(true, { deny: ['**/.env'] });
    await expect(file.write('x')).rejects.toMatchObject({ code: 'EROFS' });
    await expect(mount.readFile('/src/.env')).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await mount.readdir('/src')).toEqual(['main.c']);
    served.setPolicy(false, undefined);
    await file.write('x');
    expect(await mount.readFile('/src/.env', 'utf8')).toBe('secret');
    await file.close();
  });

  it('stays as it is where another one cannot be', async () => {
    const { served, mount } = await mounted({ policy: { deny: ['**/.env'] } });
    expect(() => served.setPolicy(false, { deny: ['a//b'] })).toThrow(/a part that is empty/);
    await expect(mount.readFile('/src/.env')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('holds what guests add, and have open', async () => {
    const { served, mount } = await mounted({ policy: { maxBytes: 8192, maxOpenFiles: 1 } });
    await expect(mount.writeFile('/large', Buffer.alloc(20_000))).rejects.toMatchObject({ code: 'ENOSPC' });
    const file = await mount.open('/src/main.c', 'r');
    await expect(mount.open('/src/.env', 'r')).rejects.toMatchObject({ code: 'EMFILE' });
    await file.close();
    served.setPolicy(false, { maxFiles: 0 });
    await expect(mount.mkdir('/new')).rejects.toMatchObject({ code: 'ENOSPC' });
  });

  it('tells what carries the mount of each change', async () => {
    const { served } = await mounted();
    const told: unknown[] = [];
    served.onPolicy = (terms) => told.push(terms);
    served.setPolicy(false, { maxFids: 7 });
    expect(told).toEqual([{ readOnly: false, policy: { maxFids: 7 } }]);
  });

  it('is refused with what is wrong with a pattern, and the source is closed', async () => {
    const opening = openMount(openSource, { type: 'memory' }, { readOnly: false, policy: { allow: ['a/'] } });
    await expect(opening).rejects.toMatchObject(refusal('BAD_REQUEST', /"a\/" has a part that is empty/));
  });
});

describe('a mount that is revoked', () => {
  it('answers ESTALE to whatever is asked of it, open files too, in the next device process as well', async () => {
    const { served, mount } = await mounted();
    const file = await mount.open('/src/main.c', 'r');
    served.revoke();
    await expect(file.read(Buffer.alloc(4))).rejects.toMatchObject({ code: 'ESTALE' });
    await expect(mount.readdir('/')).rejects.toMatchObject({ code: 'ESTALE' });
    const again = await openMount(openSource, { type: 'memory' }, { readOnly: false, revoked: true });
    expect(await again.fs.attach()).toBe(-Errno.ESTALE);
    await again.fs.close();
  });
});

describe('the audit of a mount', () => {
  it('remembers what was refused', async () => {
    const { served, mount } = await mounted({ policy: { deny: ['**/.env'] } });
    await mount.readFile('/src/main.c');
    await mount.readFile('/src/.env').catch(() => undefined);
    const { events, dropped } = await served.audit({ all: false, waitMs: 5000 });
    const told = events.map(({ operation, path, errno }) => ({ operation, path, errno }));
    expect(told[0]).toEqual({ operation: 'walk', path: '/src/.env', errno: Errno.ENOENT });
    // A client may look twice.
    expect(told).toEqual(told.map(() => told[0]));
    expect(dropped).toBe(0);
  });

  it('notes all there is from when somebody asks for it', async () => {
    const { served, mount } = await mounted();
    await mount.readFile('/src/main.c');
    const { next } = await served.audit({ all: true, waitMs: 0 });
    await mount.readFile('/src/main.c');
    const { events } = await served.audit({ all: true, from: next, waitMs: 5000 });
    expect(events.map(({ operation, path }) => `${operation} ${path}`)).toEqual(
      expect.arrayContaining(['walk /src/main.c', 'open /src/main.c', 'read /src/main.c']),
    );
    expect(await served.audit({ all: false, from: 0, waitMs: 0 })).toMatchObject({ events: [] });
  });

  it('ends a wait with the mount', async () => {
    const served = await openMount(openSource, { type: 'memory' }, { readOnly: false });
    const waiting = served.audit({ all: false, waitMs: 60_000 });
    await served.fs.close();
    expect(await waiting).toMatchObject({ events: [] });
  });
});
