import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describePerPort, Lab, tagSeen } from './lab.js';

/** Every file below a folder with the SHA-256 of its content, in the form of sha256sum's list, sorted by path. */
async function checksums(root: string): Promise<string> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  const lines = await Promise.all(
    entries
      .filter((entry) => entry.isFile())
      .map(async (entry) => {
        const path = join(entry.parentPath, entry.name);
        const digest = createHash('sha256')
          .update(await readFile(path))
          .digest('hex');
        return `${digest}  .${path.slice(root.length)}`;
      }),
  );
  return lines.sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1)).join('\n');
}

/** A tar of 1,000 files in 10 folders, of 0 to 40 KB each. */
async function makeTar(folder: string): Promise<string> {
  const tree = join(folder, 'tree');
  for (let d = 0; d < 10; d++) {
    await mkdir(join(tree, `d${d}`), { recursive: true });
    for (let f = 0; f < 100; f++) {
      const seed = d * 100 + f;
      await writeFile(join(tree, `d${d}`, `f${f}`), Buffer.alloc((seed * 7919) % 40_000, `${seed} `));
    }
  }
  const tar = join(folder, 'tree.tar');
  await execa('tar', ['-cf', tar, '-C', tree, '.']);
  return tar;
}

describePerPort('a directory plugged into a running Linux guest', (port) => {
  let lab: Lab;
  let root: string;

  beforeAll(async () => {
    lab = await Lab.start(port);
    await lab.boot('6.1');
    root = await lab.directory('work');
    await lab.mount(root, 'work');
  });
  afterAll(() => lab.stop());

  it('takes a tree of 1,000 files that the guest untars, each with the bytes it should have', async () => {
    const source = await lab.directory('source');
    await makeTar(source);
    await lab.mount(source, 'source', '--read-only');
    await lab.sh('mkdir /mnt/work/untar && tar -xf /mnt/source/tree.tar -C /mnt/work/untar', {
      timeoutMs: 240_000,
    });
    const onHost = await checksums(join(root, 'untar'));
    expect(onHost).toBe(await checksums(join(source, 'tree')));
    const inGuest = await lab.sh('cd /mnt/work/untar && find . -type f -exec sha256sum {} +', {
      timeoutMs: 240_000,
    });
    expect(
      inGuest
        .split('\n')
        .sort((a, b) => (a.slice(66) < b.slice(66) ? -1 : 1))
        .join('\n'),
    ).toBe(onHost);
    await lab.sh('rm -rf /mnt/work/untar; umount /mnt/source', { timeoutMs: 240_000 });
    await expect(stat(join(root, 'untar'))).rejects.toMatchObject({ code: 'ENOENT' });
    await lab.detach('source');
  });

  it('refuses writes to a mount that is read-only', async () => {
    const path = await lab.directory('locked');
    await writeFile(join(path, 'file'), 'as it was');
    await lab.mount(path, 'locked', '--read-only');
    const { exitCode } = await lab.guest.sh(
      'mount -o remount,rw /mnt/locked; echo changed > /mnt/locked/file',
    );
    expect(exitCode).not.toBe(0);
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('as it was');
    await lab.sh('umount /mnt/locked');
    await lab.detach('locked');
  });

  it('keeps renamed and unlinked files readable through open descriptors', async () => {
    const script = `cd /mnt/work
      echo first > open; exec 3< open; mv open moved; echo other > open
      cat <&3; exec 3<&-; cat moved open
      echo doomed > gone; exec 4<> gone; rm gone; cat <&4; echo more >&4; stat -L -c "%s %h" /proc/self/fd/4
      exec 4<&-; ls`;
    expect(await lab.sh(script)).toBe('first\nfirst\nother\ndoomed\n12 0\nmoved\nopen');
  });

  it('appends, truncates, links and reads symbolic links as the host does', async () => {
    await lab.sh(`cd /mnt/work
      printf 12345 > a; printf 678 >> a; cp a b; truncate -s 4 b; ln a c; ln -s a d; ln -s /etc/passwd e
      chmod 640 a; touch -d '2001-02-03 04:05:06' a; mkdir -p x/y; mv x/y z; rmdir x`);
    expect(await readFile(join(root, 'a'), 'utf8')).toBe('12345678');
    expect(await readFile(join(root, 'b'), 'utf8')).toBe('1234');
    expect(await lab.sh('cd /mnt/work; cat d; readlink d; readlink e; stat -c "%h %a %Y" a')).toBe(
      '12345678a\n/etc/passwd\n2 640 981173106',
    );
    const [a, c] = await Promise.all(['a', 'c'].map((name) => stat(join(root, name))));
    expect(c.ino).toBe(a.ino);
    await lab.sh('cd /mnt/work; rm -rf a b c d e z moved open');
    expect(await readdir(root)).toEqual([]);
  });

  it('lists a directory of 10,000 entries, each once', async () => {
    const many = join(root, 'many');
    await mkdir(many);
    const names = Array.from({ length: 10_000 }, (_, i) => `entry-${String(i).padStart(5, '0')}`);
    for (const name of names) await writeFile(join(many, name), '');
    expect(await lab.sh('ls /mnt/work/many')).toBe(names.join('\n'));
    await rm(many, { recursive: true });
    expect(await lab.sh('ls /mnt/work')).toBe('');
  });

  it('will not be pulled out while it is mounted, and says so', async () => {
    const refusal = await lab.daemon.failure('detach', 'work');
    expect(refusal).toMatchObject({ code: 'MOUNT_BUSY', exitCode: 5 });
    expect(await lab.sh('echo still here > /mnt/work/f && cat /mnt/work/f')).toBe('still here');
  });

  it('comes and goes ten times under one tag', async () => {
    const path = await lab.directory('again');
    for (let round = 1; round <= 10; round++) {
      await writeFile(join(path, 'round'), String(round));
      await lab.mount(path, 'again');
      expect(await lab.sh('cat /mnt/again/round; umount /mnt/again')).toBe(String(round));
      await lab.detach('again');
      await lab.guest.waitFor(`! { ${tagSeen('again')}; }`);
    }
    expect(await lab.sh('cat /mnt/work/f')).toBe('still here');
  });

  it('shares a slot with another: both arrive together, and leave together', async () => {
    const [one, two] = [await lab.directory('one'), await lab.directory('two')];
    await writeFile(join(one, 'name'), 'one');
    await writeFile(join(two, 'name'), 'two');
    const mounts = await lab.attach(one, two, '--tag', 'one', '--tag', 'two');
    expect(mounts.map((mount) => mount.function)).toEqual([0, 1]);
    expect(mounts[1].slot).toBe(mounts[0].slot);
    for (const mount of mounts) await lab.mountInGuest(mount);
    expect(await lab.sh('cat /mnt/one/name /mnt/two/name')).toBe('onetwo');
    expect(await lab.daemon.failure('detach', 'one')).toMatchObject({ code: 'SLOT_SHARED', exitCode: 5 });
    await lab.sh('umount /mnt/one /mnt/two');
    await lab.detach('two', '--slot');
    await lab.guest.waitFor(`! { ${tagSeen('one')}; } && ! { ${tagSeen('two')}; }`);
    expect((await lab.show()).mounts.map(({ tag }) => tag)).toEqual(['work']);
  });

  it('serves an in-memory file system too', async () => {
    await lab.mount('mem:', 'scratch');
    expect(
      await lab.sh('cd /mnt/scratch; mkdir d; echo text > d/f; mv d e; cat e/f; cd /; umount /mnt/scratch'),
    ).toBe('text');
    await lab.detach('scratch');
  });

  it('counts kicks, interrupts and requests of each function', async () => {
    const [work] = (await lab.show()).mounts;
    expect(work.counters?.requests).toBeGreaterThan(10_000);
    expect(work.counters?.kicks).toBeGreaterThan(0);
    expect(work.counters?.interrupts).toBeGreaterThan(0);
    expect(work.counters?.bytesWritten).toBeGreaterThan(15_000_000);
    expect(work.counters?.queues).toMatchObject([{ requests: work.counters?.requests }]);
    const doorbell = port === 'vhost-user' ? 'eventfd' : 'queue';
    expect(work.driver).toEqual({ registers: 'modern', doorbell, polled: false });
  });
});
