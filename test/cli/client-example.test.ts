import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChassisClient } from '../../manager/control/client.js';
import { TestDaemon } from '../support/daemon.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/client/keep-attached.mjs', import.meta.url));

describe('examples/client', () => {
  let daemon: TestDaemon;

  beforeAll(async () => {
    daemon = await TestDaemon.start();
  }, 60_000);
  afterAll(async () => {
    await daemon.stop();
  });

  it('keeps a directory attached, whoever takes it away', async () => {
    const client = new ChassisClient({ directory: daemon.directory });
    await client.create('dev');
    const example = execa(process.execPath, [EXAMPLE, 'dev', 'kept', daemon.directory], {
      ...{ reject: false, env: { CHASSIS_DIR: daemon.directory } },
    });
    const lines = example[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('attached kept to slot 1: parked');
    await client.detach('dev', 'kept');
    expect((await lines.next()).value).toBe('attached kept to slot 1: parked');
    expect(await client.mounts('dev')).toMatchObject([{ tag: 'kept' }]);
    example.kill('SIGINT');
    await example;
  });
});
