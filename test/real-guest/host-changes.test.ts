import { appendFile, mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HostDirectory } from '../../devices/9p/fs/host-directory/host-directory.js';
import { describeRealGuest } from './lab.js';
import { TreeLab } from './support/tree-lab.js';

/** Under emulation, on a machine that others use as well. */
const PATIENCE_MS = 90_000;
const SLOW = 280_000;

/** What dev servers watch with, in the guest: this Node of the host's, and its chokidar, from a read-only mount of the host's root. */
const WATCHER = `
import { appendFileSync, watch } from 'node:fs';
const [, , kind, ...paths] = process.argv;
const say = (line) => appendFileSync('/mnt/log', line + '\\n');
if (kind === 'chokidar') {
  const { default: chokidar } = await import('/opt/node_modules/chokidar/index.js');
  chokidar.watch(paths, { ignoreInitial: true }).on('all', (event, path) => say(event + ' ' + path)).on('ready', () => say('ready'));
} else {
  for (const path of paths) watch(path, (event, name) => say('fs.watch ' + path + ' ' + name));
  say('ready');
}
`;
const modules = dirname(dirname(createRequire(import.meta.url).resolve('chokidar')));

for (const kernel of ['6.1', '6.12'] as const) {
  describeRealGuest(`changes on the host in a watched mount of Linux ${kernel}`, () => {
    let lab: TreeLab;
    let path: string;

    beforeAll(async () => {
      lab = await TreeLab.boot(kernel);
      path = await lab.addDirectory('project', { target: '/work', watched: true });
      await mkdir(join(path, 'src', 'deep'), { recursive: true });
      for (const file of ['top', 'src/in', 'src/deep/below']) await writeFile(join(path, file), 'x');
      lab.tree.add('host', await HostDirectory.open('/'), { readOnly: true, target: '/host' });
      await lab.startHelper();
      await lab.mounted('host');
      await lab.mounted('project');
      await lab.sh(`
        for folder in mnt opt tmp; do mount -t tmpfs none /host/$folder; done
        mount --bind /dev /host/dev
        mount -t proc none /host/proc
        mkdir /host/mnt/work /host/opt/node_modules
        mount --bind /work /host/mnt/work
        cat >/host/opt/watcher.mjs <<'END'
${WATCHER}
END
      `);
      lab.tree.add('modules', await HostDirectory.open(modules), {
        readOnly: true,
        target: '/host/opt/node_modules',
      });
      await lab.mounted('modules');
    }, SLOW);
    afterAll(() => lab?.stop());

    async function startWatcher(...words: string[]): Promise<void> {
      await lab.sh(
        `>/host/mnt/log; chroot /host '${process.execPath}' /opt/watcher.mjs ${words.join(' ')} >/host/mnt/errors 2>&1 &
        echo $! >/tmp/watcher`,
      );
      await lab.guest.waitFor('grep -qx ready /host/mnt/log', PATIENCE_MS);
    }

    async function seen(line: string): Promise<void> {
      await lab.guest.waitFor(`grep -qxF '${line}' /host/mnt/log`, PATIENCE_MS);
    }

    it(
      'reach who watches with chokidar: files change, come, go and are renamed, in new directories too',
      async () => {
        await startWatcher('chokidar', '/mnt/work');
        await appendFile(join(path, 'top'), 'more');
        await seen('change /mnt/work/top');
        await appendFile(join(path, 'src/deep/below'), 'more');
        await seen('change /mnt/work/src/deep/below');
        await writeFile(join(path, 'src/new'), '');
        await seen('add /mnt/work/src/new');
        await rename(join(path, 'src/new'), join(path, 'src/renamed'));
        await seen('add /mnt/work/src/renamed');
        await seen('unlink /mnt/work/src/new');
        await rm(join(path, 'src/renamed'));
        await seen('unlink /mnt/work/src/renamed');
        await mkdir(join(path, 'src/directory'));
        await seen('addDir /mnt/work/src/directory');
        await writeFile(join(path, 'src/directory/file'), '');
        await seen('add /mnt/work/src/directory/file');
        await appendFile(join(path, 'src/directory/file'), 'more');
        await seen('change /mnt/work/src/directory/file');
      },
      SLOW,
    );

    it('leave times and contents as they are on the host', async () => {
      const [guest, mtime] = (await lab.sh('stat -c %Y /work/top; cat /work/top')).split('\n').reverse();
      expect(guest).toBe('xmore');
      expect(Number(mtime) * 1000).toBeGreaterThan(Date.now() - 10 * 60_000);
    });

    it('are not told of what the guest does itself, which its watchers see all the same', async () => {
      lab.told.length = 0;
      await lab.sh('echo y >>/work/src/in; echo z >/work/src/own');
      await seen('change /mnt/work/src/in');
      await seen('add /mnt/work/src/own');
      expect(lab.told).toEqual([]);
      await lab.sh('kill $(cat /tmp/watcher)');
    });

    it('keep nobody from releasing the mount', async () => {
      await lab.guest.waitFor('umount /host/mnt/work', PATIENCE_MS);
      await lab.release('project');
      expect(lab.tree.remove('project').openFiles).toBe(0);
      expect(lab.server.complaints).toEqual([]);
    });
  });
}
