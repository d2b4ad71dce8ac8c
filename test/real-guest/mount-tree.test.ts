import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Volume } from 'memfs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeRealGuest } from './lab.js';
import { ROOT, TreeLab } from './support/tree-lab.js';

/** True in the guest while a process has something open, or its working directory, below a path. */
function heldBelow(path: string): string {
  return `ls -l /proc/[0-9]*/cwd /proc/[0-9]*/fd/ 2>/dev/null | grep -qF -- '-> ${path}'`;
}

/** An emulated guest mounts or unmounts some dozen a second. */
const many = { '6.1': 1000, '6.12': 250 } as const;

for (const kernel of ['6.1', '6.12'] as const) {
  describeRealGuest(`a mount tree in Linux ${kernel}`, () => {
    let lab: TreeLab;

    beforeAll(async () => {
      lab = await TreeLab.boot(kernel);
    });
    afterAll(() => lab?.stop());

    it('without a helper shows children all the same; the release of one in use times out and changes nothing', async () => {
      const path = await lab.addDirectory('plain', { target: '/never' });
      await writeFile(join(path, 'file'), 'from the host');
      expect(await lab.sh(`ls ${ROOT}; cat ${ROOT}/plain/file; echo back >${ROOT}/plain/answer`)).toBe(
        'ctl\nplain\nfrom the host',
      );
      expect(await readFile(join(path, 'answer'), 'utf8')).toBe('back\n');
      const user = await lab.background(`cd ${ROOT}/plain && exec sleep 300`, heldBelow(`${ROOT}/plain`));
      await expect(lab.tree.release('plain', { timeoutMs: 300 })).rejects.toMatchObject({ code: 'TIMEOUT' });
      expect(lab.tree.entry('plain')?.state).toBe('waiting');
      expect(await lab.sh(`cat ${ROOT}/plain/file`)).toBe('from the host');
      await user.kill();
      lab.tree.remove('plain');
      expect(await lab.sh(`ls ${ROOT}`)).toBe('ctl');
    });

    it('with its helper is mounted at the targets asked for, whatever they are called, with data both ways', async () => {
      await lab.startHelper();
      const one = await lab.addDirectory('one', { target: '/work/one' });
      const odd = await lab.addDirectory('a "b" \\ c\n$(d) é', { target: "/work/it's `odd` \\ \n $x é" });
      lab.addMemory('memory', { target: '/work/memory' }).writeFileSync('/hello', 'from memory');
      await writeFile(join(odd, 'file'), 'odd, ');
      await Promise.all(lab.tree.entries().map(({ name }) => lab.mounted(name)));
      expect(await lab.sh(`echo 1 >/work/one/file; cat /work/it*/file /work/memory/hello`)).toBe(
        'odd, from memory',
      );
      expect(await readFile(join(one, 'file'), 'utf8')).toBe('1\n');
    });

    it('asks nothing of the host while nothing happens', async () => {
      const before = lab.requests;
      await delay(1500);
      expect(lab.requests).toBe(before);
    });

    it('has one helper, and a second one says so', async () => {
      expect(await lab.sh(`sh ${ROOT}/ctl/helper.sh 2>&1`)).toMatch(
        /^chassis-helper: a helper of \/chassis runs already, as process \d+$/,
      );
    });

    it('tells a guest that answers nonsense so', async () => {
      const { exitCode, stderr } = await lab.guest.sh(`echo mounted 99999 >${ROOT}/ctl/ack`);
      expect(exitCode).not.toBe(0);
      // Linux 6.12 makes EIO of every failed write.
      expect(stderr).toContain(kernel === '6.1' ? 'Invalid argument' : 'Input/output error');
      await lab.sh(`echo busy 2 nobody >${ROOT}/ctl/ack; echo busy 2 nobody >>${ROOT}/ctl/ack`);
    });

    it('says who keeps a child from being released, leaves it mounted, and lets it go once they are done', async () => {
      const user = await lab.background('cd /work/one && exec sleep 300', heldBelow('/work/one'));
      await expect(lab.release('one')).rejects.toMatchObject({
        code: 'BUSY',
        message: expect.stringMatching(/^one: in use in the guest: \d+ sleep \(cwd\)$/) as string,
      });
      expect(lab.tree.entry('one')?.state).toBe('mounted');
      expect(await lab.sh('cat /work/one/file')).toBe('1');
      await user.kill();
      await lab.release('one');
      expect(lab.tree.remove('one')).toEqual({ fids: 0, openFiles: 0 });
      expect(await lab.sh(`ls /work/one; ls ${ROOT}`)).not.toContain('one');
    });

    it('finds who uses a child in the tree, beside its target', async () => {
      const user = await lab.background(
        `exec 5>${ROOT}/memory/file; sleep 300`,
        heldBelow(`${ROOT}/memory/file`),
      );
      await expect(lab.release('memory')).rejects.toThrow(/\d+ \w+ \(fd 5\)/);
      expect(await lab.sh('cat /work/memory/hello')).toBe('from memory');
      await user.kill();
    });

    it('says what kept the guest from mounting', async () => {
      lab.addMemory('nowhere', { target: '/proc/nowhere' });
      await expect(lab.mounted('nowhere')).rejects.toMatchObject({
        code: 'FAILED',
        message: expect.stringContaining('/proc/nowhere') as string,
      });
      lab.tree.remove('nowhere');
    });

    it('when it is started again, finds what is mounted, clears away what is gone, and mounts what is new', async () => {
      lab.addMemory('doomed', { target: '/work/doomed' });
      await lab.mounted('doomed');
      await lab.sh('kill $(cat /run/chassis-helper/_chassis/pid)');
      await lab.guest.waitFor('! [ -e /run/chassis-helper/_chassis ] && ! pidof dd');
      expect(await lab.sh('cat /work/memory/hello')).toBe('from memory');
      lab.tree.remove('doomed');
      lab.addMemory('new', { target: '/work/new' });
      await lab.startHelper();
      await lab.mounted('new');
      await lab.guest.waitFor('! grep -q doomed /proc/self/mountinfo');
      expect(await lab.sh('grep -c /work/memory /proc/self/mountinfo; cat /tmp/helper.log')).toBe('1');
    });

    it('fails what runs on a child that is removed by force, and disturbs no other', async () => {
      lab.addMemory('victim', { target: '/work/victim' });
      const other = await lab.addDirectory('bystander', { target: '/work/bystander' });
      await Promise.all([lab.mounted('victim'), lab.mounted('bystander')]);
      const io = (name: string, count: string) =>
        `dd if=/dev/urandom of=/work/${name}/data bs=4096 ${count} conv=notrunc`;
      const victim = lab.guest.sh(`while ${io('victim', 'count=50')}; do :; done; cat /work/victim/data`);
      const bystander = lab.guest.ok(`${io('bystander', 'count=500')} && sha256sum </work/bystander/data`, {
        timeoutMs: 60_000,
      });
      await lab.guest.waitFor('[ -s /work/victim/data ] && [ -s /work/bystander/data ]');
      const lost = lab.tree.remove('victim');
      expect(lost.fids).toBeGreaterThan(0);
      expect((await victim).stderr).toMatch(/Stale file handle|No such file/);
      const inGuest = (await bystander).stdout.slice(0, 64);
      const data = await readFile(join(other, 'data'));
      expect(data.length).toBe(500 * 4096);
      expect(createHash('sha256').update(data).digest('hex')).toBe(inGuest);
      await lab.guest.waitFor('! grep -q victim /proc/self/mountinfo');
    });

    it(`carries ${many[kernel]} mounts, used through bind mounts and released while others are used`, async () => {
      const names = Array.from({ length: many[kernel] }, (_, i) => `m${i}`);
      const volumes = names.map((name): Volume => lab.addMemory(name, { target: `/many/${name}` }));
      for (const name of names) await lab.tree.mounted(name, { timeoutMs: 120_000 });
      expect(await lab.sh(`ls ${ROOT} | grep -c '^m[0-9]'; grep -c ' /many/' /proc/self/mountinfo`)).toBe(
        `${names.length}\n${names.length}`,
      );
      await lab.sh(
        `for mount in /many/*; do
          echo "\${mount#/many/}" >"$mount/file"
          read -r line <"$mount/file"
          [ "$line" = "\${mount#/many/}" ]
        done`,
        { timeoutMs: 120_000 },
      );
      const written = volumes.map((volume) => volume.readFileSync('/file', 'utf8'));
      expect(written).toEqual(names.map((name) => `${name}\n`));

      const user = await lab.background(
        `while dd if=/dev/urandom of=/work/bystander/loop bs=64k count=4 && echo done >>/tmp/loops; do :; done; echo failed >/tmp/loops`,
        '[ -e /tmp/loops ]',
      );
      await Promise.all(names.map((name) => lab.tree.release(name, { timeoutMs: 200_000 })));
      for (const name of names) expect(lab.tree.remove(name).openFiles).toBe(0);
      await lab.guest.waitFor('! grep -q " /many/" /proc/self/mountinfo');
      expect(
        await lab.sh(`cat /work/memory/hello; ls ${ROOT} | grep -c '^m[0-9]' || :; sort -u /tmp/loops`),
      ).toBe('from memory0\ndone');
      await user.kill();
    });

    it('complains of nothing', () => {
      expect(lab.server.complaints).toEqual([]);
    });
  });
}
