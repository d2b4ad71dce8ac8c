/** examples/provision, followed as its README stands. */
import { createHash } from 'node:crypto';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shellQuote } from '../../manager/control/shell-quote.js';
import { Cache } from '../../testbed/cache.js';
import { findMirror } from '../../testbed/debian-mirror.js';
import { findDiskTools } from '../../testbed/disk-tools.js';
import { findMmdebstrap } from '../../testbed/mmdebstrap.js';
import { CHASSIS, TestDaemon } from '../support/daemon.js';
import { describeRealGuest, requireRealQemu } from './lab.js';
import { freePort } from './support/free-port.js';
import { describePasst, passtOnPath } from './support/passt.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/provision', import.meta.url));

/** Without root mmdebstrap takes programs with set-user-id bits, which cannot be unpacked anywhere. */
const describeAsRoot: typeof describePasst = (title, body) => {
  if (process.getuid?.() === 0) describe(title, body);
  else describe.skip(`${title} (skipped: it takes root)`, body);
};

describeAsRoot('with an image of Debian’s packages', () => {
  describePasst('and passt', () => {
    describeRealGuest('the example of provisioning', () => {
      let daemon: TestDaemon;
      let folder: string;
      let example: string;
      let port: number;
      let restorePath: () => void;

      beforeAll(async () => {
        restorePath = passtOnPath();
        folder = await mkdtemp(join(tmpdir(), 'chassis-example-'));
        await putProgramsInto(join(folder, 'bin'));
        // Also that of the daemon, which starts passt.
        daemon = await TestDaemon.start();
        example = join(folder, 'provision');
        await cp(EXAMPLE, example, { recursive: true, filter: (path) => path !== join(EXAMPLE, 'out') });
        port = await freePort();
        await changeManifest((text) =>
          text
            .replace('host: 8080', `host: ${port}`)
            .replace(
              /^ {4}vm:$/m,
              `    vm:\n      accel: tcg\n      args: [-pidfile, ${join(folder, 'pid')}]`,
            ),
        );
        await mkdir(join(example, 'out'));
        const image = await builtImage();
        for (const name of ['root.img', 'vmlinuz', 'initrd.img', 'packages']) {
          await symlink(join(image, name), join(example, 'out', name));
        }
      });
      afterAll(async () => {
        const pid = await readFile(join(folder, 'pid'), 'utf8').catch(() => '');
        await daemon?.stop();
        try {
          if (pid !== '') process.kill(Number(pid), 'SIGKILL');
        } catch {
          // It has ended.
        }
        await rm(folder, { recursive: true });
        restorePath();
      });

      async function putProgramsInto(bin: string): Promise<void> {
        const tools = await findDiskTools();
        const mmdebstrap = await findMmdebstrap();
        const commands = {
          chassis: [process.execPath, CHASSIS],
          'qemu-system-x86_64': requireRealQemu().command,
          mmdebstrap: [mmdebstrap],
          mke2fs: tools.command('mke2fs'),
        };
        await mkdir(bin);
        await mkdir(join(folder, 'share'));
        await symlink(join(dirname(mmdebstrap), '../share/mmdebstrap'), join(folder, 'share/mmdebstrap'));
        for (const [name, command] of Object.entries(commands)) {
          const script = `#!/bin/sh\nexec ${command.map(shellQuote).join(' ')} "$@"\n`;
          await writeFile(join(bin, name), script, { mode: 0o755 });
        }
        process.env.PATH = [bin, process.env.PATH].join(delimiter);
      }

      async function changeManifest(change: (text: string) => string): Promise<void> {
        const path = join(example, 'chassis.yaml');
        await writeFile(path, change(await readFile(path, 'utf8')));
      }

      async function onHost(script: string): Promise<string> {
        const env = { CHASSIS_DIR: daemon.directory };
        const run = { cwd: example, env, stdin: 'ignore' } as const;
        return (await execa('sh', ['-c', script.replaceAll('8080', String(port))], run)).stdout;
      }

      /** What `build.sh` makes, in the cache: by what goes into it. */
      async function builtImage(): Promise<string> {
        const units = await onHost(
          'chassis guest-setup --format systemd --exec; chassis guest-setup --format udev',
        );
        const script = await readFile(join(EXAMPLE, 'build.sh'), 'utf8');
        const digest = createHash('sha256').update(units).update(script).digest('hex').slice(0, 8);
        return Cache.ofUser().entry(`provision-example-${digest}`, {}, async (directory) => {
          await onHost(`sh build.sh ${await findMirror()}`);
          // As `cp` does it, which leaves the image's holes out.
          await execa('cp', ['-a', `${join(example, 'out')}/.`, directory]);
          await rm(join(example, 'out'), { recursive: true });
          await mkdir(join(example, 'out'));
        });
      }

      it('boots a Debian, serves a page from it, and does nothing twice', async () => {
        const [first, then, last] = await blocks();
        const served = await onHost(`set -e\n${first.replace(/chassis serve &\nsh build.sh.*\n/, '')}`);
        expect(served).toMatch(/settings is done[^]*services is done[^]*\n<p>Hello from the guest.<\/p>$/);
        const changed = await onHost(`set -e\n${then}`);
        expect(changed).toMatch(
          /^<p>Hello from the guest.<\/p>\n<p>And again.<\/p>\n[^]*\nactive\nwww-data$/,
        );
        // The helper may go before it has told how the command ended.
        await onHost(last);
      });
    });
  });
});

/** What the README has its reader type. */
async function blocks(): Promise<string[]> {
  const text = await readFile(join(EXAMPLE, 'README.md'), 'utf8');
  return [...text.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, script]) => script);
}
