/** Somebody else's reading of the protocol: diod's tools against an export, and this project's client against diod. */
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HostDirectory } from '../../devices/9p/fs/host-directory/host-directory.js';
import { Mount } from '../../guest/9p/mount.js';
import { SocketTransport9p } from '../../guest/9p/socket-transport.js';
import { Reactor } from '../../host/index.js';
import { create9pSession } from '../../manager/composition.js';
import { ExportServer } from '../../manager/export/export-server.js';
import { DiodServer } from '../../testbed/diod-server.js';
import { findDiod, type Diod } from '../../testbed/diod.js';
import { QemuUnavailableError } from '../../testbed/errors.js';
import { notingLog } from '../support/log.js';

const MSIZE_BYTES = 1 << 20;

const diod = await findDiod().catch((error: unknown) => {
  // As for real guests: no packages, no test, but not unnoticed.
  if (error instanceof QemuUnavailableError && process.env.CI !== 'true') return error;
  throw error;
});

const skipped = diod instanceof QemuUnavailableError ? ` (skipped: ${diod.message})` : '';

describe.skipIf(skipped !== '')(`beside diod${skipped}`, () => {
  const content = randomBytes(3_000_000);
  let folder: string;
  let root: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'chassis-diod-'));
    root = join(folder, 'root');
    await mkdir(join(root, 'directory'), { recursive: true });
    await writeFile(join(root, 'directory', 'file'), content);
    await writeFile(join(root, 'hello'), 'hello\n');
  });
  afterAll(() => rm(folder, { recursive: true }));

  describe("an export serves diod's tools", () => {
    let server: ExportServer;
    let reactor: Reactor;
    let at: Record<'unix' | 'tcp', string>;
    const log: string[] = [];

    beforeAll(async () => {
      const fs = await HostDirectory.open(root);
      reactor = new Reactor({ onError: (error) => log.push(String(error)) });
      server = new ExportServer({
        fs,
        createSession: (log) => create9pSession(fs, { maxMsizeBytes: MSIZE_BYTES, log }),
        maxMessageBytes: MSIZE_BYTES,
        reactor,
        log: notingLog(log),
      });
      const path = join(folder, 'export.sock');
      server.listen({ family: 'unix', path });
      const tcp = server.listen({ family: 'tcp', host: '127.0.0.1', port: 0 });
      at = { unix: path, tcp: tcp.family === 'tcp' ? `127.0.0.1:${tcp.port}` : '' };
      reactor.start();
    });
    afterAll(async () => {
      await server.close();
      reactor.close();
    });

    function run(name: Parameters<Diod['tool']>[0], where: 'unix' | 'tcp', ...words: string[]) {
      const [file, ...prefix] = (diod as Diod).tool(name);
      return execa(file, [...prefix, '--server', at[where], '--aname', '/', ...words], {
        encoding: 'buffer',
        stdin: 'ignore',
      });
    }

    it.each(['unix', 'tcp'] as const)('over %s: diodcat reads a file of megabytes', async (where) => {
      const { stdout } = await run('diodcat', where, 'directory/file');
      expect(content.equals(stdout)).toBe(true);
    });

    it.each(['unix', 'tcp'] as const)(
      'over %s: diodcat of a large msize, and of several files',
      async (where) => {
        const { stdout } = await run('diodcat', where, '--msize', '1048576', 'hello', 'directory/file');
        expect(Buffer.concat([Buffer.from('hello\n'), content]).equals(stdout)).toBe(true);
      },
    );

    it('diodls lists a directory, with attributes', async () => {
      const { stdout } = await run('diodls', 'tcp', '-l', 'directory');
      expect(Buffer.from(stdout).toString()).toMatch(/3000000.*file/);
    });

    it('diodcat of what is not there says so', async () => {
      await expect(run('diodcat', 'unix', 'nothing')).rejects.toMatchObject({ exitCode: 1 });
    });
  });

  describe('this client is served by diod', () => {
    let server: DiodServer;
    let mount: Mount;

    beforeAll(async () => {
      const path = join(folder, 'diod.sock');
      server = await DiodServer.start(diod as Diod, root, path);
      const socket = connect(path);
      const transport = new SocketTransport9p(socket, MSIZE_BYTES);
      mount = await Mount.connect(transport, { aname: root, uid: process.getuid?.() });
    });
    afterAll(async () => {
      await mount.unmount();
      await server.stop();
    });

    it('which agrees to messages of 64 KiB', () => {
      expect(mount.client.msize).toBe(65_536);
    });

    it('reads, with many requests under way', async () => {
      const files = await Promise.all(Array.from({ length: 4 }, () => mount.readFile('directory/file')));
      for (const file of files) expect(content.equals(file)).toBe(true);
    });

    it('writes, renames, lists and removes', async () => {
      const bytes = randomBytes(500_000);
      await mount.writeFile('directory/new', bytes);
      expect(bytes.equals(await readFile(join(root, 'directory/new')))).toBe(true);
      await mount.mkdir('made');
      expect((await mount.stat('made')).isDirectory()).toBe(true);
      expect((await mount.readdir('directory')).sort()).toEqual(['file', 'new']);
      await expect(mount.readFile('nothing')).rejects.toMatchObject({ code: 'ENOENT' });
    });
  });
});
