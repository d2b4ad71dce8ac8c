/** A Linux guest at work on a disk and over a network goes on in another QEMU: it sees no error, and all checksums are right. */
import { mkdtemp } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeRealGuest } from './lab.js';
import { MOVER, MovingLab } from './support/moving-lab.js';

describeRealGuest('a guest at work', () => {
  let lab: MovingLab;

  beforeAll(async () => {
    lab = await MovingLab.boot();
  });
  afterAll(() => lab?.stop());

  /** The peer reaches it, where it is now. */
  async function answersPeer(): Promise<void> {
    await lab.peer.waitFor(`ping -c 1 -W 1 ${MOVER}`);
  }

  async function imageIsTaken(): Promise<void> {
    expect(await lab.daemon.failure('disk', 'add', lab.image, '--chassis', 'third')).toMatchObject({
      code: 'SOURCE_IN_USE',
    });
  }

  it('cannot move with a mount: QEMU says so of its generic vhost-user device', async () => {
    const path = await mkdtemp(join(lab.folder, 'share-'));
    await lab.daemon.json('attach', path, '--tag', 'share', '--port', 'vhost-user', '--chassis', 'a');
    await expect(lab.qmp.execute('migrate', { uri: `file:${join(lab.folder, 'none')}` })).rejects.toThrow(
      /vhost-user-test-device.*non-migratable|non-migratable.*vhost-user-test-device|State blocked by non-migratable device/,
    );
    await lab.daemon.json('detach', 'share', '--chassis', 'a');
  });

  it('stays, and works on, where a move is called off', async () => {
    await lab.work();
    const uri = `unix:${join(lab.folder, 'no-move')}`;
    const destination = await lab.expectAt(uri, 'b');
    await lab.beginMigration(uri, 1);
    await lab.qmp.execute('migrate_cancel');
    expect(await lab.migrated(lab.qmp)).toMatchObject({ status: 'cancelled' });
    await destination.guest.exited;
    await lab.daemon.json('remove', 'b', '--force');
    await lab.progress();
    expect(await lab.findings()).toEqual({ errors: '', digests: [lab.digest] });
  });

  it('moves to another QEMU on another chassis while it runs', async () => {
    const uri = `unix:${join(lab.folder, 'move')}`;
    const destination = await lab.expectAt(uri, 'b');
    const announced = await lab.watchCard('b');
    // Pages that the guest and its devices write meanwhile go again.
    await lab.beginMigration(uri, 3);
    expect(await lab.endMigration()).toMatchObject({ status: 'completed' });
    await lab.daemon.json('create', 'third', '--slots', '1');
    await imageIsTaken();
    await lab.goOnIn('b', destination);
    // The one that had it is gone: the other one has it.
    await imageIsTaken();
    await answersPeer();
    await lab.progress();
    expect(await announced()).toBe(true);
    expect(await lab.findings()).toEqual({ errors: '', digests: [lab.digest] });
  });

  it('is saved to files, ends, and goes on from them in a new QEMU with a new device process', async () => {
    const memory = `file:${join(lab.folder, 'memory')}`;
    const file = join(lab.folder, 'saved');
    await lab.progress();
    await lab.qmp.execute('stop');
    await lab.qmp.execute('migrate', { uri: memory });
    expect(await lab.endMigration()).toMatchObject({ status: 'completed' });
    await lab.daemon.json('save', file, '--chassis', 'b');
    const before = lab.guest;
    process.kill(before.pid, 'SIGKILL');
    await before.exited;
    await lab.daemon.json('remove', 'b', '--force');
    await lab.daemon.json('restore', file, '--chassis', 'c');
    const destination = await lab.destination('c');
    await destination.qmp.execute('migrate-incoming', { uri: memory });
    expect(await lab.migrated(destination.qmp)).toMatchObject({ status: 'completed' });
    await destination.qmp.execute('cont');
    [lab.guest, lab.qmp, lab.chassis] = [destination.guest, destination.qmp, 'c'];
    await answersPeer();
    await lab.progress();
    expect(await lab.findings()).toEqual({ errors: '', digests: [lab.digest] });
  });

  it('moves to a chassis of another daemon while it runs, as the one does that it talks to', async () => {
    const [before, next] = [lab.daemon, await lab.startDaemon()];
    await lab.moveBothTo(next, 'd');
    await before.json('create', 'fourth', '--slots', '1');
    for (const [daemon, chassis] of [
      [before, 'fourth'],
      [next, 'peer'],
    ] as const)
      expect(await daemon.failure('disk', 'add', lab.image, '--chassis', chassis)).toMatchObject({
        code: 'SOURCE_IN_USE',
      });
    await answersPeer();
    await lab.progress();
    expect(await lab.findings()).toEqual({ errors: '', digests: [lab.digest] });
    // The daemon that they left ends, and they do not notice.
    expect(await before.stop()).toBe(0);
    await lab.progress();
    await lab.sh('touch /tmp/stop');
  });
});
