/** Sequences of requests, held against a model of what fids and directories are. THREATS row 2, races between fids and paths. */
import { mkdirSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Exported, openDescriptors } from '../fs/host-directory/exported.js';
import { Client, Sender } from './support/client.js';
import { command, Model, said, type Command } from './support/model.js';
import { NOFID, T } from './support/wire.js';

const RUNS = Number(process.env.CHASSIS_FUZZ_RUNS ?? 200);
/** At most 60 requests a run. */
const TIMEOUT_MS = 30_000 + RUNS * 100;

async function expectModel(client: Sender, commands: Command[], exact: boolean): Promise<void> {
  const model = new Model(exact);
  for (const { bytes, expected } of commands) {
    const outcome = expected(model);
    const reply = await client.call(bytes, { room: 8192 });
    if (reply.errno !== 0) expect(reply.errno).toBe(outcome);
    else expect({ says: said(reply.type, reply.fields) }).toEqual(outcome);
  }
}

const sequence = fc.array(command, { minLength: 10, maxLength: 60 });

describe('any sequence of requests', () => {
  it.each([
    ['that answers at once', false, false],
    ['that answers with promises', true, false],
    ['that tells attributes beside its answers', false, true],
  ])(
    'does with a file system %s what the model says, and leaks nothing',
    async (_how, later, fills) => {
      await fc.assert(
        fc.asyncProperty(sequence, async (commands) => {
          const client = await Client.attached();
          if (later) client.fs.before = () => Promise.resolve(undefined);
          client.fs.fillsAttributes = fills;
          await expectModel(client, commands, false);
          client.fs.before = undefined;
          await client.expectNoLeaks();
        }),
        { numRuns: RUNS },
      );
    },
    TIMEOUT_MS,
  );

  it.each([
    ['with descriptors enough', 64],
    ['with hardly any descriptors', 1],
  ])(
    'does with a directory of the host %s what the model says, and leaks no descriptor',
    async (_how, maxHandles) => {
      const exported = await Exported.make({ maxHandles });
      const outside = exported.describeOutside();
      const client = new Sender(exported.fs);
      let runs = 0;
      await client.start();
      await fc.assert(
        fc.asyncProperty(sequence, async (commands) => {
          // Each run has a directory of its own for a root.
          const name = `run-${runs++}`;
          mkdirSync(exported.at(name));
          const before = openDescriptors();
          await client.ok(T.version(0xffff, 65536, '9P2000.L'));
          await client.ok(T.attach(1, 0, NOFID, '', name, process.geteuid?.() ?? 0));
          await expectModel(client, commands, true);
          await client.server.dropAll();
          const { fids, openFiles } = client.server.statistics;
          expect([client.pending, fids, openFiles, client.log]).toEqual([0, 0, 0, []]);
          expect(openDescriptors()).toBe(before);
        }),
        { numRuns: Math.ceil(RUNS / 2) },
      );
      expect(exported.describeOutside()).toBe(outside);
      exported.remove();
    },
    TIMEOUT_MS,
  );
});
